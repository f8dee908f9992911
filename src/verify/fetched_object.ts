/**
 * An object of the store as a file that can be read: small ones in memory, others in a
 * scratch file without a name. Nothing is restored, and no access time changes.
 *
 * @module
 */

import type { Throttle } from "./budget.ts";
import { type Scratch, writeAllSync } from "./scratch.ts";
import {
  type ArchiveStore,
  type FetchTarget,
  type ReadableFile,
  StoreReadError,
} from "./sources.ts";

const HELD_BYTES_MAX = 8 << 20;

export interface FetchedObject extends ReadableFile {
  /** BLAKE3-256 of its bytes, lower-case hex. */
  readonly hash: string;
}

export interface FetchOptions {
  readonly store: ArchiveStore;
  readonly scratch: Scratch;
  readonly throttle: Throttle;
  readonly signal: AbortSignal;
}

/** @throws {StoreReadError} */
export async function fetchObject(
  key: string,
  sizeBytes: number,
  options: FetchOptions,
): Promise<FetchedObject> {
  const body = sizeBytes <= HELD_BYTES_MAX
    ? new HeldBody(sizeBytes)
    : new ScratchBody(options.scratch.createFile());
  const target: FetchTarget = {
    async write(bytes: Uint8Array, offset: number): Promise<void> {
      if (offset + bytes.length > sizeBytes) {
        throw new StoreReadError(
          "damaged",
          `Cannot read "${key}": it is longer than ${sizeBytes} bytes`,
        );
      }
      await options.throttle.spend(bytes.length);
      body.write(bytes, offset);
    },
    read: (buffer, offset) => Promise.resolve(body.readSync(buffer, offset)),
  };
  try {
    const hash = await options.store.fetch(key, sizeBytes, target, options.signal);
    return {
      hash,
      sizeBytes,
      read: target.read,
      readSync: (buffer, offset) => body.readSync(buffer, offset),
      close: () => body.close(),
    };
  } catch (error) {
    body.close();
    throw error;
  }
}

class HeldBody {
  #bytes: Uint8Array;

  constructor(sizeBytes: number) {
    this.#bytes = new Uint8Array(sizeBytes);
  }

  write(bytes: Uint8Array, offset: number): void {
    this.#bytes.set(bytes, offset);
  }

  readSync(buffer: Uint8Array, offset: number): number {
    const part = this.#bytes.subarray(offset, offset + buffer.length);
    buffer.set(part);
    return part.length;
  }

  close(): void {
    this.#bytes = new Uint8Array(0);
  }
}

class ScratchBody {
  readonly #file: Deno.FsFile;

  constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  write(bytes: Uint8Array, offset: number): void {
    this.#file.seekSync(offset, Deno.SeekMode.Start);
    writeAllSync(this.#file, bytes);
  }

  readSync(buffer: Uint8Array, offset: number): number {
    this.#file.seekSync(offset, Deno.SeekMode.Start);
    for (let at = 0; at < buffer.length;) {
      const count = this.#file.readSync(buffer.subarray(at));
      if (count === null) return at;
      at += count;
    }
    return buffer.length;
  }

  close(): void {
    this.#file.close();
  }
}
