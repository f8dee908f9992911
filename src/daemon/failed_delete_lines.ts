/**
 * Reads the lines of a file that the shim writes, and others might have written.
 *
 * @module
 */

import type { BytePath } from "../core/names.ts";
import { type Deleter, writersOf } from "../engine/may_delete.ts";
import type { Posix } from "../posix/posix.ts";

/** Longest record: a path of PATH_MAX with every byte escaped, and the rest of the object. */
const RECORD_BYTES_MAX = 32_768;
const CHUNK_BYTES = 65_536;

export interface Line {
  readonly line: string;
  /** Who may have written it. */
  readonly writers: readonly Deleter[];
  readonly offset: number;
  readonly end: number;
}

/** Whole lines from `start`, with where each begins and ends; a torn last one is left. */
export async function* linesOf(
  posix: Posix,
  { directory, name }: { readonly directory: BytePath; readonly name: BytePath },
  start: number,
): AsyncGenerator<Line> {
  const fd = posix.openRead(`${directory}/${name}`);
  try {
    let held: Uint8Array = new Uint8Array(0);
    let heldAt = start;
    const writers = writersOf(posix.fstat(fd), posix.lstat(directory)!);
    const buffer = new Uint8Array(CHUNK_BYTES);
    for (;;) {
      const count = await posix.read(fd, buffer, heldAt + held.length);
      if (count === 0) return;
      held = concatenated(held, buffer.subarray(0, count));
      let from = 0;
      for (let lf = held.indexOf(10, from); lf >= 0; lf = held.indexOf(10, from)) {
        const line = new TextDecoder("latin1").decode(held.subarray(from, lf));
        yield { line, writers, offset: heldAt + from, end: heldAt + lf + 1 };
        from = lf + 1;
      }
      held = held.slice(from);
      heldAt += from;
      // Not the shim's: nothing of it may fill our memory.
      if (held.length > RECORD_BYTES_MAX) {
        heldAt += held.length;
        held = new Uint8Array(0);
      }
    }
  } finally {
    posix.close(fd);
  }
}

function concatenated(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
