/**
 * Which failed uploads are told of already. A file is tried again every few minutes for as
 * long as its store denies it, and what is told each time would push the records of files
 * that are lost out of the ledgers.
 *
 * @module
 */

import type { DepotPath } from "../core/names.ts";
import type { LocalStat } from "../manifest/manifest.ts";
import { StorageError } from "../storage/storage_error.ts";
import { hashOfText } from "./engine_context.ts";

/** Those beyond are told of in one line together. */
const TOLD_MAX = 500_000;

/** Of a hash: what a number holds. Millions of names are as good as never mistaken. */
const DIGITS = 13;

/** `full`: one more than are remembered; `many`, and all after it. */
export type Telling = "told" | "new" | "full" | "many";

export class ToldUploads {
  readonly #max: number;
  /** By the hash of the path, the hash of what was told: texts would take 20 times as much. */
  readonly #told = new Map<number, number>();
  #isFull = false;

  constructor(max = TOLD_MAX) {
    this.#max = max;
  }

  /** Once a content and a kind of failure. */
  note(path: DepotPath, { sizeBytes, mtimeNs }: LocalStat, error: Error): Telling {
    const name = numberOf(path);
    const what = numberOf(`${kindOf(error)} ${sizeBytes} ${mtimeNs}`);
    if (this.#told.get(name) === what) return "told";
    if (this.#told.size >= this.#max && !this.#told.has(name)) {
      const telling = this.#isFull ? "many" : "full";
      this.#isFull = true;
      return telling;
    }
    this.#told.set(name, what);
    return "new";
  }

  /** It is uploaded. True if a failure of it was told. */
  forget(path: DepotPath): boolean {
    if (this.#told.size === 0) return false;
    const wasTold = this.#told.delete(numberOf(path));
    if (wasTold) this.#isFull = false;
    return wasTold;
  }
}

/** A store that is away says now this and now that. */
function kindOf(error: Error): string {
  if (error instanceof StorageError) {
    return error.fault === "throttled" ? "unavailable" : error.fault;
  }
  return "code" in error ? `${error.name} ${error.code}` : error.name;
}

function numberOf(text: string): number {
  return parseInt(hashOfText(text).slice(0, DIGITS), 16);
}
