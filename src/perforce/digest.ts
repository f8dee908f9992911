/**
 * MD5 digests as the server's tables write them: 32 upper-case hex digits, or (2017.1) 22
 * characters of base64 without padding. Pure.
 *
 * @module
 */

/** Digest of nothing: a row whose content was never hashed has all bits zero. */
const NULL_HEX = "0".repeat(32);

/**
 * Lower-case hex of a digest column; "" where the server has none.
 *
 * @throws {RangeError} If `text` is no digest in either form.
 */
export function parseDigest(text: string): string {
  const hex = /^[0-9A-Fa-f]{32}$/.test(text) ? text.toLowerCase() : fromBase64(text);
  return hex === NULL_HEX ? "" : hex;
}

function fromBase64(text: string): string {
  // 128 bits in 22 characters: the last one has four bits to spare, which must be zero.
  if (!/^[A-Za-z0-9+/]{21}[AQgw]$/.test(text)) {
    throw new RangeError(`"${text.slice(0, 64)}" is no MD5 digest`);
  }
  let hex = "";
  for (const char of atob(`${text}==`)) {
    hex += char.charCodeAt(0).toString(16).padStart(2, "0");
  }
  return hex;
}
