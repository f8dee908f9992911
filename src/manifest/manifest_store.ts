/**
 * The manifest over any KeyValueStore: one implementation for LMDB and for memory.
 *
 * Reads answer from what is committed. Changes go through group commit, where they are
 * planned by transitions.ts on top of what the group changed before them.
 *
 * @module
 */

import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import type { DepotPath, ObjectKey } from "../core/names.ts";
import { recount } from "./check.ts";
import { GroupCommit } from "./group_commit.ts";
import { markInPrimary } from "./in_primary.ts";
import type { KeyValueStore } from "./key_value.ts";
import type { Ledger } from "./ledger.ts";
import {
  type ApplyOutcome,
  type Expectation,
  type FileEntry,
  type FinishedMove,
  type Glance,
  type Leaving,
  type LocalStat,
  type Manifest,
  type ManifestCounters,
  ManifestError,
  type ManifestEvent,
  type ManifestSnapshot,
  type ManifestTrouble,
  type MetaName,
  type MovedTree,
  type PathAndEntry,
  type StoredVersion,
  type Tombstone,
  type Waiting,
} from "./manifest.ts";
import { exchangeRows, moveRow } from "./move_rows.ts";
import { damaged, ManifestReader } from "./reader.ts";
import { RecentRows } from "./recent_rows.ts";
import { entryOf, type Row } from "./row.ts";
import { RowLists } from "./row_lists.ts";
import { StoreSnapshot } from "./snapshot.ts";
import { Tombstones } from "./tombstones.ts";
import { countersOf, isExpected, Transaction } from "./transaction.ts";
import { planChange, planInterrupted } from "./transitions.ts";
import { TreeMoves } from "./tree_moves.ts";

/** Rows that one operation changes at most, so that no group holds the event loop. */
const ROWS_PER_STEP = 64;
/** Of one call that changes many rows: others are not to wait for all of them. */
const STEPS_AT_ONCE = 8;

const FROM_START = "";

export interface ManifestStoreDeps {
  readonly store: KeyValueStore;
  readonly clock: Clock;
  readonly readOnly: boolean;
  /** Of a directory that moves; tests take fewer, to see what happens between steps. */
  readonly rowsPerStep?: number;
  /** Makes a copy in `directory`; where copies mean nothing, throws. */
  backup(directory: string): Promise<void>;
}

export class ManifestStore implements Manifest {
  readonly #deps: ManifestStoreDeps;
  readonly #reader: ManifestReader;
  readonly #recent = new RecentRows();
  readonly #commits: GroupCommit<Transaction>;
  readonly #lists: RowLists;
  readonly #tombstones: Tombstones;
  readonly #trees: TreeMoves;
  #ledger: Ledger;
  #trouble: ManifestTrouble | null = null;
  #failedChanges = 0;
  #isClosed = false;

