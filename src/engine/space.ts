/**
 * Room on the depot's disk: a restore reserves its bytes before it writes the first one,
 * so that restores together never eat what `p4d` needs for its own writes. What it has written
 * is not free any more, so its reservation is of the rest.
 *
 * @module
 */

import { type EngineContext } from "./engine_context.ts";

/** The disk has no room for a restore, and eviction made none in time. */
export class NoSpaceError extends Error {
  override readonly name = "NoSpaceError";
}

/** How long a restore waits for eviction, in milliseconds. */
const WAIT_MS_MAX = 60_000;
const WAIT_MS_STEP = 250;

/**
 * To be told of the bytes that are on the disk so far, less after a beginning anew, so that
 * they do not count twice.
 */
export type OnWritten = (bytes: number) => void;

export class SpaceLedger {
  readonly #context: EngineContext;
  readonly #askForEviction: () => void;
  #reservedBytes = 0;
  #awaitedBytes = 0;

  constructor(context: EngineContext, askForEviction: () => void) {
    this.#context = context;
    this.#askForEviction = askForEviction;
  }

  get reservedBytes(): number {
    return this.#reservedBytes;
  }

  /** Of restores that wait for room: what eviction is to free for them. */
  get awaitedBytes(): number {
    return this.#awaitedBytes;
  }

  /** Bytes that may still be taken without going below `min_free_bytes`. */
  availableBytes(): number {
    const { posix, root, settings } = this.#context;
    return posix.statvfs(root).freeBytes - settings().minFreeBytes - this.#reservedBytes;
  }

  /**
   * Runs `work` with `sizeBytes` set aside, less what it tells to be written.
   *
   * @throws {NoSpaceError} If eviction does not make the room within a minute, or cannot.
   */
  async reserve<T>(
    sizeBytes: number,
    work: (onWritten: OnWritten) => Promise<T>,
  ): Promise<T> {
    this.#refuseTooLarge(sizeBytes);
    this.#awaitedBytes += sizeBytes;
    try {
      await this.#waitForRoom(sizeBytes);
    } finally {
      this.#awaitedBytes -= sizeBytes;
    }
    let restBytes = sizeBytes;
    this.#reservedBytes += restBytes;
    const keep = (bytes: number): void => {
      this.#reservedBytes += bytes - restBytes;
      restBytes = bytes;
    };
    try {
      return await work((bytes) => keep(Math.max(0, sizeBytes - bytes)));
    } finally {
      keep(0);
    }
  }

  /** For such a file eviction would empty the whole cache, and still fail. */
  #refuseTooLarge(sizeBytes: number): void {
    const { posix, root, settings } = this.#context;
    const { minFreeBytes } = settings();
    const { totalBytes } = posix.statvfs(root);
    if (sizeBytes <= totalBytes - minFreeBytes) return;
    throw new NoSpaceError(
      `${sizeBytes} bytes never fit: the disk has ${totalBytes}, and min_free_bytes is ` +
        `${minFreeBytes}`,
    );
  }

  async #waitForRoom(sizeBytes: number): Promise<void> {
    const { clock, signal } = this.#context;
    const deadlineMs = clock.monotonicMs() + WAIT_MS_MAX;
    while (this.availableBytes() < sizeBytes) {
      this.#askForEviction();
      if (clock.monotonicMs() >= deadlineMs) {
        throw new NoSpaceError(
          `${sizeBytes} bytes do not fit: ${this.availableBytes()} bytes are free above ` +
            `min_free_bytes, and eviction made no room in ${WAIT_MS_MAX / 1000} s`,
        );
      }
      await clock.sleep(WAIT_MS_STEP, signal);
    }
  }
}
