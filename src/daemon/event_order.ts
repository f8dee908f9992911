/**
 * Runs what events ask for at once where they have nothing to do with each other, and one
 * after the other where they do: a name that was renamed twice is moved twice in that order,
 * each time on top of what the time before has made durable.
 *
 * @module
 */

export class EventOrder {
  /** The last work that was asked for on a name, while it is under way. */
  readonly #lastOn = new Map<string, Promise<void>>();
  readonly #underWay = new Set<Promise<void>>();
  /** The last work on everything. */
  #lastOnAll: Promise<void> | null = null;

  get size(): number {
    return this.#underWay.size;
  }

  /** Starts `work` when all earlier work on any of `names` has ended. It must not reject. */
  on(names: readonly string[], work: () => Promise<void>): void {
    const before = names.flatMap((name) => this.#lastOn.get(name) ?? []);
    if (this.#lastOnAll !== null) before.push(this.#lastOnAll);
    const done = this.#start(before, work);
    for (const name of names) this.#lastOn.set(name, done);
    void done.then(() => {
      for (const name of names) {
        if (this.#lastOn.get(name) === done) this.#lastOn.delete(name);
      }
    });
  }

  /** Starts `work` when all earlier work has ended; later work waits for it. */
  onAll(work: () => Promise<void>): void {
    const done = this.#start([...this.#underWay], work);
    this.#lastOnAll = done;
    void done.then(() => {
      if (this.#lastOnAll === done) this.#lastOnAll = null;
    });
  }

  /** Resolves when all work that was asked for before the call has ended. */
  async settled(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  /** Resolves when some work has ended; at once if there is none. */
  async oneSettled(): Promise<void> {
    if (this.#underWay.size > 0) await Promise.race(this.#underWay);
  }

  #start(before: readonly Promise<void>[], work: () => Promise<void>): Promise<void> {
    // At once where nothing is before it: a burst of writes takes no turn more.
    const done = (before.length === 0 ? work() : Promise.all(before).then(work))
      .finally(() => this.#underWay.delete(done));
    this.#underWay.add(done);
    return done;
  }
}
