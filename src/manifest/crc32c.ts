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
type Steps = Int32Array<ArrayBuffer>;

/** Before the first byte. Signed, as all that is computed here: such numbers need no memory. */
const START = -1;

const CASTAGNOLI = stepsOf(0x82f63b78);
const IEEE = stepsOf(0xedb88320);

/** `polynomial` with its lowest power in the highest bit. */
function stepsOf(polynomial: number): Steps {
  const steps = new Int32Array(8 * 256);
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
  const crc = extendedByText(CASTAGNOLI, START, label);
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
  const crc = extendedByText(IEEE, START, key);
  return ~extended(IEEE, crc, { bytes, at: 0, end }) >>> 0;
}

/** Where both checksums of a value are before its first byte. */
export interface LabelSums {
  /** After the label that the seal binds it to. */
  readonly castagnoli: number;
  /** After the key that it stands under. */
  readonly ieee: number;
}

/** Both with one character per byte. */
export function labelSumsOf(label: string, key: string): LabelSums {
  return {
    castagnoli: extendedByText(CASTAGNOLI, START, label),
    ieee: extendedByText(IEEE, START, key),
  };
}

export interface SealedSums {
  /** CRC-32C of the label and the content. */
  readonly seal: number;
  /** CRC-32 of the entry: its key, and content and seal as its value. */
  readonly entry: number;
}

/**
 * Both checksums of an entry whose value is `bytes[0, end)` and then its own seal, four
 * bytes, least first. In one pass, because each change of a row wants both.
 */
export function sealedSumsOf(
  { castagnoli, ieee }: LabelSums,
  bytes: Uint8Array,
  end: number,
): SealedSums {
  both.castagnoli = castagnoli;
  both.ieee = ieee;
  extendBoth({ bytes, at: 0, end });
  const seal = ~both.castagnoli >>> 0;
  let entry = both.ieee;
  for (let shift = 0; shift < 32; shift += 8) {
    entry = IEEE[(entry ^ seal >>> shift) & 0xff]! ^ (entry >>> 8);
  }
  return { seal, entry: ~entry >>> 0 };
}

/** Between two calls of {@linkcode extendBoth}. */
const both = { castagnoli: 0, ieee: 0 };

function extendBoth({ bytes, at, end }: Span): void {
  let c = both.castagnoli;
  let d = both.ieee;
  let i = at;
  for (; i + 8 <= end; i += 8) {
    const low = bytes[i]! | bytes[i + 1]! << 8 | bytes[i + 2]! << 16 |
      bytes[i + 3]! << 24;
    const b4 = bytes[i + 4]!;
    const b5 = bytes[i + 5]!;
    const b6 = bytes[i + 6]!;
    const b7 = bytes[i + 7]!;
    c ^= low;
    d ^= low;
    c = CASTAGNOLI[1792 + (c & 0xff)]! ^ CASTAGNOLI[1536 + (c >>> 8 & 0xff)]! ^
      CASTAGNOLI[1280 + (c >>> 16 & 0xff)]! ^ CASTAGNOLI[1024 + (c >>> 24)]! ^
      CASTAGNOLI[768 + b4]! ^ CASTAGNOLI[512 + b5]! ^
      CASTAGNOLI[256 + b6]! ^ CASTAGNOLI[b7]!;
    d = IEEE[1792 + (d & 0xff)]! ^ IEEE[1536 + (d >>> 8 & 0xff)]! ^
      IEEE[1280 + (d >>> 16 & 0xff)]! ^ IEEE[1024 + (d >>> 24)]! ^
      IEEE[768 + b4]! ^ IEEE[512 + b5]! ^ IEEE[256 + b6]! ^ IEEE[b7]!;
  }
  for (; i < end; i++) {
    c = CASTAGNOLI[(c ^ bytes[i]!) & 0xff]! ^ (c >>> 8);
    d = IEEE[(d ^ bytes[i]!) & 0xff]! ^ (d >>> 8);
  }
  both.castagnoli = c;
  both.ieee = d;
}

/** The CRC-32 of an entry whose key and value are `bytes[at, end)`. */
export function entryCrc32Within(bytes: Uint8Array, at: number, end: number): number {
  return ~extended(IEEE, START, { bytes, at, end }) >>> 0;
}

function extendedByText(steps: Steps, start: number, text: string): number {
  let crc = start | 0;
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
  let crc = start | 0;
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
