/**
 * Remembers what was told, so that it is told once and not with each pass that finds it as it was.
 *
 * @module
 */

/** After so many, each is told of again. */
const TOLD_MAX = 10_000;

export class ToldOnce {
  readonly #told = new Set<number>();

  /** Whether it was told before. It counts as told from now on. */
  wasTold(id: number): boolean {
    if (this.#told.has(id)) return true;
    if (this.#told.size >= TOLD_MAX) this.#told.clear();
    this.#told.add(id);
    return false;
  }

  forget(id: number): void {
    this.#told.delete(id);
  }
}