  /** The tables must be there. @throws {ManifestError} `damaged` */
  constructor(deps: ManifestStoreDeps) {
    this.#deps = deps;
    this.#reader = new ManifestReader(deps.store);
    this.#lists = new RowLists(this.#reader, this.#recent);
    this.#tombstones = new Tombstones(this.#reader, (operate) => this.#change(operate));
    this.#trees = new TreeMoves({
      reader: this.#reader,
      change: (operate) => this.#change(operate),
      rowsPerStep: deps.rowsPerStep ?? ROWS_PER_STEP,
    });
    this.#ledger = this.#reader.ledger();
    const rows = { reader: this.#reader, recent: this.#recent };
    this.#commits = new GroupCommit({
      begin: () => new Transaction(rows, this.#ledger, deps.clock.nowMs()),
      commit: (group) => this.#commit(group),
      monotonicMs: () => deps.clock.monotonicMs(),
    });
  }

  async #commit(group: Transaction): Promise<void> {
    const writes = group.writes();
    if (writes.length === 0) return;
    try {
      await this.#deps.store.commit(writes);
    } catch (error) {
      this.#recent.clear();
      if (error instanceof ManifestError) {
        const sinceMs = this.#trouble?.sinceMs ?? this.#deps.clock.nowMs();
        this.#trouble = { error, sinceMs };
        this.#failedChanges += 1;
      }
      throw error;
    }
    this.#trouble = null;
    this.#ledger = group.ledger();
    group.rememberRows();
  }

  #change<T>(operate: (group: Transaction) => T): Promise<T> {
    assert(!this.#isClosed, "The manifest is closed");
    assert(!this.#deps.readOnly, "The manifest is open for reading only");
    return this.#commits.run(operate);
  }

  // ---- one row ----

  get(path: DepotPath): FileEntry | null {
    const row = this.#reader.row(path);
    return row === null ? null : entryOf(row);
  }

  apply(
    path: DepotPath,
    expected: Expectation,
    event: ManifestEvent,
  ): Promise<ApplyOutcome> {
    return this.#change((group) => {
      const current = group.row(path);
      if (!isExpected(current, expected)) return staleAt(current);
      const change = planChange(current, event);
      const now = group.change(path, current, change);
      if (change.lost) return { outcome: "lost", entry: null };
      return { outcome: "applied", entry: now === null ? null : entryOf(now) };
    });
  }

  move(
    from: DepotPath,
    to: DepotPath,
    nowMs: number,
    leaving?: Leaving,
  ): Promise<ApplyOutcome> {
    return this.#change((group) => {
      const row = group.row(from);
      if (row === null || from === to) return staleAt(row);
      const moved = moveRow(group, { from, to }, nowMs, leaving);
      return { outcome: "applied", entry: entryOf(moved) };
    });
  }

  exchange(a: DepotPath, b: DepotPath, leaving?: Leaving): Promise<ApplyOutcome> {
    return this.#change((group) => {
      const row = group.row(a);
      if (row === null || group.row(b) === null || a === b) return staleAt(row);
      return { outcome: "applied", entry: entryOf(exchangeRows(group, a, b, leaving)) };
    });
  }

  moveTree(
    from: DepotPath,
    to: DepotPath,
    nowMs: number,
    leaving: Leaving = {},
  ): Promise<MovedTree> {
    return this.#trees.run({ kind: "move", from, to, toldMs: nowMs }, leaving);
  }

  exchangeTrees(
    from: DepotPath,
    to: DepotPath,
    nowMs: number,
    leaving: Leaving = {},
  ): Promise<MovedTree> {
    return this.#trees.run({ kind: "exchange", from, to, toldMs: nowMs }, leaving);
  }

  finishMove(
    leaving: Pick<Leaving, "firstKey">,
    signal?: AbortSignal,
  ): Promise<FinishedMove | null> {
    return this.#trees.finish(leaving, signal);
  }

  async accessed(batch: ReadonlyMap<DepotPath, number>): Promise<void> {
    const all = [...batch];
    let steps: Promise<void>[] = [];
    for (let start = 0; start < all.length; start += ROWS_PER_STEP) {
      const some = all.slice(start, start + ROWS_PER_STEP);
      steps.push(this.#change((group) => {
        for (const [path, lastAccessS] of some) group.touch(path, lastAccessS);
      }));
      if (steps.length < STEPS_AT_ONCE) continue;
      await Promise.all(steps);
      steps = [];
    }
    await Promise.all(steps);
  }

  /** Uploads that a crash or a stop interrupted become dirty. Before anything else. */
  async recover(): Promise<void> {
    let left = this.#ledger.uploadingFiles;
    let from = FROM_START;
    while (left > 0) {
      const entries = this.#reader.indexEntries("dirty_since", {
        from,
        before: null,
        limit: ROWS_PER_STEP,
      });
      if (entries.length === 0) throw damaged("The manifest's table dirty_since");
      const rows = entries.map((entry) => this.#reader.indexed("dirty_since", entry));
      const uploading = rows.filter(({ row }) => row.state === "uploading");
      await this.#change((group) => {
        for (const { path, row } of uploading) {
          group.change(path, row, planInterrupted(row));
        }
      });
      left -= uploading.length;
      from = `${entries.at(-1)!.key}\0`;
    }
  }

  // ---- queues and lists ----

  dirtyDue(nowMs: number, limit: number): PathAndEntry[] {
    return this.#lists.dirtyDue(nowMs, limit);
  }

  due(nowMs: number): Generator<PathAndEntry> {
    return this.#lists.due(nowMs);
  }

  nextRetryAtMs(): number | null {
    return this.#lists.firstNumber("retry_deadlines");
  }

  oldestDirtyAtMs(): number | null {
    return this.#lists.firstNumber("dirty_since");
  }

  byArrival(after: PathAndEntry | null, limit: number): PathAndEntry[] {
    return this.#lists.byArrival(after, limit);
  }

  waiting(after: Waiting | null, limit: number): Waiting[] {
    return this.#lists.waiting(after, limit);
  }

  nextSequence(): number {
    return this.#ledger.nextSequence;
  }

  retryCount(): number {
    return this.#deps.store.count("retry_deadlines");
  }

  hasRetryAfter(atMs: number): boolean {
    return this.#lists.hasRetryAfter(atMs);
  }

  async retryNow(): Promise<void> {
    for (;;) {
      const waiting = this.#reader.indexEntries("retry_deadlines", {
        from: FROM_START,
        before: null,
        limit: ROWS_PER_STEP,
      });
      if (waiting.length === 0) return;
      const paths = waiting.map((entry) =>
        this.#reader.indexed("retry_deadlines", entry).path
      );
      await this.#change((group) => {
        for (const path of paths) group.retryNow(path);
      });
    }
  }

  leastRecentlyUsed(limit: number, after?: PathAndEntry): PathAndEntry[] {
    return this.#lists.page("lru_by_timestamp", after ?? null, limit);
  }

  conflicts(after: PathAndEntry | null, limit: number): PathAndEntry[] {
    return this.#lists.page("conflicts", after, limit);
  }

  entries(prefix: string, after: DepotPath | null, limit: number): PathAndEntry[] {
    return this.#lists.entries(prefix, after, limit);
  }

  glance(path: DepotPath, stat: LocalStat, isMarker = false): Glance {
    return this.#reader.glance(path, stat, isMarker);
  }

  paths(after: DepotPath | null, limit: number): DepotPath[] {
    const from = after === null ? FROM_START : `${after}\0`;
    return this.#reader.paths({ from, before: null, limit });
  }

  // ---- tombstones ----

  tombstonesOf(path: DepotPath): Tombstone[] {
    return this.#tombstones.of(path);
  }

  tombstonesDue(beforeMs: number, limit: number, after?: Tombstone): Tombstone[] {
    return this.#tombstones.due(beforeMs, limit, after);
  }

  tombstones(
    after: Pick<Tombstone, "path" | "id"> | null,
    limit: number,
  ): Tombstone[] {
    return this.#tombstones.page(after, limit);
  }

  nextTombstoneId(): number {
    return this.#ledger.nextTombstoneId;
  }

  inPrimary(stored: StoredVersion): Promise<void> {
    return markInPrimary(this.#reader, (operate) => this.#change(operate), stored);
  }

  isDue(tombstone: Tombstone, beforeMs: number): boolean {
    return this.#tombstones.isDue(tombstone, beforeMs);
  }

  isNamed(key: ObjectKey): boolean {
    return this.#tombstones.isNamed(key);
  }

  rowsNaming(key: ObjectKey): PathAndEntry[] {
    return this.#tombstones.rowsNaming(key);
  }

  tombstonesNaming(key: ObjectKey): Tombstone[] {
    return this.#tombstones.naming(key);
  }

  isBuried(key: ObjectKey): boolean {
    return this.#tombstones.isBuried(key);
  }

  hasVersionOf(first: ObjectKey): boolean {
    return this.#tombstones.hasVersionOf(first);
  }

  tombstoneRemoved(tombstone: Tombstone): Promise<void> {
    return this.#tombstones.removed(tombstone);
  }

  orphaned(
    path: DepotPath,
    stored: StoredVersion,
    local: LocalStat,
    whiteout = false,
  ): Promise<void> {
    return this.#change((group) => group.bury(path, { stored, local, whiteout }));
  }

  postponeTombstones(nowMs: number): Promise<void> {
    return this.#tombstones.postpone(nowMs);
  }

  undelete(
    path: DepotPath,
    nowS: number,
    secondaryOnly = false,
  ): Promise<FileEntry | null> {
    return this.#tombstones.undelete(path, nowS, secondaryOnly);
  }

  // ---- the whole ----

  snapshot(): ManifestSnapshot {
    assert(!this.#isClosed, "The manifest is closed");
    return new StoreSnapshot(this.#deps.store.snapshot());
  }

  counters(): ManifestCounters {
    if (this.#deps.readOnly) return countersOf(this.#reader.ledger());
    return countersOf(this.#ledger);
  }

  async recount(
    signal?: AbortSignal,
  ): Promise<{ kept: ManifestCounters; counted: ManifestCounters }> {
    const snapshot = this.#deps.store.snapshot();
    try {
      const counted = await recount(snapshot, signal);
      return { kept: countersOf(new ManifestReader(snapshot).ledger()), counted };
    } finally {
      snapshot.done();
    }
  }

  format(): { schemaVersion: number; rowVersion: string } {
    return this.#reader.format();
  }

  meta(name: MetaName): string | null {
    return this.#reader.meta(name);
  }

  setMeta(name: MetaName, value: string): Promise<void> {
    return this.#change((group) => group.setMeta(name, value));
  }

  raiseGenerations(floor: number): Promise<void> {
    return this.#change((group) => group.raiseGenerations(floor));
  }

  failedChanges(): number {
    return this.#failedChanges;
  }

  trouble(): ManifestTrouble | null {
    return this.#trouble;
  }

  backup(directory: string): Promise<void> {
    assert(!this.#isClosed, "The manifest is closed");
    return this.#deps.backup(directory);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#commits.idle();
    await this.#deps.store.close();
  }
}

function staleAt(row: Row | null): ApplyOutcome {
  return { outcome: "stale", entry: row === null ? null : entryOf(row) };
}
