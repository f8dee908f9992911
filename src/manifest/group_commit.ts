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
 * Composing the next group on top of one that is being committed was tried: it gained nothing
 * that could be measured, because half a crowd costs the disk as much as a whole one.
 *
 * @module
 */

import { nextTurn } from "../core/turns.ts";

/** Composing a group takes no longer; encoding and handing it over takes twice as long again. */
const COMPOSE_MS_MAX = 1.5;
const GROUP_MAX = 512;
/** How often the clock is read while composing. */
const OPERATIONS_PER_LOOK = 4;

interface Operation<Group> {
  readonly operate: (group: Group) => unknown;
  /** What `operate` returned. */
  result: unknown;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

interface Composed<Group> {
  readonly group: Group;
  readonly members: readonly Operation<Group>[];
  /** Those that threw, and what. */
  readonly refused: ReadonlyMap<Operation<Group>, unknown>;
}

export interface GroupCommitDeps<Group> {
  begin(): Group;
  /** Makes the group durable, and the basis of what follows. */
  commit(group: Group): Promise<void>;
  monotonicMs(): number;
}

export class GroupCommit<Group> {
  readonly #deps: GroupCommitDeps<Group>;
  #waiting: Operation<Group>[] = [];
  #running: Promise<void> | null = null;

  constructor(deps: GroupCommitDeps<Group>) {
    this.#deps = deps;
  }

  /**
   * Runs `operate` in some group, and resolves with what it returned once that group is
   * durable. If it throws, it must not have changed the group; only this call rejects.
   */
  run<T>(operate: (group: Group) => T): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#waiting.push({ operate, result: undefined, resolve, reject });
    this.#running ??= this.#drain();
    return promise as Promise<T>;
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    while (this.#running !== null) await this.#running;
  }

  async #drain(): Promise<void> {
    do {
      // The callers that the last commit released ask again within this turn.
      await nextTurn();
      await this.#commitGroup();
    } while (this.#waiting.length > 0);
    this.#running = null;
  }

  async #commitGroup(): Promise<void> {
    const { group, members, refused } = this.#compose();
    try {
      await this.#deps.commit(group);
    } catch (error) {
      // Also what threw: it may have done so because of what did not become true.
      for (const member of members) member.reject(error);
      return;
    }
    for (const member of members) {
      if (refused.has(member)) member.reject(refused.get(member));
      else member.resolve(member.result);
    }
  }

  #compose(): Composed<Group> {
    const group = this.#deps.begin();
    const refused = new Map<Operation<Group>, unknown>();
    const startMs = this.#deps.monotonicMs();
    let taken = 0;
    while (taken < this.#waiting.length && taken < GROUP_MAX) {
      const operation = this.#waiting[taken++]!;
      try {
        operation.result = operation.operate(group);
      } catch (error) {
        refused.set(operation, error);
      }
      if (taken % OPERATIONS_PER_LOOK !== 0) continue;
      if (this.#deps.monotonicMs() - startMs > COMPOSE_MS_MAX) break;
    }
    const members = this.#waiting.slice(0, taken);
    this.#waiting = this.#waiting.slice(taken);
    return { group, members, refused };
  }
}
