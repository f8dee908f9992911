/**
 * CRC-32C (Castagnoli), the checksum of every value in the manifest.
 *
 * @module
 */

const POLYNOMIAL_REVERSED = 0x82f63b78;

const TABLE = tableOf(POLYNOMIAL_REVERSED);

function tableOf(polynomial: number): Uint32Array {
  const table = new Uint32Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) {
      crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ polynomial;
    }
    table[byte] = crc >>> 0;
  }
  return table;
}

/**
 * Of `label` (one character per byte) followed by `bytes[0, end)`. The label binds a value
 * to its key, so that a value which turns up under another key is not taken for its own.
 */
export function crc32cOf(label: string, bytes: Uint8Array, end: number): number {
  let crc = 0xffffffff;
  for (let i = 0; i < label.length; i++) {
    crc = TABLE[(crc ^ label.charCodeAt(i)) & 0xff]! ^ (crc >>> 8);
  }
  return ~extended(crc, bytes, 0, end) >>> 0;
}

/** Of `bytes[at, end)`: the same, where the label stands before the rest. */
export function crc32cWithin(bytes: Uint8Array, at: number, end: number): number {
  return ~extended(0xffffffff, bytes, at, end) >>> 0;
}

function extended(start: number, bytes: Uint8Array, at: number, end: number): number {
  let crc = start;
  for (let i = at; i < end; i++) {
    crc = TABLE[(crc ^ bytes[i]!) & 0xff]! ^ (crc >>> 8);
  }
  return crc;
}
