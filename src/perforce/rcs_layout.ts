/**
 * Reads the structure of an RCS file (`,v`): which revisions there are, how they follow from
 * each other, and where in the file their texts lie. Pure: the bytes come through RcsBytes.
 *
 *     rcs    = admin *delta "desc" block *text
 *     admin  = *( word *token ";" )               head, branch, access, symbols, locks ...
 *     delta  = number *( word *token ";" )        date, author, state, branches, next ...
 *     text   = number *( "log" block | "text" block | word *token ";" )
 *     block  = "@" bytes with "@" doubled "@"  |  "%" length LF bytes
 *
 * Texts are not read here, so a file of several GB costs one pass and a few dozen bytes a
 * revision. Damage does not throw: what was read before it is returned with it, because the
 * revisions before the damage can still be checked one by one.
 *
 * @module
 */

import { Buffer } from "node:buffer";

/** Random access to the bytes of a file. */
export interface RcsBytes {
  readonly sizeBytes: number;
  /**
   * Bytes from `offset`, at least one and at most `lengthMax`; fewer near the end of what
   * is at hand. Valid until the next call.
   */
  window(offset: number, lengthMax: number): Uint8Array;
}

/**
 * syntax: not RCS. truncated: it ends too early. delta: an edit that does not fit its text.
 * chain: revisions that do not lead to each other. large: a text beyond the memory allowed.
 */
export type RcsFault = "syntax" | "truncated" | "delta" | "chain" | "large";

/** What is wrong with an RCS file, and where. */
export class RcsError extends Error {
  override readonly name = "RcsError";
  readonly fault: RcsFault;
  readonly offset: number;

  constructor(fault: RcsFault, offset: number, why: string) {
    super(`${why} (at byte ${offset})`);
    this.fault = fault;
    this.offset = offset;
  }
}

/** A block of the file. */
export interface RcsBlock {
  readonly offset: number;
  readonly lengthBytes: number;
  /** It holds doubled `@`, which stand for one. */
  readonly isEscaped: boolean;
}

export interface RcsRevision {
  readonly number: string;
  readonly state: string;
  readonly next: string | null;
  readonly branches: readonly string[];
}

export interface RcsLayout {
  readonly head: string | null;
  readonly revisions: ReadonlyMap<string, RcsRevision>;
  /** First text of each revision: as the server, later ones of the same number are ignored. */
  readonly texts: ReadonlyMap<string, RcsBlock>;
  /** Null if the file was read to its end. */
  readonly damage: RcsError | null;
}

const AT = 64;
const LF = 10;

/** Longest word: Perforce writes at most 128 bytes, symbols of other tools may be longer. */
const WORD_BYTES_MAX = 4_096;
const WINDOW_BYTES = 1 << 18;

/** Reads the whole structure. Never throws for what the file holds. */
export function readRcsLayout(bytes: RcsBytes): RcsLayout {
  const revisions = new Map<string, RcsRevision>();
  const texts = new Map<string, RcsBlock>();
  const cursor = new RcsCursor(bytes);
  let head: string | null = null;
  let damage: RcsError | null = null;
  try {
    head = readAdmin(cursor);
    readDeltas(cursor, revisions);
    cursor.block();
    readTexts(cursor, texts);
  } catch (error) {
    if (!(error instanceof RcsError)) throw error;
    damage = error;
  }
  return { head, revisions, texts, damage };
}

function readAdmin(cursor: RcsCursor): string | null {
  if (cursor.word() !== "head") {
    throw cursor.error("syntax", `it does not begin with "head"`);
  }
  const [head] = cursor.phrase();
  for (;;) {
    const word = cursor.peekWord();
    if (word === "desc" || isNumber(word)) return head ?? null;
    cursor.word();
    cursor.phrase();
  }
}

