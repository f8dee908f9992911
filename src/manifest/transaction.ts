/**
 * One group of changes in the making: reads see what the group changed so far, on top of
 * what is committed; at the end the group is a list of writes. Synchronous, so that
 * nothing comes between.
 *
 * @module
 */

import type { DepotPath, ObjectKey } from "../core/names.ts";
import { bytesOf } from "../core/names.ts";
import { u64Key, u64PairKey } from "./byte_keys.ts";
import { entryCrc32 } from "./crc32c.ts";
import type { Write } from "./key_value.ts";
import { encodeRowAndSum, rowLabelOf } from "./file_entry_codec.ts";
import { encodeLedger, encodeMeta, type Ledger } from "./ledger.ts";
import type { FileEntry, ManifestCounters, Tombstone } from "./manifest.ts";
import { type ManifestReader, rangeOfPrefix, tombstoneKey } from "./reader.ts";
import type { RecentRows } from "./recent_rows.ts";
import type { KnownRow, QueuePlace, Row } from "./row.ts";
import { addRow, objectKeyPrefix, planIndexWrites } from "./row_index.ts";
import { type Change, planTouch, type QueueChange } from "./transitions.ts";
import { encodeTombstone } from "./tombstone_codec.ts";
import { WriteList } from "./write_list.ts";

/** More tombstones of one path than anything reads at once. */
const ALL = Number.MAX_SAFE_INTEGER;

type Numbers = { -readonly [K in keyof Ledger]: number };

/** A row that this group looked at: as committed, and as it will be. */
interface TouchedRow {
  readonly before: KnownRow | null;
  now: Row | null;
  /** What is committed once the writes are. */
  after: KnownRow | null;
}

export class Transaction {
  readonly #reader: ManifestReader;
  readonly #recent: RecentRows;
  readonly #nowMs: number;
  readonly #numbers: Numbers;
  readonly #rows = new Map<DepotPath, TouchedRow>();
  /** By key; null: removed. */
  readonly #tombstones = new Map<string, Tombstone | null>();
  /** Null: removed. */
  readonly #meta = new Map<string, string | null>();
  #hasLedgerChanged = false;

  /** `nowMs` stamps the places in the queue. */
  constructor(
    { reader, recent }: { readonly reader: ManifestReader; readonly recent: RecentRows },
    ledger: Ledger,
    nowMs: number,
  ) {
    this.#reader = reader;
    this.#recent = recent;
    this.#numbers = { ...ledger };
    this.#nowMs = nowMs;
  }

  row(path: DepotPath): Row | null {
    return this.#touched(path).now;
  }

  /** Rows that this group looked at or made, and that are there once it is committed. */
  pathsBelow(prefix: string): DepotPath[] {
    const below: DepotPath[] = [];
    for (const [path, { now }] of this.#rows) {
      if (now !== null && path.startsWith(prefix)) below.push(path);
    }
    return below;
  }

