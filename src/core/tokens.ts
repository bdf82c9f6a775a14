// Who a Bearer token stands for and what it may do: tokens are compared in constant time, and kept only as hashes.

import { createHash, timingSafeEqual } from 'node:crypto';

export const TOKEN_SCOPES = ['read', 'write', 'quarantine', 'ack'] as const;
export type TokenScope = (typeof TOKEN_SCOPES)[number];

export interface TokenHolder {
  /** For the audit log. */
  readonly name: string;
  readonly scopes: readonly TokenScope[];
}

interface Token extends TokenHolder {
  readonly hash: Buffer;
}

/** RFC 6750: the scheme in any case, one space, then what a header can carry. */
const BEARER = /^bearer ([\x21-\x7e]+)$/i;

const hashOf = (token: string): Buffer => createHash('sha256').update(token).digest();

const isTokenScope = (word: string): word is TokenScope => TOKEN_SCOPES.some((scope) => scope === word);

export class Tokens {
  readonly #tokens: readonly Token[];

  private constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  /** One `scope[,scope] name token` a line; blank lines and those that begin with # are none. Throws, and repeats no token. */
  static parse(text: string): Tokens {
    const tokens = text.split('\n').flatMap((line, index): Token[] => {
      const at = `line ${index + 1}`;
      if (/^\s*(#|$)/.test(line)) return [];
      const [scopes = '', name = '', token = '', ...more] = line.trim().split(/\s+/);
      if (token === '' || more.length > 0) throw new Error(`${at} is not "scope[,scope] name token"`);
      const words = scopes.split(',');
      // Not repeated: it may be a token, in a line whose words are in another order.
      if (!words.every(isTokenScope)) throw new Error(`${at} has a scope other than ${TOKEN_SCOPES.join(', ')}`);
      if (!/^[\w.@-]{1,64}$/.test(name))
        throw new Error(`${at} has a name with other characters than A-Z a-z 0-9 _ . @ -`);
      if (!/^[\x21-\x7e]+$/.test(token)) throw new Error(`${at} has a token that no header can carry`);
      return [{ name, scopes: words, hash: hashOf(token) }];
    });
    if (tokens.length === 0) throw new Error('it holds no token');
    if (new Set(tokens.map(({ hash }) => hash.toString('hex'))).size < tokens.length)
      throw new Error('one token is there twice');
    return new Tokens(tokens);
  }

  /** Of an Authorization header; null for none, another scheme, or a token that nobody has. */
  find(authorization: string | undefined): TokenHolder | null {
    const [, token] = BEARER.exec(authorization ?? '') ?? [];
    if (token === undefined) return null;
    const hash = hashOf(token);
    // All of them, so that the time it takes says nothing of which it was.
    const [found] = this.#tokens.filter((one) => timingSafeEqual(one.hash, hash));
    return found === undefined ? null : { name: found.name, scopes: found.scopes };
  }
}
