// What must not be written down, taken out of text that will be: Authorization, cookies, presigned queries, passwords in URLs.

/** A header as JSON spells it, alone or in an array of its values. */
const secretHeaders =
  /"((?:proxy-)?authorization|(?:set-)?cookie|x-amz-security-token)"\s*([:,])\s*(?:"(?:[^"\\]|\\.)*"|\[(?:"(?:[^"\\]|\\.)*",?)*\])/gi;

/** Without its name, as in an array of raw headers or in somebody's message. */
const authorizationValues = /\b(Bearer|Basic)\s+[\w.~+/=-]+/gi;

/**
 * Whoever has one of these may read the object: S3 (two generations), Google, Azure. The whole query goes. No question
 * mark within, so that a line full of them, as a client may send, is still read once.
 */
const presignedQueries = /\?[^\s"'<>\\?]*?(?:x-amz-|x-goog-|awsaccesskeyid=|signature=|sig=)[^\s"'<>\\]*/gi;

/** The same cut off from its question mark. */
const presignedParameters = /\b(x-amz-[\w-]{1,64}|x-goog-[\w-]{1,64}|awsaccesskeyid|signature|sig)=[^\s&"'<>\\]+/gi;

const urlPasswords = /\/\/[^\s/@"']+@/g;

/** For one line of JSON or of prose. What is left is still valid JSON. */
export const scrub = (line: string): string =>
  line
    .replace(secretHeaders, '"$1"$2"***"')
    .replace(authorizationValues, '$1 ***')
    .replace(presignedQueries, '?***')
    .replace(presignedParameters, '$1=***')
    .replace(urlPasswords, '//***@');
