/**
 * A bound on what runs at the same time, shared fairly: first between users, then between
 * the processes of a user. Who has the fewest places gets the next one, and of those whoever
 * was served longest ago, so that somebody who asks now and then never waits behind somebody
 * who asks for everything. One user never has all places, and while others ask too, even if
 * only now and then, a quarter of them: work that is under way cannot be taken back, and what
 * there is of it is what a newcomer shares the processors, the disk and the network with. For
 * the same reason he who asks for much begins nothing beside what has just begun for somebody
 * who asks for little, unless he has as few places.
 *
 * A process is a hint for fairness and nothing else: whoever wants more places than his due
 * can fork.
 *
 * @module
 */

import { assert } from "./assert.ts";
import type { Clock } from "./clock.ts";

/** Who asks, by the kernel's word. */
export interface Client {
  readonly uid: number;
  readonly pid: number;
}

interface Turn {
  runningCount: number;
  /** Grows with each place given; 0: never. */
  servedAt: number;
}

interface ProcessTurn extends Turn {
  readonly waiting: (() => void)[];
}

interface UserTurn extends Turn {
  readonly processes: Map<number, ProcessTurn>;
  waitingCount: number;
  /** When his last work began. */
  begunMs: number;
}

/** A user counts as one who asks while so many places were given since his last. */
const ACTIVE_PLACES = 4_096;

/**
 * Work is new for so long: a small file from a store nearby is back by then. What takes longer
 * waits for the network, and nobody is to wait for that with it.
 */
const NEW_MS = 10;

/** Processes of a user that are remembered while they wait for nothing. */
const IDLE_REMEMBERED = 1_024;

export class FairPlaces {
  readonly #aloneMax: number;
  readonly #sharedMax: number;
  readonly #clock: Clock;
  readonly #users = new Map<number, UserTurn>();
  #freeCount: number;
  #waitingCount = 0;
  #served = 0;
  #isWaking = false;

  constructor(count: number, clock: Clock) {
    assert(Number.isInteger(count) && count > 0, "a bound must be positive");
    this.#clock = clock;
    this.#freeCount = count;
    this.#aloneMax = count - Math.floor(count / 4);
    this.#sharedMax = Math.max(1, Math.floor(count / 4));
  }

  get waitingCount(): number {
    return this.#waitingCount;
  }

  async run<T>(client: Client, work: () => Promise<T>): Promise<T> {
    const user = this.#userOf(client.uid);
    const process = processOf(user, client.pid);
    await this.#wait(user, process);
    try {
      return await work();
    } finally {
      this.#freeCount += 1;
      user.runningCount -= 1;
      process.runningCount -= 1;
      this.#give();
      forgetIdle(user);
    }
  }

  #maxOf(user: UserTurn): number {
    let max = this.#aloneMax;
    for (const other of this.#users.values()) {
      if (other === user) continue;
      const isActive = other.runningCount + other.waitingCount > 0 ||
        (other.servedAt > 0 && this.#served - other.servedAt < ACTIVE_PLACES);
      if (isActive) max = Math.min(max, this.#sharedMax);
      if (this.#hasNew(other)) max = Math.min(max, other.runningCount);
    }
    return max;
  }

  /** Work that has just begun, of somebody who has all places that he asked for. */
  #hasNew({ runningCount, waitingCount, begunMs }: UserTurn): boolean {
    return runningCount > 0 && waitingCount === 0 &&
      this.#clock.monotonicMs() - begunMs < NEW_MS;
  }

  #userOf(uid: number): UserTurn {
    const known = this.#users.get(uid);
    if (known !== undefined) return known;
    const user: UserTurn = {
      runningCount: 0,
      servedAt: 0,
      waitingCount: 0,
      begunMs: 0,
      processes: new Map(),
    };
    this.#users.set(uid, user);
    return user;
  }

  #wait(user: UserTurn, process: ProcessTurn): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    process.waiting.push(resolve);
    user.waitingCount += 1;
    this.#waitingCount += 1;
    this.#give();
    return promise;
  }

  /** Gives away what is free. */
  #give(): void {
    while (this.#freeCount > 0) {
      const user = nextOf(
        this.#users.values(),
        (it) => it.waitingCount > 0 && it.runningCount < this.#maxOf(it),
      );
      if (user === null) return this.#giveLater();
      const process = nextOf(user.processes.values(), (it) => it.waiting.length > 0)!;
      this.#freeCount -= 1;
      this.#waitingCount -= 1;
      user.waitingCount -= 1;
      user.begunMs = this.#clock.monotonicMs();
      for (const turn of [user, process]) {
        turn.runningCount += 1;
        turn.servedAt = ++this.#served;
      }
      process.waiting.shift()!();
    }
  }

  /** What is new ceases to be so without anybody's asking or ending. */
  #giveLater(): void {
    if (this.#isWaking || this.#waitingCount === 0) return;
    if (!this.#users.values().some((it) => this.#hasNew(it))) return;
    this.#isWaking = true;
    void this.#clock.sleep(NEW_MS).then(() => {
      this.#isWaking = false;
      this.#give();
    });
  }
}

function processOf({ processes }: UserTurn, pid: number): ProcessTurn {
  const known = processes.get(pid);
  if (known !== undefined) return known;
  const process = { runningCount: 0, servedAt: 0, waiting: [] };
  processes.set(pid, process);
  return process;
}

/** Fewest places, then longest not served, then first come. */
function nextOf<T extends Turn>(
  turns: Iterable<T>,
  isWaiting: (turn: T) => boolean,
): T | null {
  let next: T | null = null;
  for (const turn of turns) {
    if (!isWaiting(turn)) continue;
    const isBefore = next === null || turn.runningCount < next.runningCount ||
      (turn.runningCount === next.runningCount && turn.servedAt < next.servedAt);
    if (isBefore) next = turn;
  }
  return next;
}

/** Keeps memory bounded; who is forgotten counts as new when it comes again. */
function forgetIdle({ processes }: UserTurn): void {
  if (processes.size <= 2 * IDLE_REMEMBERED) return;
  const idle = [...processes]
    .filter(([, { runningCount, waiting }]) => runningCount === 0 && waiting.length === 0)
    .sort(([, a], [, b]) => a.servedAt - b.servedAt);
  for (const [pid] of idle.slice(0, Math.max(0, idle.length - IDLE_REMEMBERED))) {
    processes.delete(pid);
  }
}
