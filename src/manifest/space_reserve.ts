/**
 * Room on the disk that is kept for the manifest: a file that is given up when the disk is
 * full, so that what was begun can still be recorded and evictions can make room.
 *
 * Where the copies are: the file holds nothing. It is made of random bytes, because a file
 * system that compresses would keep no room for others.
 *
 * @module
 */

import { statfsSync } from "node:fs";
import type { Clock } from "../core/clock.ts";
import type { KeyValueStore, Write } from "./key_value.ts";
import { ManifestError } from "./manifest.ts";

const CHUNK_BYTES = 65_536;

/** After it was used it is filled again when the disk has so many times its size. */
const REFILL_FREE_FACTOR = 4;
const REFILL_LOOK_MS = 30_000;

export interface ReserveOptions {
  readonly path: string;
  readonly sizeBytes: number;
  readonly clock: Clock;
  /** used: the disk is full. kept: the room is there. missing: it could not be made. */
  readonly onChange: (state: "used" | "kept" | "missing") => void;
  /** The room could not be looked after; it is tried again. */
  readonly onFault: (error: unknown) => void;
}

export class SpaceReserve {
  readonly #options: ReserveOptions;
  #isKept = false;
  #nextLookMs = 0;

  constructor(options: ReserveOptions) {
    this.#options = options;
  }

  /** Makes the file unless it is there. Never fails: a disk may be full at the start. */
  fill(): void {
    this.#guarded(() => this.#fill());
  }

  #fill(): void {
    const { path, sizeBytes, onChange } = this.#options;
    try {
      if (!isOfSize(path, sizeBytes)) {
        this.#remove();
        writeRandom(path, sizeBytes);
      }
    } catch {
      this.#remove();
      onChange("missing");
      return;
    }
    this.#isKept = true;
    onChange("kept");
  }

  /** True if there is room now that was not there before. */
  use(): boolean {
    if (!this.#isKept) return false;
    this.#isKept = false;
    this.#remove();
    this.#options.onChange("used");
    return true;
  }

  /**
   * After a commit that worked: makes the file again once the disk has room. Never throws: what
   * is durable must not look as if it had failed, or the next commit would give its numbers again.
   */
  refillWhenFree(): void {
    const { path, sizeBytes, clock } = this.#options;
    if (this.#isKept || clock.monotonicMs() < this.#nextLookMs) return;
    this.#nextLookMs = clock.monotonicMs() + REFILL_LOOK_MS;
    this.#guarded(() => {
      const { bavail, bsize } = statfsSync(path.replace(/\/[^/]*$/, ""));
      if (bavail * bsize >= REFILL_FREE_FACTOR * sizeBytes) this.#fill();
    });
  }

  /** Not even an error of who is told. */
  #guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      try {
        this.#options.onFault(error);
      } catch {
        // There is nobody left to tell.
      }
    }
  }

  #remove(): void {
    try {
      Deno.removeSync(this.#options.path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

function isOfSize(path: string, sizeBytes: number): boolean {
  try {
    const { isFile, size } = Deno.lstatSync(path);
    return isFile && size === sizeBytes;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function writeRandom(path: string, sizeBytes: number): void {
  const chunk = crypto.getRandomValues(new Uint8Array(CHUNK_BYTES));
  const options = { write: true, createNew: true, mode: 0o600 };
  using file = Deno.openSync(path, options);
  for (let left = sizeBytes; left > 0;) {
    left -= file.writeSync(chunk.subarray(0, Math.min(left, chunk.length)));
  }
  file.syncSync();
}

/** The store, with a second try on the reserve where a commit meets a full disk. */
export function withReserve(store: KeyValueStore, reserve: SpaceReserve): KeyValueStore {
  return {
    get: (table, key) => store.get(table, key),
    read: (table, key, decode) => store.read(table, key, decode),
    sealedRow: (path) => store.sealedRow(path),
    keys: (table, range) => store.keys(table, range),
    range: (table, range) => store.range(table, range),
    snapshot: () => store.snapshot(),
    count: (table) => store.count(table),
    close: () => store.close(),
    async commit(writes: readonly Write[]): Promise<void> {
      try {
        await store.commit(writes);
      } catch (error) {
        const isFull = error instanceof ManifestError && error.fault === "full";
        if (!isFull || !reserve.use()) throw error;
        await store.commit(writes);
        return;
      }
      reserve.refillWhenFree();
    },
  };
}
