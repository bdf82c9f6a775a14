// Nix's own base 32: 5 bits a digit, the last digit lowest, without e, o, t and u (libutil/base-nix-32.cc).

const DIGITS = '0123456789abcdfghijklmnpqrsvwxyz';

export const encodeNix32 = (bytes: Uint8Array): string => {
  let text = '';
  for (let digit = Math.ceil((bytes.length * 8) / 5) - 1; digit >= 0; digit -= 1) {
    const bit = digit * 5;
    const byte = bit >> 3;
    const shift = bit & 7;
    const pair = (bytes[byte] ?? 0) | ((bytes[byte + 1] ?? 0) << 8);
    text += DIGITS[(pair >> shift) & 31];
  }
  return text;
};

/** The bytes, or null for a foreign digit. Bits beyond the last byte are dropped: `isNix32Sha256` refuses them. */
export const decodeNix32 = (text: string): Buffer | null => {
  const bytes = Buffer.alloc(Math.floor((text.length * 5) / 8) + 1);
  for (let digit = 0; digit < text.length; digit += 1) {
    const value = DIGITS.indexOf(text[text.length - 1 - digit] as string);
    if (value < 0) return null;
    const byte = (digit * 5) >> 3;
    const spread = value << ((digit * 5) & 7);
    bytes[byte] = (bytes[byte] ?? 0) | (spread & 255);
    bytes[byte + 1] = (bytes[byte + 1] ?? 0) | (spread >> 8);
  }
  return bytes.subarray(0, -1);
};

export const isStoreHash = (text: string): boolean => /^[0-9a-df-np-sv-z]{32}$/.test(text);

export const isNix32Sha256 = (text: string): boolean => /^[01][0-9a-df-np-sv-z]{51}$/.test(text);
