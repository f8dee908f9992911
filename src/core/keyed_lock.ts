/**
 * One holder a key, first come first served: no two operations on the same path at once.
 *
 * @module
 */

export class KeyedLock {
  /** The tail of each key's queue; a key without holder or waiter has no entry. */
  readonly #tails = new Map<string, Promise<void>>();

  /** Runs `work` when every earlier holder of `key` is done, and returns its result. */
  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key);
    const { promise: done, resolve: release } = Promise.withResolvers<void>();
    this.#tails.set(key, done);
    try {
      await before;
      return await work();
    } finally {
      release();
      if (this.#tails.get(key) === done) this.#tails.delete(key);
    }
  }

  /** Resolves when all are done that hold or wait for a key with this beginning just now. */
  async settled(beginning: string): Promise<void> {
    const keys = [...this.#tails.keys()].filter((key) => key.startsWith(beginning));
    await Promise.all(keys.map((key) => this.#tails.get(key)));
  }

  /** Resolves when nobody holds anything. */
  async idle(): Promise<void> {
    while (this.#tails.size > 0) await this.settled("");
  }
}
