/**
 * A naive manifest to compare with: plain maps and sorts, no indexes, no groups. It uses
 * the transition table (which has tests of its own) and redoes everything around it.
 *
 * @module
 */

import type { DepotPath } from "../../src/core/names.ts";
import type {
  FileEntry,
  FileFlags,
  ManifestCounters,
  ManifestEvent,
  StoredVersion,
} from "../../src/manifest/manifest.ts";
import { isParked } from "../../src/manifest/row.ts";
import {
  type Change,
  LEGAL,
  phaseOf,
  planChange,
  planMove,
  planOverwritten,
} from "../../src/manifest/transitions.ts";

interface ModelRow {
  entry: FileEntry;
  /** Order of arrival. */
  readonly born: number;
  place: number;
  retryAtMs: number | null;
  sinceMs: number;
}

interface ModelTombstone {
  readonly path: DepotPath;
  readonly stored: StoredVersion;
  readonly reason: "deleted" | "replaced";
  readonly atMs: number;
  readonly flags: Pick<FileFlags, "borrowed" | "secondaryOnly">;
}

export class ManifestModel {
  readonly rows = new Map<DepotPath, ModelRow>();
  tombstones: ModelTombstone[] = [];
  #next = 1;
  /** The greatest generation of any row that went. */
  #floor = 0;

  legalKinds(path: DepotPath): readonly ManifestEvent["kind"][] {
    return LEGAL[phaseOf(this.rows.get(path)?.entry ?? null)];
  }

  apply(path: DepotPath, event: ManifestEvent): void {
    const row = this.rows.get(path);
    const change = planChange(row?.entry ?? null, event);
    if (change.entry === null) this.#remove(path);
    else this.#put(path, row, change);
    this.#bury(path, change);
  }

  move(from: DepotPath, to: DepotPath, nowMs: number): void {
    const row = this.rows.get(from);
    if (row === undefined || from === to) return;
    const target = this.rows.get(to);
    if (target !== undefined) {
      this.#remove(to);
      this.#bury(to, planOverwritten(target.entry, nowMs));
    }
    this.#remove(from);
    this.#put(to, row, planMove(row.entry, nowMs), this.#floor + 1);
  }

