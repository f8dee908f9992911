/**
 * Keeps memory from the garbage collector while another thread uses it.
 *
 * Deno hands the address of a buffer to the thread of a nonblocking call, and does not promise
 * that the buffer lives as long as the call.
 *
 * @module
 */

export class HeldMemory {
  readonly #entries = new Set<{ readonly memory: unknown }>();

  /** Settles as `done` does; until then `memory` is reachable. */
  async until<T>(done: Promise<T>, memory: unknown): Promise<T> {
    const entry = { memory };
    this.#entries.add(entry);
    try {
      return await done;
    } finally {
      this.#entries.delete(entry);
    }
  }
}
