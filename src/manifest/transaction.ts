/**
 * One group of changes in the making: reads see what the group changed so far, on top of
 * what is committed; at the end the group is a list of writes. Synchronous, so that
 * nothing comes between.
 *
 * @module
 */

import type { DepotPath } from "../core/names.ts";
import { bytesOf } from "../core/names.ts";
import { u64Key } from "./byte_keys.ts";
import type { Write } from "./key_value.ts";
import { encodeLedger, encodeMeta, type Ledger } from "./ledger.ts";
import type { FileEntry, ManifestCounters, Tombstone } from "./manifest.ts";
import { type ManifestReader, rangeOfPrefix, tombstoneKey } from "./reader.ts";
import type { QueuePlace, Row } from "./row.ts";
import { countRow, planIndexWrites } from "./row_index.ts";
import type { Change, QueueChange } from "./transitions.ts";
import { encodeTombstone } from "./tombstone_codec.ts";

/** More tombstones of one path than anything reads at once. */
const ALL = Number.MAX_SAFE_INTEGER;

type Numbers = { -readonly [K in keyof Ledger]: number };

export class Transaction {
  readonly #reader: ManifestReader;
  readonly #nowMs: number;
  readonly #numbers: Numbers;
  readonly #rows = new Map<DepotPath, { readonly before: Row | null; now: Row | null }>();
  /** By key; null: removed. */
  readonly #tombstones = new Map<string, Tombstone | null>();
  readonly #meta = new Map<string, string>();
  #hasLedgerChanged = false;

  /** `nowMs` stamps the places in the queue. */
  constructor(reader: ManifestReader, ledger: Ledger, nowMs: number) {
    this.#reader = reader;
    this.#numbers = { ...ledger };
    this.#nowMs = nowMs;
  }

  row(path: DepotPath): Row | null {
    const touched = this.#rows.get(path);
    return touched === undefined ? this.#reader.row(path) : touched.now;
  }

  #setRow(path: DepotPath, now: Row | null): void {
    const touched = this.#rows.get(path);
    if (touched !== undefined) touched.now = now;
    else this.#rows.set(path, { before: this.#reader.row(path), now });
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

  /** The last access alone: no generation, no queue. */
  touch(path: DepotPath, lastAccessS: number): void {
    const row = this.row(path);
    if (row === null || row.lastAccessS >= lastAccessS) return;
    this.#replace(path, row, { ...row, lastAccessS });
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
      tombstoned: this.tombstonesOf(to).length > 0,
    };
    this.#replace(to, null, now);
    return now;
  }

  #rowOf(path: DepotPath, current: Row | null, change: Change): Row {
    return {
      ...change.entry!,
      generation: 1 + (current?.generation ?? this.#numbers.generationFloor),
      id: current?.id ?? this.#numbers.nextRowId++,
      queue: this.#queueOf(current?.queue ?? null, change.queue),
      tombstoned: current?.tombstoned ?? this.tombstonesOf(path).length > 0,
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
    const old = countRow(before);
    const counted = countRow(now);
    for (const name of Object.keys(counted) as (keyof typeof counted)[]) {
      this.#numbers[name] += counted[name] - old[name];
    }
    this.#hasLedgerChanged = true;
    if (now?.tombstoned && now.stored !== null && now.stored !== before?.stored) {
      this.#dropTombstonesOf(path, now.stored.key);
    }
  }

  /** The object is current again: it must not be removed as an old version. */
  #dropTombstonesOf(path: DepotPath, key: string): void {
    for (const tombstone of this.tombstonesOf(path)) {
      if (tombstone.stored.key === key) this.removeTombstone(tombstone);
    }
  }

  /** Oldest first. */
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
    this.#tombstones.set(tombstoneKey(tombstone.path, tombstone.id), tombstone);
  }

  setMeta(name: string, value: string): void {
    this.#meta.set(name, value);
  }

  /** The numbers as they are once the writes are committed. */
  ledger(): Ledger {
    return this.#numbers;
  }

  /** Removals come first: what one row gives up another may take. */
  writes(): Write[] {
    const removals: Write[] = [];
    const puts: Write[] = [];
    for (const [path, change] of this.#rows) {
      if (change.before === null && change.now === null) continue;
      planIndexWrites(path, change, { removals, puts });
    }
    for (const [key, tombstone] of this.#tombstones) {
      this.#planTombstone(key, tombstone, { removals, puts });
    }
    for (const [name, value] of this.#meta) {
      puts.push({ table: "meta", key: name, value: encodeMeta(name, value) });
    }
    if (this.#hasLedgerChanged) {
      const value = encodeMeta("counters", encodeLedger(this.#numbers));
      puts.push({ table: "meta", key: "counters", value });
    }
    return [...removals, ...puts];
  }

  #planTombstone(
    key: string,
    now: Tombstone | null,
    { removals, puts }: { readonly removals: Write[]; readonly puts: Write[] },
  ): void {
    const path = key.slice(0, -9) as DepotPath;
    const id = key.slice(-8);
    const before = this.#reader.tombstone(path, idOf(id));
    if (before !== null && isRemovable(before)) {
      removals.push({ table: "tombstones_by_time", key: timeKey(before), value: null });
    }
    if (now === null) {
      removals.push({ table: "tombstones", key, value: null });
      return;
    }
    puts.push({ table: "tombstones", key, value: encodeTombstone(now) });
    if (isRemovable(now)) {
      puts.push({ table: "tombstones_by_time", key: timeKey(now), value: bytesOf(path) });
    }
  }
}

function idOf(key: string): number {
  let id = 0;
  for (let i = 0; i < 8; i++) id = id * 256 + key.charCodeAt(i);
  return id;
}

/** The entry of `tombstones_by_time`. */
export function timeKey(tombstone: Tombstone): string {
  return u64Key(tombstone.atMs) + u64Key(tombstone.id);
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
