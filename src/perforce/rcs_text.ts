/**
 * The text of a revision as runs of lines, and the edits that make one text from another.
 * Pure.
 *
 * A text is never copied by an edit: it is a list of pieces, each a run of lines in the
 * head's text or in the delta that added them. So all revisions of a file are rebuilt in one
 * pass, in memory that holds the head and the deltas read so far, and branches share what
 * they have in common.
 *
 * Edits are those of `diff -n`: `dL N` removes N lines from line L; `aL N` adds the N lines
 * that follow it after line L. Lines are those of the text before the edit, ascending.
 *
 * @module
 */

import { RcsError } from "./rcs_layout.ts";

const LF = 10;

/** Bytes with the offsets at which their lines begin, and their length at the end. */
class LineBuffer {
  readonly bytes: Uint8Array;
  readonly starts: Float64Array | Uint32Array;
  readonly lines: number;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    let lines = 0;
    for (let at = bytes.indexOf(LF); at >= 0; at = bytes.indexOf(LF, at + 1)) lines++;
    if (bytes.length > 0 && bytes[bytes.length - 1] !== LF) lines++;
    const starts = bytes.length < 2 ** 32
      ? new Uint32Array(lines + 1)
      : new Float64Array(lines + 1);
    let line = 0;
    for (let at = 0; at < bytes.length;) {
      starts[line++] = at;
      const lf = bytes.indexOf(LF, at);
      at = lf < 0 ? bytes.length : lf + 1;
    }
    starts[lines] = bytes.length;
    this.starts = starts;
    this.lines = lines;
  }
}

interface Piece {
  readonly buffer: LineBuffer;
  /** First line, and the one after the last. */
  readonly from: number;
  readonly to: number;
}

/** More pieces than this are copied together, so that many small edits stay cheap. */
const PIECES_MAX = 512;

/** A text. Immutable. */
export class RcsText {
  readonly #pieces: readonly Piece[];
  readonly sizeBytes: number;

  private constructor(pieces: readonly Piece[]) {
    this.#pieces = pieces;
    let sizeBytes = 0;
    for (const { buffer, from, to } of pieces) {
      sizeBytes += buffer.starts[to]! - buffer.starts[from]!;
    }
    this.sizeBytes = sizeBytes;
  }

  static of(bytes: Uint8Array): RcsText {
    const buffer = new LineBuffer(bytes);
    return new RcsText([{ buffer, from: 0, to: buffer.lines }]);
  }

  /** The bytes, in runs of any length. */
  *chunks(): Generator<Uint8Array> {
    for (const { buffer, from, to } of this.#pieces) {
      if (from < to) yield buffer.bytes.subarray(buffer.starts[from], buffer.starts[to]);
    }
  }

  /** The bytes in one piece. */
  toBytes(): Uint8Array {
    const bytes = new Uint8Array(this.sizeBytes);
    let at = 0;
    for (const chunk of this.chunks()) {
      bytes.set(chunk, at);
      at += chunk.length;
    }
    return bytes;
  }

  /**
   * The text after the edits in `delta`.
   *
   * @param offset Where the delta stands in its file, for messages.
   * @throws {RcsError} `delta` if an edit is malformed or does not fit.
   */
  edited(delta: Uint8Array, offset: number): RcsText {
    const source = new PieceReader(this.#pieces);
    const script = new LineBuffer(delta);
    const fail = (line: number, why: string): RcsError =>
      new RcsError("delta", offset + script.starts[line]!, why);
    for (let line = 0; line < script.lines;) {
      const edit = parseEdit(script, line);
      if (edit === null) throw fail(line, "an edit is neither aL N nor dL N");
      const { kind, at, count } = edit;
      const before = kind === "a" ? at : at - 1;
      if (before < source.line || !source.copyTo(before)) {
        throw fail(line, `the edit ${kind}${at} ${count} does not fit its text`);
      }
      line++;
      if (kind === "d") {
        if (!source.skip(count)) {
          throw fail(line - 1, `the edit d${at} ${count} does not fit its text`);
        }
      } else {
        if (line + count > script.lines) {
          throw fail(line - 1, `a${at} ${count} is cut off`);
        }
        source.add({ buffer: script, from: line, to: line + count });
        line += count;
      }
    }
    const pieces = source.finish();
    const text = new RcsText(pieces);
    return pieces.length > PIECES_MAX ? RcsText.of(text.toBytes()) : text;
  }
}

interface Edit {
  readonly kind: "a" | "d";
  readonly at: number;
  readonly count: number;
}

function parseEdit(script: LineBuffer, line: number): Edit | null {
  const end = script.starts[line + 1]!;
  let at = script.starts[line]!;
  if (end - at > 40) return null;
  let text = "";
  for (; at < end; at++) text += String.fromCharCode(script.bytes[at]!);
  const match = /^([ad])(\d{1,15}) (\d{1,15})\r?\n?$/.exec(text);
  if (match === null) return null;
  const edit = {
    kind: match[1] as "a" | "d",
    at: Number(match[2]),
    count: Number(match[3]),
  };
  return edit.count === 0 || (edit.kind === "d" && edit.at === 0) ? null : edit;
}

/** Walks the lines of a text once, and collects the pieces of the next. */
class PieceReader {
  readonly #pieces: readonly Piece[];
  readonly #out: Piece[] = [];
  #piece = 0;
  /** Lines of the piece at hand that are used up. */
  #used = 0;
  /** Lines of the whole text that are used up. */
  line = 0;

  constructor(pieces: readonly Piece[]) {
    this.#pieces = pieces;
  }

  /** Keeps the lines up to `line`, inclusive. False if there are not as many. */
  copyTo(line: number): boolean {
    return this.#advance(line - this.line, true);
  }

  skip(count: number): boolean {
    return this.#advance(count, false);
  }

  #advance(count: number, keeps: boolean): boolean {
    let left = count;
    while (left > 0) {
      const piece = this.#pieces[this.#piece];
      if (piece === undefined) return false;
      const from = piece.from + this.#used;
      const take = Math.min(left, piece.to - from);
      if (keeps && take > 0) {
        this.#out.push({ buffer: piece.buffer, from, to: from + take });
      }
      this.#used += take;
      this.line += take;
      left -= take;
      if (from + take === piece.to) {
        this.#piece++;
        this.#used = 0;
      }
    }
    return true;
  }

  add(piece: Piece): void {
    this.#out.push(piece);
  }

  /** The pieces so far and the rest of the text. */
  finish(): Piece[] {
    this.#advance(Number.MAX_SAFE_INTEGER, true);
    return this.#out;
  }
}