  #remove(path: DepotPath): void {
    this.#floor = Math.max(this.#floor, this.rows.get(path)?.entry.generation ?? 0);
    this.rows.delete(path);
  }

  /** Above its own, and above that of each row that went. */
  nextGeneration(row: ModelRow | undefined): number {
    return 1 + Math.max(row?.entry.generation ?? 0, this.#floor);
  }

  #put(
    path: DepotPath,
    row: ModelRow | undefined,
    change: Change,
    generation = this.nextGeneration(row),
  ): void {
    const { queue } = change;
    const isLast = queue.kind === "last";
    this.rows.set(path, {
      entry: { ...change.entry!, generation },
      born: row?.born ?? this.#next++,
      place: isLast ? this.#next++ : row?.place ?? 0,
      retryAtMs: queue.kind === "retry"
        ? queue.retryAtMs
        : queue.kind === "keep"
        ? row!.retryAtMs
        : null,
      sinceMs: isLast && queue.sinceMs !== null ? queue.sinceMs : row?.sinceMs ?? 0,
    });
    const key = change.entry!.stored?.key;
    this.tombstones = this.tombstones.filter((one) =>
      one.path !== path || one.stored.key !== key
    );
  }

  #bury(path: DepotPath, { tombstone }: Change): void {
    if (tombstone === null) return;
    const { stored, reason, atMs, borrowed, secondaryOnly } = tombstone;
    this.tombstones.push({
      path,
      stored,
      reason,
      atMs,
      flags: { borrowed, secondaryOnly },
    });
  }

  undelete(path: DepotPath, nowS: number): void {
    if (this.rows.has(path)) return;
    const found = this.tombstones.findLast((one) =>
      one.path === path && one.reason === "deleted"
    );
    if (found === undefined) return;
    this.apply(path, {
      kind: "adopted",
      stored: found.stored,
      stat: {
        sizeBytes: found.stored.sizeBytes,
        mtimeNs: found.stored.mtimeNs,
        ctimeNs: 0n,
        mode: 0,
        uid: 0,
        gid: 0,
        ino: 0n,
        dev: 0n,
      },
      resident: false,
      flags: found.flags,
      nowS,
    });
  }

  inPrimary({ key, hash, sizeBytes }: StoredVersion): void {
    const isIt = (stored: StoredVersion | null): boolean =>
      stored?.key === key && stored.hash === hash && stored.sizeBytes === sizeBytes;
    for (const [path, { entry }] of this.rows) {
      if (!entry.flags.secondaryOnly || !isIt(entry.stored)) continue;
      this.apply(path, { kind: "flagged", flags: { secondaryOnly: false } });
    }
    this.tombstones = this.tombstones.map((one) =>
      isIt(one.stored) ? { ...one, flags: { ...one.flags, secondaryOnly: false } } : one
    );
  }

  dirtyPaths(): DepotPath[] {
    return this.#sorted((row) =>
      row.entry.state === "dirty" && row.retryAtMs === null && !isParked(row.entry)
        ? row.place
        : null
    );
  }

  waitingPaths(): DepotPath[] {
    return this.#sorted((row) =>
      row.entry.state === "dirty" && !isParked(row.entry) ? row.retryAtMs : null
    );
  }

  lruPaths(): DepotPath[] {
    return this.#sorted((row) =>
      row.entry.state === "clean" && row.entry.resident ? evictionOrder(row.entry) : null
    );
  }

  oldestDirtyAtMs(): number | null {
    const times = [...this.rows.values()].filter(({ entry }) => entry.state !== "clean")
      .map(({ sinceMs }) => sinceMs);
    return times.length === 0 ? null : Math.min(...times);
  }

  /** By `orderOf`, then by arrival; null leaves a row out. */
  #sorted(orderOf: (row: ModelRow) => number | null): DepotPath[] {
    return [...this.rows]
      .filter(([, row]) => orderOf(row) !== null)
      .sort(([, a], [, b]) => orderOf(a)! - orderOf(b)! || a.born - b.born)
      .map(([path]) => path);
  }

  /** Of the objects that may be removed: no row names them. */
  dueKeys(): string[] {
    const named = new Set([...this.rows.values()].map(({ entry }) => entry.stored?.key));
    return this.tombstones
      .filter(({ flags }) => !flags.borrowed && !flags.secondaryOnly)
      .filter(({ stored }) => !named.has(stored.key))
      .map(({ stored }) => stored.key as string).sort();
  }

  counters(): ManifestCounters {
    const entries = [...this.rows.values()].map(({ entry }) => entry);
    const resident = entries.filter((entry) => entry.resident);
    const open = entries.filter((entry) => entry.state !== "clean");
    const sum = (some: FileEntry[]): number =>
      some.reduce((total, entry) => total + entry.local.sizeBytes, 0);
    return {
      cleanFiles: entries.length - open.length,
      dirtyFiles: open.filter(({ state }) => state === "dirty").length,
      uploadingFiles: open.filter(({ state }) => state === "uploading").length,
      residentFiles: resident.length,
      residentBytes: sum(resident),
      readOnceBytes: sum(
        resident.filter(({ state, flags }) => state === "clean" && flags.readOnce),
      ),
      dirtyBytes: sum(open),
      totalBytes: sum(entries),
      tombstones: this.tombstones.length,
      conflicts: entries.filter(isParked).length,
    };
  }
}

/** Files that were read once go first, by the time of their restore. */
function evictionOrder({ flags, settledAtS, lastAccessS }: FileEntry): number {
  return flags.readOnce ? Math.floor(settledAtS / 16) : lastAccessS;
}
