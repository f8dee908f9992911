/**
 * Durable group commit: many operations, one fsync.
 *
 * Operations wait in a queue. One group at a time is composed (synchronously, for at most
 * a few milliseconds) and committed; those that arrive meanwhile form the next. A lone
 * caller waits for one fsync, a crowd shares it. What waits is one small object for each
 * caller that waits: whoever has much to do awaits some of it before asking for more, and
 * so is held back at the pace of the disk. Each operation resolves after the fsync
 * of its own group; a commit that fails rejects its whole group and nothing else, and the
 * next group starts from what is on the disk.
 *
 * Where composing takes longer than the disk does, the crowd is split in two: one half is
 * composed while the other is committed, on top of it. Should that commit fail, what was
 * composed on top of it is forgotten and composed again.
 *
 * @module
 */

import { nextTurn } from "../core/turns.ts";

/** Composing a group takes no longer; encoding and handing it over takes twice as long again. */
const COMPOSE_MS_MAX = 2;
const GROUP_MAX = 512;
/** How often the clock is read while composing. */
const OPERATIONS_PER_LOOK = 4;
/** Fewer are not worth a commit of their own. */
const HALF_MIN = 8;
/** Two halves take two commits: that pays if a half is composed in half the time of one. */
const COMMIT_OVER_COMPOSE_MAX = 2;
/** The newest measurement replaces so much of those before. */
const NEWEST_SHARE = 1 / 8;

interface Operation<Group> {
  run(group: Group): void;
  resolve(): void;
  reject(error: unknown): void;
}

interface Composed<Group> {
  readonly group: Group;
  readonly members: readonly Operation<Group>[];
  /** Those that threw, and what. */
  readonly refused: ReadonlyMap<Operation<Group>, unknown>;
  readonly sealing: Failure;
}

/** How it ended; null: well. */
type Failure = { readonly error: unknown } | null;

interface UnderWay<Group> {
  readonly composed: Composed<Group>;
  readonly ended: Promise<Failure>;
}

export interface GroupCommitDeps<Group> {
  /** A group on top of what is durable, or of `before`, which is sealed and being committed. */
  begin(before: Group | null): Group;
  /** No operation comes after: makes ready what will be written. */
  seal(group: Group): void;
  /** Makes the group durable, and the basis of what follows. */
  commit(group: Group): Promise<void>;
  monotonicMs(): number;
}

export class GroupCommit<Group> {
  readonly #deps: GroupCommitDeps<Group>;
  #waiting: Operation<Group>[] = [];
  #running: Promise<void> | null = null;
  /** Of composing, for each operation; of committing, for each group. */
  #composeMs = 0;
  #commitMs = 0;

  constructor(deps: GroupCommitDeps<Group>) {
    this.#deps = deps;
  }

  /**
   * Runs `operate` in some group, and resolves with what it returned once that group is
   * durable. If it throws, it must not have changed the group; only this call rejects. It
   * runs again where a group that it was composed on top of did not become durable.
   */
  run<T>(operate: (group: Group) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      let result: T;
      this.#waiting.push({
        run: (group) => void (result = operate(group)),
        resolve: () => resolve(result),
        reject,
      });
      this.#running ??= this.#drain();
    });
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    while (this.#running !== null) await this.#running;
  }

  async #drain(): Promise<void> {
    let underWay: UnderWay<Group> | null = null;
    do {
      // The callers that the last commit released ask again within this turn.
      await nextTurn();
      underWay = underWay === null
        ? this.#start(this.#compose(null))
        : await this.#following(underWay);
    } while (underWay !== null || this.#waiting.length > 0);
    this.#running = null;
  }

  #start(composed: Composed<Group>): UnderWay<Group> {
    return { composed, ended: this.#commit(composed) };
  }

  async #commit({ group, sealing }: Composed<Group>): Promise<Failure> {
    if (sealing !== null) return sealing;
    const startMs = this.#deps.monotonicMs();
    try {
      await this.#deps.commit(group);
    } catch (error) {
      return { error };
    }
    this.#commitMs = mixed(this.#commitMs, this.#deps.monotonicMs() - startMs);
    return null;
  }

  /** Waits for the end of a commit; what is under way after it, if anything was ready. */
  async #following(
    { composed, ended }: UnderWay<Group>,
  ): Promise<UnderWay<Group> | null> {
    const isSplit = this.#waiting.length > 0 &&
      this.#paysToSplit(composed.members.length);
    const next = isSplit ? this.#compose(composed) : null;
    const failure = await ended;
    // The disk first: those who are released have something to do before they ask again.
    const following = next === null || failure !== null ? null : this.#start(next);
    settle(composed, failure);
    if (next !== null && failure !== null) {
      this.#waiting = [...next.members, ...this.#waiting];
    }
    return following;
  }

  /** Whether two halves of the crowd, of which `committing` are under way, pass faster. */
  #paysToSplit(committing: number): boolean {
    const half = Math.floor((this.#waiting.length + committing) / 2);
    return half >= HALF_MIN &&
      this.#commitMs < COMMIT_OVER_COMPOSE_MAX * half * this.#composeMs;
  }

  #compose(before: Composed<Group> | null): Composed<Group> {
    const committing = before?.members.length ?? 0;
    const crowd = committing + this.#waiting.length;
    const max = this.#paysToSplit(committing) ? Math.ceil(crowd / 2) : crowd;
    const group = this.#deps.begin(before?.group ?? null);
    const refused = new Map<Operation<Group>, unknown>();
    const startMs = this.#deps.monotonicMs();
    let taken = 0;
    while (taken < this.#waiting.length && taken < Math.min(max, GROUP_MAX)) {
      const operation = this.#waiting[taken++]!;
      try {
        operation.run(group);
      } catch (error) {
        refused.set(operation, error);
      }
      if (taken % OPERATIONS_PER_LOOK !== 0) continue;
      if (this.#deps.monotonicMs() - startMs > COMPOSE_MS_MAX) break;
    }
    const sealing = this.#seal(group);
    this.#composeMs = mixed(
      this.#composeMs,
      (this.#deps.monotonicMs() - startMs) / Math.max(1, taken),
    );
    const members = this.#waiting.slice(0, taken);
    this.#waiting = this.#waiting.slice(taken);
    return { group, members, refused, sealing };
  }

  #seal(group: Group): Failure {
    try {
      this.#deps.seal(group);
      return null;
    } catch (error) {
      return { error };
    }
  }
}

function mixed(before: number, newest: number): number {
  return before + NEWEST_SHARE * (newest - before);
}

/** What threw in a group that failed may have done so because of what did not become true. */
function settle<Group>({ members, refused }: Composed<Group>, failure: Failure): void {
  for (const member of members) {
    if (failure !== null) member.reject(failure.error);
    else if (refused.has(member)) member.reject(refused.get(member));
    else member.resolve();
  }
}