  #touched(path: DepotPath): TouchedRow {
    const known = this.#rows.get(path);
    if (known !== undefined) return known;
    const before = this.#recent.get(path) ?? this.#reader.knownRow(path);
    const touched = { before, now: before?.row ?? null, after: before };
    this.#rows.set(path, touched);
    return touched;
  }

  #setRow(path: DepotPath, now: Row | null): void {
    this.#touched(path).now = now;
  }

  /** Carries out a planned change of the row of `path`, and returns what is there now. */
  change(path: DepotPath, current: Row | null, change: Change): Row | null {
    const now = change.entry === null ? null : this.#rowOf(path, current, change);
    this.#replace(path, current, now);
    if (change.tombstone === null) return now;
    this.#addTombstone({
      ...change.tombstone,
      id: this.#numbers.nextTombstoneId++,
      path,
    });
    return this.row(path);
  }

  /** The last access, and whether it is a second read: no generation, no queue. */
  touch(path: DepotPath, lastAccessS: number): void {
    const row = this.row(path);
    if (row === null) return;
    const now = planTouch(row, lastAccessS);
    if (now !== row) this.#replace(path, row, now);
  }

  /** A row that waits for a retry is due; no event of the file, so no new generation. */
  retryNow(path: DepotPath): void {
    const row = this.row(path);
    if (row === null || row.queue === null || row.queue.retryAtMs === null) return;
    this.#replace(path, row, { ...row, queue: { ...row.queue, retryAtMs: null } });
  }

  /** Moves `row` from one path to another, where `overwritten` stands. */
  move(
    { from, to }: { readonly from: DepotPath; readonly to: DepotPath },
    { row, moved, overwritten }: {
      readonly row: Row;
      readonly moved: Change;
      readonly overwritten: { readonly row: Row; readonly change: Change } | null;
    },
  ): Row {
    if (overwritten !== null) this.change(to, overwritten.row, overwritten.change);
    this.#replace(from, row, null);
    const now = {
      ...this.#rowOf(to, row, moved),
      // Above what either path had: the floor has just risen to both.
      generation: this.#numbers.generationFloor + 1,
      tombstoned: this.#hasTombstones(to),
    };
    this.#replace(to, null, now);
    return now;
  }

  #rowOf(path: DepotPath, current: Row | null, change: Change): Row {
    return {
      ...change.entry!,
      generation: 1 + Math.max(current?.generation ?? 0, this.#numbers.generationFloor),
      id: current?.id ?? this.#numbers.nextRowId++,
      queue: this.#queueOf(current?.queue ?? null, change.queue),
      tombstoned: current?.tombstoned ?? this.#hasTombstones(path),
    };
  }

  #queueOf(current: QueuePlace | null, change: QueueChange): QueuePlace | null {
    switch (change.kind) {
      case "none":
        return null;
      case "keep":
        return current;
      case "due":
        return { ...current!, retryAtMs: null };
      case "retry":
        return { ...current!, retryAtMs: change.retryAtMs };
      case "last":
        return {
          sequence: this.#numbers.nextSequence++,
          dirtySinceMs: change.sinceMs ?? current!.dirtySinceMs,
          queuedAtMs: change.sinceMs ?? this.#nowMs,
          retryAtMs: null,
        };
    }
  }

  #replace(path: DepotPath, before: Row | null, now: Row | null): void {
    if (before !== null && before.id !== now?.id) {
      const { generationFloor } = this.#numbers;
      this.#numbers.generationFloor = Math.max(generationFloor, before.generation);
    }
    this.#setRow(path, now);
    if (before !== null) addRow(this.#numbers, before, -1);
    if (now !== null) addRow(this.#numbers, now, 1);
    this.#hasLedgerChanged = true;
    if (now?.tombstoned && now.stored !== null && now.stored !== before?.stored) {
      this.#dropTombstonesOf(path, now.stored.key);
    }
  }

  /** The object is current again: it must not be removed as an old version. */
  #dropTombstonesOf(path: DepotPath, key: ObjectKey): void {
    // Not by the path: a file that is written often has thousands.
    const range = rangeOfPrefix(objectKeyPrefix(key), ALL);
    for (const tombstone of this.#reader.tombstonesByKey(range)) {
      const isOther = tombstone.path !== path ||
        this.#tombstones.has(tombstoneKey(path, tombstone.id));
      if (!isOther) this.removeTombstone(tombstone);
    }
    for (const tombstone of [...this.#tombstones.values()]) {
      const isOfKey = tombstone?.path === path && tombstone.stored.key === key;
      if (isOfKey) this.removeTombstone(tombstone);
    }
  }

  tombstone(path: DepotPath, id: number): Tombstone | null {
    const changed = this.#tombstones.get(tombstoneKey(path, id));
    return changed === undefined ? this.#reader.tombstone(path, id) : changed;
  }

  #hasTombstones(path: DepotPath): boolean {
    if (this.#numbers.tombstones === 0) return false;
    const prefix = `${path}\0`;
    let removedCount = 0;
    for (const [key, tombstone] of this.#tombstones) {
      if (!key.startsWith(prefix)) continue;
      if (tombstone !== null) return true;
      removedCount++;
    }
    const some = this.#reader.tombstones(rangeOfPrefix(prefix, removedCount + 1));
    return some.some(({ id }) => !this.#tombstones.has(tombstoneKey(path, id)));
  }

  /** Oldest first; of a file that is written often, thousands. */
  tombstonesOf(path: DepotPath): Tombstone[] {
    if (this.#numbers.tombstones === 0) return [];
    const prefix = `${path}\0`;
    const found = new Map<string, Tombstone>();
    for (const tombstone of this.#reader.tombstones(rangeOfPrefix(prefix, ALL))) {
      found.set(tombstoneKey(path, tombstone.id), tombstone);
    }
    for (const [key, tombstone] of this.#tombstones) {
      if (!key.startsWith(prefix)) continue;
      if (tombstone === null) found.delete(key);
      else found.set(key, tombstone);
    }
    return [...found.values()].sort((a, b) => a.id - b.id);
  }

  /** The object of an upload that no row took. */
  bury(
    path: DepotPath,
    { stored, local, whiteout }: Pick<Tombstone, "stored" | "local" | "whiteout">,
  ): void {
    if (this.row(path)?.stored?.key === stored.key) return;
    const known = this.tombstonesOf(path);
    // A mere whiteout, or one of another's object, keeps nothing for the sweeper.
    const isKnown = known.some((one) =>
      one.stored.key === stored.key && isRemovable(one)
    );
    if (isKnown) return;
    this.#addTombstone({
      id: this.#numbers.nextTombstoneId++,
      path,
      stored,
      local,
      reason: "replaced",
      atMs: this.#nowMs,
      whiteout,
      removed: false,
      borrowed: false,
      secondaryOnly: false,
    });
  }

  /** What stores have under the keys of a name that its file left is not to fill it again. */
  hide(path: DepotPath, { stored, local, flags }: Row): void {
    if (stored === null || this.tombstonesOf(path).some((one) => one.whiteout)) return;
    this.#addTombstone({
      id: this.#numbers.nextTombstoneId++,
      path,
      stored,
      local,
      reason: "replaced",
      atMs: this.#nowMs,
      whiteout: true,
      // A whiteout and nothing else: the object is the row's still.
      removed: true,
      borrowed: flags.borrowed,
      secondaryOnly: flags.secondaryOnly,
    });
  }

  #addTombstone(tombstone: Tombstone): void {
    this.#numbers.tombstones++;
    this.#hasLedgerChanged = true;
    this.#tombstones.set(tombstoneKey(tombstone.path, tombstone.id), tombstone);
    const row = this.row(tombstone.path);
    if (row !== null && !row.tombstoned) {
      this.#setRow(tombstone.path, { ...row, tombstoned: true });
    }
  }

  removeTombstone(tombstone: Tombstone): void {
    this.#numbers.tombstones--;
    this.#hasLedgerChanged = true;
    this.#tombstones.set(tombstoneKey(tombstone.path, tombstone.id), null);
  }

  replaceTombstone(tombstone: Tombstone): void {
    this.#hasLedgerChanged = true;
    this.#tombstones.set(tombstoneKey(tombstone.path, tombstone.id), tombstone);
  }

  raiseGenerations(floor: number): void {
    if (floor <= this.#numbers.generationFloor) return;
    this.#numbers.generationFloor = floor;
    this.#hasLedgerChanged = true;
  }

  /** Null: there is none any more. */
  setMeta(name: string, value: string | null): void {
    this.#meta.set(name, value);
  }

  /** The numbers as they are once the writes are committed. */
  ledger(): Ledger {
    return this.#numbers;
  }

  /** Once the writes are committed. */
  rememberRows(): void {
    for (const [path, { after }] of this.#rows) this.#recent.set(path, after);
  }

  writes(): Write[] {
    const writes = new WriteList(this.#numbers);
    for (const [path, touched] of this.#rows) planRowWrites(path, touched, writes);
    for (const [key, tombstone] of this.#tombstones) {
      this.#planTombstone(key, tombstone, writes);
    }
    for (const [name, value] of this.#meta) {
      writes.putMeta(name, value === null ? null : encodeMeta(name, value));
    }
    if (this.#hasLedgerChanged) {
      Object.assign(this.#numbers, writes.sums);
      writes.putMeta("counters", encodeMeta("counters", encodeLedger(this.#numbers)));
    }
    return writes.all();
  }

  #planTombstone(key: string, now: Tombstone | null, writes: WriteList): void {
    const { tombstone, bytes } = this.#reader.tombstoneAndBytes(key);
    const encoded = now === null ? null : encodeTombstone(now);
    writes.replace("tombstones", key, {
      before: bytes === null ? null : entryCrc32(key, bytes),
      now: encoded === null ? null : { bytes: encoded, sum: entryCrc32(key, encoded) },
    });
    const path = bytesOf(key.slice(0, -9));
    const oldKey = tombstone !== null && isRemovable(tombstone)
      ? timeKey(tombstone)
      : null;
    const newKey = now !== null && isRemovable(now) ? timeKey(now) : null;
    if (oldKey !== newKey) {
      if (oldKey !== null) writes.remove("tombstones_by_time", oldKey, path);
      if (newKey !== null) writes.put("tombstones_by_time", newKey, path);
    }
    // Neither its object nor its id ever changes.
    if (tombstone === null && now !== null) {
      writes.put("tombstones_by_key", objectEntry(now), path);
    } else if (tombstone !== null && now === null) {
      writes.remove("tombstones_by_key", objectEntry(tombstone), path);
    }
  }
}

function planRowWrites(path: DepotPath, touched: TouchedRow, writes: WriteList): void {
  const { before, now } = touched;
  const rowBefore = before?.row ?? null;
  if (rowBefore === now) return;
  const replaced = before !== null && before.row.id === now?.id ? before : null;
  if (before !== null && replaced === null) {
    const key = u64Key(before.row.id);
    writes.replace("rows_by_id", key, { before: before.sum, now: null });
  }
  touched.after = now === null ? null : planRow(path, { replaced, now }, writes);
  planIndexWrites(path, { before: rowBefore, now }, writes);
}

/** Writes the row in the place of the one with its id, if there is one. */
function planRow(
  path: DepotPath,
  { replaced, now }: { readonly replaced: KnownRow | null; readonly now: Row },
  writes: WriteList,
): KnownRow {
  const label = replaced?.label ?? rowLabelOf(path, now);
  const encoded = encodeRowAndSum(path, now, label);
  const before = replaced?.sum ?? null;
  writes.replace("rows_by_id", u64Key(now.id), { before, now: encoded });
  return { row: now, sum: encoded.sum, label };
}

/** The entry of `tombstones_by_time`. */
export function timeKey(tombstone: Tombstone): string {
  return u64PairKey(tombstone.atMs, tombstone.id);
}

/** The entry of `tombstones_by_key`. */
export function objectEntry({ stored, id }: Tombstone): string {
  return objectKeyPrefix(stored.key) + u64Key(id);
}

/** The store has the object still, and it is ours to remove. */
export function isRemovable(tombstone: Tombstone): boolean {
  return !tombstone.removed && !tombstone.borrowed && !tombstone.secondaryOnly;
}

/** What everybody sees of the ledger. */
export function countersOf(ledger: Ledger): ManifestCounters {
  return {
    cleanFiles: ledger.cleanFiles,
    dirtyFiles: ledger.dirtyFiles,
    uploadingFiles: ledger.uploadingFiles,
    residentFiles: ledger.residentFiles,
    residentBytes: ledger.residentBytes,
    readOnceBytes: ledger.readOnceBytes,
    dirtyBytes: ledger.dirtyBytes,
    totalBytes: ledger.totalBytes,
    tombstones: ledger.tombstones,
    conflicts: ledger.conflicts,
  };
}

/** Whether `entry` is the row that a caller meant. */
export function isExpected(
  entry: FileEntry | null,
  expected: number | "absent" | "any",
): boolean {
  if (expected === "any") return true;
  if (expected === "absent") return entry === null;
  return entry?.generation === expected;
}