function readDeltas(cursor: RcsCursor, revisions: Map<string, RcsRevision>): void {
  for (;;) {
    const number = cursor.word();
    if (number === "desc") return;
    if (!isNumber(number)) {
      throw cursor.error("syntax", `"${number}" stands where a revision number belongs`);
    }
    let state = "";
    let next: string | null = null;
    let branches: string[] = [];
    while (!isNumber(cursor.peekWord()) && cursor.peekWord() !== "desc") {
      const name = cursor.word();
      const words = cursor.phrase();
      if (name === "state") state = words[0] ?? "";
      else if (name === "next") next = words[0] ?? null;
      else if (name === "branches") branches = words;
    }
    if (!revisions.has(number)) revisions.set(number, { number, state, next, branches });
  }
}

function readTexts(cursor: RcsCursor, texts: Map<string, RcsBlock>): void {
  while (!cursor.isAtEnd()) {
    const number = cursor.word();
    if (!isNumber(number)) {
      throw cursor.error("syntax", `"${number}" stands where a revision's text belongs`);
    }
    let hasText = false;
    while (!cursor.isAtEnd() && !isNumber(cursor.peekWord())) {
      const name = cursor.word();
      if (name === "log") {
        cursor.block();
      } else if (name === "text") {
        const block = cursor.block();
        if (!texts.has(number)) texts.set(number, block);
        hasText = true;
      } else {
        cursor.phrase();
      }
    }
    if (!hasText) throw cursor.error("truncated", `revision ${number} has no text`);
  }
}

function isNumber(word: string): boolean {
  return /^\d[\d.]*$/.test(word);
}

function isSpace(byte: number): boolean {
  return byte === 32 || (byte >= 8 && byte <= 13);
}

function isSpecial(byte: number): boolean {
  // ; : @ end a word; % opens a counted block where a block may stand, and is a letter elsewhere.
  return byte === 59 || byte === 58 || byte === AT;
}

/** Tokens, over a window that moves along the file. */
class RcsCursor {
  readonly #bytes: RcsBytes;
  #window: Uint8Array = new Uint8Array(0);
  #windowOffset = 0;
  #at = 0;
  #peeked: { word: string; end: number } | null = null;

  constructor(bytes: RcsBytes) {
    this.#bytes = bytes;
  }

  error(fault: RcsFault, why: string): RcsError {
    return new RcsError(fault, this.#offset(), why);
  }

  #offset(): number {
    return this.#windowOffset + this.#at;
  }

  /** The byte at the cursor; -1 at the end of the file. */
  #byte(): number {
    if (this.#at < this.#window.length) return this.#window[this.#at]!;
    const offset = this.#offset();
    if (offset >= this.#bytes.sizeBytes) return -1;
    this.#window = this.#bytes.window(offset, WINDOW_BYTES);
    this.#windowOffset = offset;
    this.#at = 0;
    if (this.#window.length === 0) throw this.error("truncated", "it ends early");
    return this.#window[0]!;
  }

  #seek(offset: number): void {
    const at = offset - this.#windowOffset;
    if (at >= 0 && at <= this.#window.length) {
      this.#at = at;
    } else {
      this.#windowOffset = offset;
      this.#window = new Uint8Array(0);
      this.#at = 0;
    }
  }

  #skipSpace(): void {
    for (let byte = this.#byte(); byte >= 0 && isSpace(byte); byte = this.#byte()) {
      this.#at++;
    }
  }

