/**
 * CRC-32C (Castagnoli), the checksum of every value in the manifest, and CRC-32 (IEEE), in
 * the sum over all entries.
 *
 * Two polynomials, because a value ends with the CRC-32C of its key and itself: under the
 * same polynomial every sound entry of one length adds the same number to the sum.
 *
 * @module
 */

const TABLE = tableOf(0x82f63b78);
const IEEE_TABLE = tableOf(0xedb88320);

/** `polynomial` with its lowest power in the highest bit. */
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
  for (let i = 0; i < end; i++) {
    crc = TABLE[(crc ^ bytes[i]!) & 0xff]! ^ (crc >>> 8);
  }
  return ~crc >>> 0;
}

/** CRC-32 (IEEE) of an entry of a table: its key, one character per byte, and its value. */
export function entryCrc32(key: string, value: Uint8Array): number {
  let crc = 0xffffffff;
  for (let i = 0; i < key.length; i++) {
    crc = IEEE_TABLE[(crc ^ key.charCodeAt(i)) & 0xff]! ^ (crc >>> 8);
  }
  return ~extendedIeee(crc, value, 0, value.length) >>> 0;
}

/** The same of an entry whose key and value are `bytes[at, end)`. */
export function entryCrc32Within(bytes: Uint8Array, at: number, end: number): number {
  return ~extendedIeee(0xffffffff, bytes, at, end) >>> 0;
}

function extendedIeee(start: number, bytes: Uint8Array, at: number, end: number): number {
  let crc = start;
  for (let i = at; i < end; i++) {
    crc = IEEE_TABLE[(crc ^ bytes[i]!) & 0xff]! ^ (crc >>> 8);
  }
  return crc;
}
