/**
 * What an output says of the lines that it has lost, where it goes on.
 *
 * @module
 */

/** Of one output, line by line: {@linkcode noted}, a write, {@linkcode judge}. */
export class LineLosses {
  #lost = 0;
  #isTorn = false;

  /** Lines that were given up before they were tried. */
  add(lines: number): void {
    this.#lost += lines;
  }

  /** What to write: the line, after the number of those that are missing before it. */
  noted(line: string): Uint8Array {
    const note = this.#lost === 0 ? "" : this.#noteLike(line);
    return new TextEncoder().encode(note + line);
  }

  /** The number of those that are missing now, in the format of `line`. */
  note(line: string): Uint8Array {
    return new TextEncoder().encode(this.#noteLike(line));
  }

  #noteLike(line: string): string {
    return `${this.#isTorn ? "\n" : ""}${lossNote(line, this.#lost)}`;
  }

  /** As `judge`, of a note alone: one that is not written whole is no line that is lost. */
  judgeNote(bytes: Uint8Array, count: number): void {
    const lost = this.#lost;
    this.judge(bytes, count);
    if (count < bytes.length) this.#lost = lost;
  }

  /** Takes note of how many of the `bytes` were written. */
  judge(bytes: Uint8Array, count: number): void {
    if (count === bytes.length) {
      [this.#lost, this.#isTorn] = [0, false];
      return;
    }
    this.#lost++; // There is nowhere to say so but here, later.
    if (count > 0) this.#isTorn = bytes[count - 1] !== 0x0a;
  }
}

/** In the format of the line that it goes before. */
function lossNote(line: string, lost: number): string {
  const message = `Lines of the log that could not be written here: ${lost}`;
  if (!line.startsWith("{")) return `${line.slice(0, 24)} WARN  ${message}\n`;
  const { ts } = JSON.parse(line);
  return JSON.stringify({ ts, level: "warn", message }) + "\n";
}