  /** Only white space is left. */
  isAtEnd(): boolean {
    if (this.#peeked !== null) return false;
    this.#skipSpace();
    return this.#byte() < 0;
  }

  word(): string {
    const word = this.peekWord();
    this.#seek(this.#peeked!.end);
    this.#peeked = null;
    return word;
  }

  peekWord(): string {
    if (this.#peeked !== null) return this.#peeked.word;
    this.#skipSpace();
    const start = this.#offset();
    let word = "";
    for (let byte = this.#byte(); byte >= 0; byte = this.#byte()) {
      if (isSpace(byte) || isSpecial(byte)) break;
      word += String.fromCharCode(byte);
      this.#at++;
      if (word.length > WORD_BYTES_MAX) {
        throw this.error("syntax", `a word is longer than ${WORD_BYTES_MAX} bytes`);
      }
    }
    if (word === "") {
      throw this.#byte() < 0
        ? this.error("truncated", "it ends where a word belongs")
        : this.error("syntax", "a word is missing");
    }
    this.#peeked = { word, end: this.#offset() };
    this.#seek(start);
    return word;
  }

  /** The words up to the `;` that ends a phrase. Blocks and colons in it are skipped. */
  phrase(): string[] {
    const words: string[] = [];
    for (;;) {
      this.#skipSpace();
      const byte = this.#byte();
      if (byte < 0) throw this.error("truncated", "it ends before a semicolon");
      if (byte === 59) {
        this.#at++;
        return words;
      }
      if (byte === 58) this.#at++;
      else if (byte === AT) this.block();
      else words.push(this.word());
    }
  }

  block(): RcsBlock {
    this.#skipSpace();
    const byte = this.#byte();
    if (byte === AT) return this.#quotedBlock();
    if (byte === 37) return this.#countedBlock();
    throw byte < 0
      ? this.error("truncated", "it ends where a text belongs")
      : this.error("syntax", "a text begins with neither @ nor %");
  }

  #quotedBlock(): RcsBlock {
    const open = this.#offset();
    this.#at++;
    let isEscaped = false;
    for (;;) {
      if (this.#byte() < 0) {
        throw new RcsError("truncated", open, "a text has no end");
      }
      const at = this.#window.indexOf(AT, this.#at);
      if (at < 0) {
        this.#at = this.#window.length;
        continue;
      }
      this.#at = at + 1;
      if (this.#byte() !== AT) {
        const close = this.#offset() - 1;
        return { offset: open + 1, lengthBytes: close - open - 1, isEscaped };
      }
      isEscaped = true;
      this.#at++;
    }
  }

  #countedBlock(): RcsBlock {
    this.#at++;
    let digits = "";
    for (let byte = this.#byte(); byte !== LF; byte = this.#byte()) {
      if (byte < 48 || byte > 57 || digits.length >= 15) {
        throw this.error("syntax", "a counted text has no length");
      }
      digits += String.fromCharCode(byte);
      this.#at++;
    }
    this.#at++;
    const offset = this.#offset();
    const lengthBytes = Number(digits);
    if (digits === "" || offset + lengthBytes > this.#bytes.sizeBytes) {
      throw this.error("truncated", "a counted text is longer than the file");
    }
    this.#seek(offset + lengthBytes);
    return { offset, lengthBytes, isEscaped: false };
  }
}

/** The bytes of a block, with doubled `@` made one. */
export function readRcsBlock(
  bytes: RcsBytes,
  block: RcsBlock,
  bytesMax: number,
): Uint8Array {
  if (block.lengthBytes > bytesMax) {
    throw new RcsError("large", block.offset, `a text has ${block.lengthBytes} bytes`);
  }
  const raw = new Uint8Array(block.lengthBytes);
  for (let at = 0; at < raw.length;) {
    const part = bytes.window(block.offset + at, raw.length - at);
    if (part.length === 0) {
      throw new RcsError("truncated", block.offset + at, "it ends early");
    }
    raw.set(part, at);
    at += part.length;
  }
  return block.isEscaped ? unescaped(raw) : raw;
}

/** Halves each doubled `@`, in place. */
function unescaped(raw: Uint8Array): Uint8Array {
  const source = Buffer.from(raw.buffer, raw.byteOffset, raw.length);
  let from = 0;
  let to = 0;
  for (let at = source.indexOf(AT); at >= 0; at = source.indexOf(AT, from)) {
    source.copyWithin(to, from, at + 1);
    to += at + 1 - from;
    from = at + 2;
  }
  if (from < raw.length) {
    source.copyWithin(to, from, raw.length);
    to += raw.length - from;
  }
  return raw.subarray(0, to);
}
