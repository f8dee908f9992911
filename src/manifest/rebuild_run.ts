/**
 * What the steps of a rebuild share: what they are given, what they find, and how many things
 * they work on at once.
 *
 * @module
 */

import type { DepotPath, ManagePolicy, ObjectKey } from "../core/names.ts";
import type { FileEntry, Manifest, PathAndEntry } from "./manifest.ts";
import type { RebuildDepot, RebuildOwner, RebuildStore } from "./rebuild_sides.ts";

export interface RebuildDeps {
  readonly manifest: Manifest;
  readonly store: RebuildStore;
  /** Null: there is none, or it is left out. */
  readonly secondary: RebuildStore | null;
  readonly depot: RebuildDepot;
  readonly owner: RebuildOwner;
  readonly manage: ManagePolicy;
  nowMs(): number;
  /** Called often, with what is being done and how many were done. */
  onProgress?(step: RebuildStep, done: number): void;
}

export type RebuildStep = "objects" | "secondary objects" | "rows" | "files";

export type RebuildFinding =
  /** A marker is there, and no object that it could stand for. */
  | { readonly kind: "no-object"; readonly path: DepotPath }
  /** The row of its name is of another version or file, and no other is known that it fits. */
  | { readonly kind: "other-marker"; readonly path: DepotPath }
  /** A marker whose row or object is of the name `from`: the file had been moved. */
  | { readonly kind: "moved"; readonly path: DepotPath; readonly from: DepotPath }
  /** The row's file is gone and was never stored. */
  | { readonly kind: "lost"; readonly path: DepotPath }
  /** The file is not the stored version, and not known to be newer: both are kept. */
  | { readonly kind: "conflict"; readonly path: DepotPath }
  /** Several versions, and neither a marker nor they say which: the one stored last was taken. */
  | { readonly kind: "chosen"; readonly path: DepotPath; readonly key: ObjectKey }
  /** An object that belongs to no path, or to a name that is not managed. It is left where it is. */
  | { readonly kind: "stray"; readonly key: ObjectKey };

export interface RebuildResult {
  readonly objects: number;
  /** Listed by the secondary, be they in the primary too or not. */
  readonly secondaryObjects: number;
  readonly rows: number;
  readonly files: number;
  /** Rows that were made or changed. */
  readonly changed: number;
  /** Evicted files of which nothing is on the disk: deleted, or the disk is new. */
  readonly absent: number;
  /** Rows whose version only the secondary has. */
  readonly secondaryOnly: number;
  /** At most 10,000 of each kind. */
  readonly findings: readonly RebuildFinding[];
  /** How many there are of each kind. */
  readonly counts: Readonly<Partial<Record<RebuildFinding["kind"], number>>>;
}

/** Of one kind; those beyond are counted. */
const FINDINGS_MAX = 10_000;
/** How many paths are worked on at once: they share the manifest's commits. */
const CONCURRENCY = 32;
const ROWS_PER_PAGE = 256;

export class Tally {
  readonly findings: RebuildFinding[] = [];
  readonly counts: Partial<Record<RebuildFinding["kind"], number>> = {};
  changed = 0;
  absent = 0;
  secondaryOnly = 0;

  find(finding: RebuildFinding): void {
    const count = (this.counts[finding.kind] ?? 0) + 1;
    this.counts[finding.kind] = count;
    if (count <= FINDINGS_MAX) this.findings.push(finding);
  }
}

/** A page at a time: they may change meanwhile. */
export async function* rowsOf(
  { manifest }: Pick<RebuildDeps, "manifest">,
  signal?: AbortSignal,
): AsyncGenerator<PathAndEntry> {
  let after: DepotPath | null = null;
  for (;;) {
    signal?.throwIfAborted();
    const page = manifest.entries("", after, ROWS_PER_PAGE);
    yield* page;
    if (page.length < ROWS_PER_PAGE) return;
    after = page.at(-1)!.path;
    await Promise.resolve();
  }
}

/** A row whose file is gone from the disk by now, after it was uploaded or not. */
export async function vanish(
  { manifest, nowMs }: Pick<RebuildDeps, "manifest" | "nowMs">,
  tally: Tally,
  path: DepotPath,
  { generation }: FileEntry,
): Promise<FileEntry | null> {
  const nowS = Math.floor(nowMs() / 1000);
  const gone = await manifest.apply(path, generation, { kind: "vanished", nowS });
  tally.changed++;
  return gone.entry;
}

/** Runs `work` on each item, some at a time, and waits for all; the first failure ends it. */
export async function forEachSome<T>(
  items: AsyncIterable<T>,
  work: (item: T) => Promise<void>,
  onDone: (count: number) => void = () => {},
): Promise<number> {
  const running = new Set<Promise<void>>();
  const failures: unknown[] = [];
  let done = 0;
  try {
    for await (const item of items) {
      const one: Promise<void> = work(item)
        // At once: while the next item is waited for, nobody else would take it.
        .catch((error) => void failures.push(error))
        .finally(() => running.delete(one));
      running.add(one);
      if (running.size >= CONCURRENCY) await Promise.race(running);
      if (failures.length > 0) break;
      onDone(++done);
    }
  } finally {
    await Promise.all(running);
  }
  if (failures.length > 0) throw failures[0];
  return done;
}
