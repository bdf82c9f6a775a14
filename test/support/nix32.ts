// Nix's base 32, written from libutil/base-nix-32.cc and apart from src/, so that a mistake there is not repeated here.

const alphabet = '0123456789abcdfghijklmnpqrsvwxyz';

/** 20 bytes give 32 characters (store paths), 32 bytes give 52 (SHA-256). The last character holds the lowest 5 bits. */
export const nix32 = (bytes: Uint8Array): string => {
  let text = '';
  for (let at = Math.ceil((bytes.length * 8) / 5) - 1; at >= 0; at--) {
    const byte = Math.floor((at * 5) / 8);
    const shift = (at * 5) % 8;
    const pair = (bytes[byte] ?? 0) | ((bytes[byte + 1] ?? 0) << 8);
    text += alphabet[(pair >> shift) & 31];
  }
  return text;
};
