/**
 * CRC-32C (Castagnoli), the checksum of every value in the manifest, and CRC-32 (IEEE), in
 * the sum over all entries.
 *
 * Two polynomials, because a value ends with the CRC-32C of its key and itself: under the
 * same polynomial every sound entry of one length adds the same number to the sum.
 *
 * @module
 */

/** Steps of a CRC: entry 256 k + b is byte b, followed by k zero bytes. k is at most 7. */
type Steps = Uint32Array<ArrayBuffer>;

const CASTAGNOLI = stepsOf(0x82f63b78);
const IEEE = stepsOf(0xedb88320);

/** `polynomial` with its lowest power in the highest bit. */
function stepsOf(polynomial: number): Steps {
  const steps = new Uint32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) {
      crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ polynomial;
    }
    steps[byte] = crc;
  }
  for (let i = 256; i < steps.length; i++) {
    const before = steps[i - 256]!;
    steps[i] = (before >>> 8) ^ steps[before & 0xff]!;
  }
  return steps;
}

/**
 * CRC-32C of `label` (one character per byte) followed by `bytes[0, end)`. The label binds
 * a value to its key, so that one which turns up under another key is not taken for its own.
 */
export function crc32cOf(label: string, bytes: Uint8Array, end: number): number {
  const crc = extendedByText(CASTAGNOLI, 0xffffffff, label);
  return ~extended(CASTAGNOLI, crc, { bytes, at: 0, end }) >>> 0;
}

/**
 * CRC-32 (IEEE) of an entry of a table: its key, one character per byte, and its value,
 * `bytes[0, end)`.
 */
export function entryCrc32(
  key: string,
  bytes: Uint8Array,
  end: number = bytes.length,
): number {
  const crc = extendedByText(IEEE, 0xffffffff, key);
  return ~extended(IEEE, crc, { bytes, at: 0, end }) >>> 0;
}

/** The same of an entry whose key and value are `bytes[at, end)`. */
export function entryCrc32Within(bytes: Uint8Array, at: number, end: number): number {
  return ~extended(IEEE, 0xffffffff, { bytes, at, end }) >>> 0;
}

function extendedByText(steps: Steps, start: number, text: string): number {
  let crc = start;
  let i = 0;
  for (; i + 8 <= text.length; i += 8) {
    crc ^= text.charCodeAt(i) | text.charCodeAt(i + 1) << 8 |
      text.charCodeAt(i + 2) << 16 | text.charCodeAt(i + 3) << 24;
    crc = steps[1792 + (crc & 0xff)]! ^ steps[1536 + (crc >>> 8 & 0xff)]! ^
      steps[1280 + (crc >>> 16 & 0xff)]! ^ steps[1024 + (crc >>> 24)]! ^
      steps[768 + text.charCodeAt(i + 4)]! ^ steps[512 + text.charCodeAt(i + 5)]! ^
      steps[256 + text.charCodeAt(i + 6)]! ^ steps[text.charCodeAt(i + 7)]!;
  }
  for (; i < text.length; i++) {
    crc = steps[(crc ^ text.charCodeAt(i)) & 0xff]! ^ (crc >>> 8);
  }
  return crc;
}

interface Span {
  readonly bytes: Uint8Array;
  readonly at: number;
  readonly end: number;
}

/** Eight bytes a step; the rest one by one. */
function extended(steps: Steps, start: number, { bytes, at, end }: Span): number {
  let crc = start;
  let i = at;
  for (; i + 8 <= end; i += 8) {
    crc ^= bytes[i]! | bytes[i + 1]! << 8 | bytes[i + 2]! << 16 | bytes[i + 3]! << 24;
    crc = steps[1792 + (crc & 0xff)]! ^ steps[1536 + (crc >>> 8 & 0xff)]! ^
      steps[1280 + (crc >>> 16 & 0xff)]! ^ steps[1024 + (crc >>> 24)]! ^
      steps[768 + bytes[i + 4]!]! ^ steps[512 + bytes[i + 5]!]! ^
      steps[256 + bytes[i + 6]!]! ^ steps[bytes[i + 7]!]!;
  }
  for (; i < end; i++) crc = steps[(crc ^ bytes[i]!) & 0xff]! ^ (crc >>> 8);
  return crc;
}
