/**
 * BLAKE3 of a file that is written in several places at once.
 *
 * Bytes that arrive where the hash stands are hashed from memory; what arrived further on
 * is read back, from the page cache, once the hash gets there. So a download in order
 * reads nothing back, and one in parallel ends with its hash all but done.
 *
 * @module
 */

import type { DownloadTarget } from "./backend.ts";
import { createContentHasher } from "./hashing.ts";
import type { ByteRange } from "./plan_ranges.ts";
import { StorageError } from "./storage_error.ts";

/** The hash is as fast as with more at a time, and each download has one of these. */
const READ_BACK_BYTES = 262_144;

export class OrderedHash {
  readonly #hasher = createContentHasher();
  readonly #target: DownloadTarget;
  readonly #ranges: readonly ByteRange[];
  /** For each range, up to where it is written. */
  readonly #writtenTo: number[];
  /** The range that the hash stands in. */
  #index = 0;
  #hashedTo = 0;
  #catchingUp: Promise<void> | null = null;
  /** What is read back goes through here. */
  #buffer: Uint8Array | null = null;

  constructor(target: DownloadTarget, ranges: readonly ByteRange[]) {
    this.#target = target;
    this.#ranges = ranges;
    this.#writtenTo = ranges.map((range) => range.start);
  }

  /** `bytes` are in the file at `offset`, next to what range `index` had before. */
  wrote(index: number, bytes: Uint8Array, offset: number): void {
    this.#writtenTo[index] = offset + bytes.length;
    if (this.#catchingUp !== null) return;
    if (offset === this.#hashedTo) {
      this.#hasher.update(bytes);
      this.#hashedTo += bytes.length;
    }
    if (this.#frontier() > this.#hashedTo) {
      this.#catchingUp = this.#catchUp().finally(() => this.#catchingUp = null);
      // finish() tries again from the same place and reports it.
      this.#catchingUp.catch(() => {});
    }
  }

  /** @throws {StorageError} `corrupt` if not all of `totalBytes` are there. */
  async finish(totalBytes: number, key: string): Promise<string> {
    await this.#catchingUp?.catch(() => {});
    await this.#catchUp();
    if (this.#hashedTo !== totalBytes) {
      throw new StorageError("corrupt", {
        operation: "download",
        key,
        detail: `${this.#hashedTo} bytes could be read back, ${totalBytes} are wanted`,
      });
    }
    return this.#hasher.digestHex();
  }

  /** Up to where everything is written. */
  #frontier(): number {
    for (; this.#index < this.#ranges.length; this.#index++) {
      const writtenTo = this.#writtenTo[this.#index]!;
      if (writtenTo < this.#ranges[this.#index]!.end) return writtenTo;
    }
    return this.#ranges.at(-1)?.end ?? 0;
  }

  async #catchUp(): Promise<void> {
    for (;;) {
      const available = this.#frontier() - this.#hashedTo;
      if (available <= 0) return;
      const buffer = this.#buffer ??= new Uint8Array(READ_BACK_BYTES);
      const room = buffer.subarray(0, Math.min(buffer.length, available));
      const count = await this.#target.read(room, this.#hashedTo);
      if (count === 0) return;
      this.#hasher.update(room.subarray(0, count));
      this.#hashedTo += count;
    }
  }
}
