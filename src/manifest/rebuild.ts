/**
 * Rebuilds a manifest from what the store lists and the depot holds, on top of the newest
 * copy if there is one. Deletes nothing, in the store or on the disk, and may be stopped
 * and run again: what is known already is passed over.
 *
 * 1. Each object becomes the stored version of its path, if it is newer than the row's:
 *    by what the disk shows, or by the generation that the object was uploaded with.
 * 2. Each row is compared with the disk. A file of the stored version's size is left to the
 *    daemon's first scan, which hashes it. One that is newer is dirty. Any other is in
 *    conflict: it may come from a backup that is older than what the store has, so nothing
 *    is uploaded over that until somebody decides.
 * 3. Files that have no row yet become dirty rows; markers without an object are reported.
 *
 * @module
 */

import {
  type DepotPath,
  isManaged,
  type ManagePolicy,
  type ObjectKey,
  pathOfKey,
} from "../core/names.ts";
import type { FileEntry, FileFlags, LocalStat, Manifest } from "./manifest.ts";
import type {
  LocalThing,
  RebuildDepot,
  RebuildObject,
  RebuildOwner,
  RebuildStore,
} from "./rebuild_sides.ts";
import {
  chooseVersion,
  isSameFile,
  isVersionOf,
  markerText,
  pathOfPercent,
  planUnknownFile,
  statOfObject,
  storedVersionOf,
} from "./rebuild_choice.ts";

export interface RebuildDeps {
  readonly manifest: Manifest;
  readonly store: RebuildStore;
  readonly depot: RebuildDepot;
  readonly owner: RebuildOwner;
  readonly manage: ManagePolicy;
  nowMs(): number;
  /** Called often, with what is being done and how many were done. */
  onProgress?(step: RebuildStep, done: number): void;
}

export type RebuildStep = "objects" | "rows" | "files";

export type RebuildFinding =
  /** A marker is there, and no object that it could stand for. */
  | { readonly kind: "no-object"; readonly path: DepotPath }
  /** A marker whose object was named after `from`: the file had been moved. */
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
  readonly rows: number;
  readonly files: number;
  /** Rows that were made or changed. */
  readonly changed: number;
  /** Rows made for objects of which nothing is on the disk: deleted, or the disk is new. */
  readonly absent: number;
  /** At most 10,000 of each kind. */
  readonly findings: readonly RebuildFinding[];
  /** How many there are of each kind. */
  readonly counts: Readonly<Partial<Record<RebuildFinding["kind"], number>>>;
}

/** The instance's mark and the copies of the manifest. */
const OWN_PREFIX = ".p4cache-meta/";
/** Of one kind; those beyond are counted. */
const FINDINGS_MAX = 10_000;
const ROWS_PER_PAGE = 256;
/** How many paths are worked on at once: they share the manifest's commits. */
const CONCURRENCY = 32;

export async function rebuildManifest(
  deps: RebuildDeps,
  signal?: AbortSignal,
): Promise<RebuildResult> {
  const rebuild = new Rebuild(deps);
  await deps.manifest.postponeTombstones(deps.nowMs());
  const objects = await rebuild.takeObjects(signal);
  const rows = await rebuild.compareRows(signal);
  const files = await rebuild.takeFiles(signal);
  return {
    objects,
    rows,
    files,
    changed: rebuild.changed,
    absent: rebuild.absent,
    findings: rebuild.findings,
    counts: rebuild.counts,
  };
}

class Rebuild {
  readonly findings: RebuildFinding[] = [];
  readonly counts: Partial<Record<RebuildFinding["kind"], number>> = {};
  changed = 0;
  absent = 0;
  /**
   * Rows made here without anything on the disk, by what their marker would say. Null: two
   * say the same, so that no marker can tell them apart.
   */
  readonly #absentPaths = new Map<string, DepotPath | null>();
  /** Objects that the copy knows as replaced or deleted, likewise. */
  readonly #buried = new Map<string, RebuildObject | null>();
  /**
   * Of them, by the path that they are named after, the newest that is as large as the marker
   * there. An upload that finds its bytes stored leaves the object the time of before.
   */
  readonly #maybeBack = new Map<DepotPath, RebuildObject>();
  readonly #deps: RebuildDeps;
  /** Paths that an object is being taken for: versions of one path come one by one. */
  readonly #busy = new Map<DepotPath, Promise<void>>();

  constructor(deps: RebuildDeps) {
    this.#deps = deps;
  }

