/**
 * Little-endian reading and writing for the manifest's codecs.
 *
 * @module
 */

import { assert, InvariantError } from "../core/assert.ts";
import { textWithin } from "../core/names.ts";
import { FormatError } from "./format_error.ts";

const TWO_32 = 0x1_0000_0000;

/** Apart from the check, so that no text is made for the millions that pass. */
function refuse(what: string, value: number | bigint | string): never {
  throw new InvariantError(`Not ${what}: ${value}`);
}

/** Appends fields to a buffer of fixed capacity. Not re-entrant: one value at a time. */
export class ByteWriter {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  position = 0;

  constructor(capacity: number) {
    this.bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.bytes.buffer);
  }

  u8(value: number): void {
    this.#view.setUint8(this.position, value);
    this.position += 1;
  }

  u16(value: number): void {
    if (!(value >= 0 && value <= 0xffff)) refuse("a u16", value);
    this.#view.setUint16(this.position, value, true);
    this.position += 2;
  }

  u32(value: number): void {
    if (!(value >= 0 && value < TWO_32)) refuse("a u32", value);
    this.#view.setUint32(this.position, value, true);
    this.position += 4;
  }

  /** A whole number that JavaScript holds exactly. */
  u64(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) refuse("a u64", value);
    this.#view.setUint32(this.position, value >>> 0, true);
    this.#view.setUint32(this.position + 4, Math.floor(value / TWO_32), true);
    this.position += 8;
  }

  bigU64(value: bigint): void {
    if (BigInt.asUintN(64, value) !== value) refuse("a u64", value);
    this.#view.setBigUint64(this.position, value, true);
    this.position += 8;
  }

  bigI64(value: bigint): void {
    if (BigInt.asIntN(64, value) !== value) refuse("an i64", value);
    this.#view.setBigInt64(this.position, value, true);
    this.position += 8;
  }

  /** One byte per character, without a length. */
  latin1(text: string): void {
    const { bytes, position } = this;
    assert(position + text.length <= bytes.length, "The value is longer than any may be");
    for (let i = 0; i < text.length; i++) bytes[position + i] = text.charCodeAt(i);
    this.position = position + text.length;
  }

  hex(text: string): void {
    const bytes = text.length / 2;
    const room = this.bytes.subarray(this.position, this.position + bytes);
    try {
      if (room.setFromHex(text).written === bytes) {
        this.position += bytes;
        return;
      }
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    }
    refuse("hex", text);
  }

  /** A copy of what was written since `position` was 0, to be kept for a short time. */
  finish(): Uint8Array<ArrayBuffer> {
    const copy = roomFor(this.position);
    copy.set(this.bytes.subarray(0, this.position));
    return copy;
  }
}

/** One byte per character, to be kept for a short time. */
export function sharedBytesOf(text: string): Uint8Array<ArrayBuffer> {
  const bytes = roomFor(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Many values share one buffer: each for itself would cost more than all of its encoding. */
const SHARED_BYTES = 65_536;
let shared = new Uint8Array(0);
let sharedUsed = 0;

function roomFor(length: number): Uint8Array<ArrayBuffer> {
  if (sharedUsed + length > shared.length) {
    shared = new Uint8Array(Math.max(SHARED_BYTES, length));
    sharedUsed = 0;
  }
  sharedUsed += length;
  return shared.subarray(sharedUsed - length, sharedUsed);
}

/** The last view that was made: values are read into the same memory again and again. */
let lastView: DataView<ArrayBufferLike> = new DataView(new ArrayBuffer(0));

function viewOf(buffer: ArrayBufferLike): DataView {
  if (lastView.buffer !== buffer) lastView = new DataView(buffer);
  return lastView;
}

/** Reads fields in order. @throws {FormatError} `damaged` past the end. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  /** Where the bytes begin in the view. */
  readonly #base: number;
  readonly #end: number;
  position = 0;

  constructor(bytes: Uint8Array, end: number = bytes.length) {
    this.#bytes = bytes;
    this.#view = viewOf(bytes.buffer);
    this.#base = bytes.byteOffset;
    this.#end = end;
  }

  get left(): number {
    return this.#end - this.position;
  }

  #take(count: number): number {
    const start = this.position;
    if (start + count > this.#end) {
      throw new FormatError("damaged", `it ends at byte ${this.#end}, inside a field`);
    }
    this.position = start + count;
    return start;
  }

  u8(): number {
    return this.#view.getUint8(this.#base + this.#take(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#base + this.#take(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#base + this.#take(4), true);
  }

  u64(): number {
    const start = this.#take(8);
    const value = this.#view.getUint32(this.#base + start, true) +
      this.#view.getUint32(this.#base + start + 4, true) * TWO_32;
    if (value > Number.MAX_SAFE_INTEGER) {
      throw new FormatError("damaged", `the number at byte ${start} is beyond 2^53`);
    }
    return value;
  }

  bigU64(): bigint {
    return this.#view.getBigUint64(this.#base + this.#take(8), true);
  }

  bigI64(): bigint {
    return this.#view.getBigInt64(this.#base + this.#take(8), true);
  }

  latin1(length: number): string {
    const start = this.#take(length);
    return textWithin(this.#bytes, start, start + length);
  }

  hex(length: number): string {
    const start = this.#take(length);
    return new Uint8Array(this.#view.buffer, this.#base + start, length).toHex();
  }
}