  #find(finding: RebuildFinding): void {
    const count = (this.counts[finding.kind] ?? 0) + 1;
    this.counts[finding.kind] = count;
    if (count <= FINDINGS_MAX) this.findings.push(finding);
  }

  // ---- objects ----

  takeObjects(signal?: AbortSignal): Promise<number> {
    return this.#each("objects", this.#deps.store.list("", signal), async (object) => {
      if (object.key.startsWith(OWN_PREFIX)) return;
      const path = await this.#pathOf(object);
      if (path === null || await this.#isForeign(path, object)) {
        this.#find({ kind: "stray", key: object.key });
        return;
      }
      const before = this.#busy.get(path) ?? Promise.resolve();
      const taken = before.then(() => this.#takeObject(path, object));
      this.#busy.set(path, taken);
      try {
        await taken;
      } finally {
        if (this.#busy.get(path) === taken) this.#busy.delete(path);
      }
    });
  }

  /**
   * Whether the object is none of ours by its name: the store may hold what others put there, as a
   * copy of the whole server root, and a row would have `p4d`'s live database evicted. A marker
   * at such a name is one that we made while more was managed; a row of before is left as it is.
   */
  async #isForeign(path: DepotPath, { key }: RebuildObject): Promise<boolean> {
    const { manifest, depot, manage } = this.#deps;
    if (isManaged(path, manage) || manifest.isNamed(key)) return false;
    return manifest.isBuried(key) || (await depot.look(path))?.kind !== "marker";
  }

  async #pathOf(object: RebuildObject): Promise<DepotPath | null> {
    const path = pathOfKey(object.key);
    if (path !== null || !object.key.startsWith(".p4cache-long/")) return path;
    const { metadata } = await this.#whole(object) ?? { metadata: null };
    return metadata?.path ? pathOfPercent(metadata.path) : null;
  }

  /** With its metadata, which a list may not have; null if it is gone meanwhile. */
  async #whole(object: RebuildObject): Promise<RebuildObject | null> {
    return object.metadata === null ? await this.#deps.store.head(object.key) : object;
  }

  async #takeObject(path: DepotPath, listed: RebuildObject): Promise<void> {
    const { manifest, depot, store } = this.#deps;
    // Also of a file that was moved, by what the copy says.
    if (manifest.isNamed(listed.key)) return;
    const object = await this.#whole(listed);
    if (object === null) return;
    const { generation } = object.metadata ?? {};
    // Uploads to come must not look older than this one.
    if (generation !== undefined) await manifest.raiseGenerations(generation);
    const local = await depot.look(path);
    let entry = manifest.get(path);
    if (entry !== null && entry.state !== "clean") {
      // Its upload settles what the store has, if it is the file that was to be uploaded.
      if (local?.kind === "file" && isSameFile(entry.local, local.stat)) return;
      entry = await this.#vanished(path, entry);
    }
    if (this.#isOldVersion(listed)) {
      // A file in the place of a newer version may be from a backup.
      const isBack = isVersionOf(local, object) &&
        (local?.kind === "marker" || entry === null);
      if (!isBack) {
        const said = markerText(object.sizeBytes, storedVersionOf(object).mtimeNs);
        this.#buried.set(said, this.#buried.has(said) ? null : object);
        if (local?.kind === "marker" && local.stat.sizeBytes === object.sizeBytes) {
          const other = this.#maybeBack.get(path) ?? null;
          this.#maybeBack.set(path, chooseVersion(local, other, object).object);
        }
        return;
      }
    }
    if (entry !== null) {
      const current = await store.head(entry.stored!.key);
      const choice = chooseVersion(local, current, object);
      if (choice.isGuess) this.#find({ kind: "chosen", path, key: choice.object.key });
      if (choice.object !== object) return;
    }
    await this.#adopt(path, object, { entry, local });
  }

  /** A row whose file is gone from the disk by now, after it was uploaded or not. */
  async #vanished(path: DepotPath, { generation }: FileEntry): Promise<FileEntry | null> {
    const nowS = Math.floor(this.#deps.nowMs() / 1000);
    const { manifest } = this.#deps;
    const gone = await manifest.apply(path, generation, { kind: "vanished", nowS });
    this.changed++;
    return gone.entry;
  }

  /** The copy knows it as replaced or deleted; since then it may have come back. */
  #isOldVersion({ key }: RebuildObject): boolean {
    return this.#deps.manifest.isBuried(key);
  }

  async #adopt(
    path: DepotPath,
    object: RebuildObject,
    { entry, local }: {
      readonly entry: FileEntry | null;
      readonly local: LocalThing | null;
    },
  ): Promise<void> {
    const stored = storedVersionOf(object);
    const isMarker = local?.kind === "marker";
    const { outcome } = await this.#deps.manifest.apply(
      path,
      entry?.generation ?? "absent",
      {
        kind: "adopted",
        stored,
        // A file on the disk is compared in the next step.
        resident: false,
        stat: isMarker ? local.stat : statOfObject(object, this.#deps.owner),
        // The primary of this instance lists it: what the row named before was another's.
        flags: { borrowed: false, secondaryOnly: false },
        nowS: Math.floor(this.#deps.nowMs() / 1000),
      },
    );
    if (outcome !== "applied") return;
    this.changed++;
    if (local !== null) return;
    const said = markerText(stored.sizeBytes, stored.mtimeNs);
    this.absent++;
    this.#absentPaths.set(said, this.#absentPaths.has(said) ? null : path);
  }

  // ---- rows ----

  async compareRows(signal?: AbortSignal): Promise<number> {
    return await this.#each("rows", this.#rows(signal), async ({ path, entry }) => {
      const { depot, manage } = this.#deps;
      const local = await depot.look(path);
      // What has a name that is not managed is nobody's to compare, upload or miss.
      if (local?.kind !== "marker" && !isManaged(path, manage)) return;
      if (local?.kind === "file") await this.#compareFile(path, entry, local.stat);
      else await this.#compareMarker(path, entry, local?.stat ?? null);
    });
  }

  async *#rows(
    signal?: AbortSignal,
  ): AsyncGenerator<{ readonly path: DepotPath; readonly entry: FileEntry }> {
    let after: DepotPath | null = null;
    for (;;) {
      signal?.throwIfAborted();
      const page = this.#deps.manifest.entries("", after, ROWS_PER_PAGE);
      yield* page;
      if (page.length < ROWS_PER_PAGE) return;
      after = page.at(-1)!.path;
      await Promise.resolve();
    }
  }

  async #compareFile(path: DepotPath, entry: FileEntry, stat: LocalStat): Promise<void> {
    const { generation, resident, local, flags } = entry;
    // Also of the copy, and of a rebuild that was stopped.
    if (flags.conflict) this.#find({ kind: "conflict", path });
    if (resident && isSameFile(local, stat)) return;
    switch (planUnknownFile(entry, stat)) {
      case "compare":
        // Only a clean row is compared; this content was never seen.
        if (entry.state !== "clean") await this.#vanished(path, entry);
        return;
      case "written":
        return await this.#written(path, generation, stat);
      case "conflict":
        this.#find({ kind: "conflict", path });
        return await this.#written(path, generation, stat, { conflict: true });
    }
  }

  async #written(
    path: DepotPath,
    expected: number | "absent",
    stat: LocalStat,
    flags: Partial<FileFlags> = {},
  ): Promise<void> {
    const nowS = Math.floor(this.#deps.nowMs() / 1000);
    const { outcome } = await this.#deps.manifest.apply(path, expected, {
      kind: "written",
      stat,
      nowS,
      flags,
    });
    if (outcome === "applied") this.changed++;
  }

  /** Nothing but a marker, or nothing at all: the store has the content, or nobody. */
  async #compareMarker(
    path: DepotPath,
    entry: FileEntry,
    marker: LocalStat | null,
  ): Promise<void> {
    const { manifest } = this.#deps;
    const nowS = Math.floor(this.#deps.nowMs() / 1000);
    let { generation } = entry;
    if (entry.state !== "clean" || entry.resident) {
      const gone = await manifest.apply(path, generation, { kind: "vanished", nowS });
      if (gone.outcome === "stale") return;
      this.changed++;
      if (gone.outcome === "lost") {
        this.#find({ kind: "lost", path });
        return;
      }
      generation = gone.entry!.generation;
    }
    if (marker === null || isSameFile(entry.local, marker)) return;
    await manifest.apply(path, generation, { kind: "attributes", stat: marker });
  }

  // ---- files ----

  takeFiles(signal?: AbortSignal): Promise<number> {
    return this.#each("files", this.#deps.depot.walk(signal), async ({ path, thing }) => {
      if (this.#deps.manifest.get(path) !== null) return;
      if (thing.kind === "marker") await this.#takeMarker(path, thing.stat);
      else await this.#written(path, "absent", thing.stat);
    });
  }

  /**
   * A marker without a row: that of a file that was moved, if it fits exactly one; or of one that
   * was brought back after the copy, under whatever name; or, failing that, of its own name's, of
   * which only the size is as it was: its object must not go.
   */
  async #takeMarker(path: DepotPath, marker: LocalStat): Promise<void> {
    const { manifest } = this.#deps;
    const said = markerText(marker.sizeBytes, marker.mtimeNs);
    const from = this.#absentPaths.get(said) ?? null;
    this.#absentPaths.delete(said);
    const { outcome, entry } = from === null
      ? { outcome: "stale", entry: null }
      : await manifest.move(from, path, this.#deps.nowMs());
    if (from === null || outcome !== "applied") {
      const fits = from === null && this.#buried.has(said);
      const object = (fits ? this.#buried.get(said) : this.#maybeBack.get(path)) ?? null;
      if (object === null || manifest.isNamed(object.key)) {
        this.#find({ kind: "no-object", path });
        return;
      }
      await this.#adopt(path, object, {
        entry: null,
        local: { kind: "marker", stat: marker },
      });
      if (fits) {
        this.#find({ kind: "moved", path, from: await this.#pathOf(object) ?? path });
      }
      return;
    }
    this.absent--;
    this.#find({ kind: "moved", path, from });
    await manifest.apply(path, entry!.generation, { kind: "attributes", stat: marker });
  }

  /** Runs `work` on each item, some at a time, and waits for all. The first failure ends it. */
  async #each<T>(
    step: RebuildStep,
    items: AsyncIterable<T>,
    work: (item: T) => Promise<void>,
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
        this.#deps.onProgress?.(step, ++done);
      }
    } finally {
      await Promise.all(running);
    }
    if (failures.length > 0) throw failures[0];
    return done;
  }
}
