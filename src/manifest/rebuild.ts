/**
 * Rebuilds a manifest from what the store lists and the depot holds, on top of the newest
 * copy if there is one. Deletes nothing, in the store or on the disk, and may be stopped
 * and run again: what is known already is passed over.
 *
 * 1. Each object becomes the stored version of its path, if it is newer than the row's:
 *    by what the disk shows, or by the generation that the object was uploaded with.
 * 2. Each row is compared with the disk. A file that is there and not exactly the row's
 *    is dirty: it is uploaded again, which costs time and loses nothing.
 * 3. Files that have no row yet become dirty rows; markers without an object are reported.
 *
 * @module
 */

import { type DepotPath, type ObjectKey, pathOfKey } from "../core/names.ts";
import type { FileEntry, LocalStat, Manifest } from "./manifest.ts";
import {
  chooseVersion,
  isSameFile,
  isVersionOf,
  markerText,
  pathOfPercent,
  statOfObject,
  storedVersionOf,
} from "./rebuild_choice.ts";

/** What the store says of an object; `list` may leave out the metadata. */
export interface RebuildObject {
  readonly key: ObjectKey;
  readonly sizeBytes: number;
  readonly storedAtMs: number | null;
  readonly versionId: string | null;
  readonly metadata: {
    readonly hash: string | null;
    readonly mtimeNs: bigint | null;
    readonly mode: number | null;
    readonly uid: number | null;
    readonly gid: number | null;
    /** Percent-encoded bytes. */
    readonly path: string | null;
    /** Of the row when it was uploaded. */
    readonly generation?: number;
  } | null;
}

/** The store, as far as a rebuild needs it. A storage backend is one. */
export interface RebuildStore {
  list(prefix: string, signal?: AbortSignal): AsyncIterable<RebuildObject>;
  head(key: ObjectKey, signal?: AbortSignal): Promise<RebuildObject | null>;
}

/** What stands at a path: content, or a marker (whose `stat` has the file's size). */
export interface LocalThing {
  readonly kind: "file" | "marker";
  readonly stat: LocalStat;
}

/** The depot, as far as a rebuild needs it: managed names only. */
export interface RebuildDepot {
  look(path: DepotPath): Promise<LocalThing | null>;
  walk(signal?: AbortSignal): AsyncIterable<{
    readonly path: DepotPath;
    readonly thing: LocalThing;
  }>;
}

export interface RebuildDeps {
  readonly manifest: Manifest;
  readonly store: RebuildStore;
  readonly depot: RebuildDepot;
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
  /** Several versions, and neither the disk nor they say which: the one stored last was taken. */
  | { readonly kind: "chosen"; readonly path: DepotPath; readonly key: ObjectKey }
  /** An object that belongs to no path. It is left where it is. */
  | { readonly kind: "stray"; readonly key: ObjectKey };

export interface RebuildResult {
  readonly objects: number;
  readonly rows: number;
  readonly files: number;
  /** Rows that were made or changed. */
  readonly changed: number;
  /** Rows made for objects of which nothing is on the disk: deleted, or the disk is new. */
  readonly absent: number;
  readonly findings: readonly RebuildFinding[];
}

/** The instance's mark and the copies of the manifest. */
const OWN_PREFIX = ".p4cache-meta/";
/** Findings beyond these are counted by kind only in the caller's own log. */
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
    findings: rebuild.findings.slice(0, FINDINGS_MAX),
  };
}

class Rebuild {
  readonly findings: RebuildFinding[] = [];
  changed = 0;
  absent = 0;
  /**
   * Rows made here without anything on the disk, by what their marker would say. Null: two
   * say the same, so that no marker can tell them apart.
   */
  readonly #absentPaths = new Map<string, DepotPath | null>();
  readonly #deps: RebuildDeps;
  /** Paths that an object is being taken for: versions of one path come one by one. */
  readonly #busy = new Map<DepotPath, Promise<void>>();

  constructor(deps: RebuildDeps) {
    this.#deps = deps;
  }

  #find(finding: RebuildFinding): void {
    if (this.findings.length < FINDINGS_MAX) this.findings.push(finding);
  }

  // ---- objects ----

  takeObjects(signal?: AbortSignal): Promise<number> {
    return this.#each("objects", this.#deps.store.list("", signal), async (object) => {
      if (object.key.startsWith(OWN_PREFIX)) return;
      const path = await this.#pathOf(object);
      if (path === null) {
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
      // Its upload settles what the store has.
      if (local?.kind === "file") return;
      entry = await this.#vanished(path, entry);
    }
    if (this.#isOldVersion(path, listed) && !isVersionOf(local, object)) return;
    if (entry !== null) {
      const current = await store.head(entry.stored!.key);
      const choice = chooseVersion(local, current, object);
      if (choice.isGuess) this.#find({ kind: "chosen", path, key: choice.object.key });
      if (choice.object !== object) return;
    }
    await this.#adopt(path, object, { entry, local });
  }

  /** A row whose file was uploaded after the copy, and is gone from the disk by now. */
  async #vanished(path: DepotPath, { generation }: FileEntry): Promise<FileEntry | null> {
    const nowS = Math.floor(this.#deps.nowMs() / 1000);
    const { manifest } = this.#deps;
    const gone = await manifest.apply(path, generation, { kind: "vanished", nowS });
    this.changed++;
    return gone.entry;
  }

  /** The copy knows it as replaced or deleted; since then it may have come back. */
  #isOldVersion(path: DepotPath, { key }: RebuildObject): boolean {
    return this.#deps.manifest.tombstonesOf(path).some(({ stored }) =>
      stored.key === key
    );
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
        stat: isMarker ? local.stat : statOfObject(object),
        flags: {},
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
      const local = await this.#deps.depot.look(path);
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
    const isKnown = entry.resident && isSameFile(entry.local, stat);
    if (isKnown) return;
    await this.#written(path, entry.generation, stat);
  }

  async #written(
    path: DepotPath,
    expected: number | "absent",
    stat: LocalStat,
  ): Promise<void> {
    const nowS = Math.floor(this.#deps.nowMs() / 1000);
    const { outcome } = await this.#deps.manifest.apply(path, expected, {
      kind: "written",
      stat,
      nowS,
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

  /** A marker without a row: that of a file that was moved, if it fits exactly one. */
  async #takeMarker(path: DepotPath, marker: LocalStat): Promise<void> {
    const { manifest } = this.#deps;
    const said = markerText(marker.sizeBytes, marker.mtimeNs);
    const from = this.#absentPaths.get(said) ?? null;
    this.#absentPaths.delete(said);
    const { outcome, entry } = from === null
      ? { outcome: "stale", entry: null }
      : await manifest.move(from, path, this.#deps.nowMs());
    if (from === null || outcome !== "applied") {
      this.#find({ kind: "no-object", path });
      return;
    }
    this.absent--;
    this.#find({ kind: "moved", path, from });
    await manifest.apply(path, entry!.generation, { kind: "attributes", stat: marker });
  }

  /** Runs `work` on each item, some at a time, and waits for all. */
  async #each<T>(
    step: RebuildStep,
    items: AsyncIterable<T>,
    work: (item: T) => Promise<void>,
  ): Promise<number> {
    const running = new Set<Promise<void>>();
    let done = 0;
    for await (const item of items) {
      const one: Promise<void> = work(item).finally(() => running.delete(one));
      running.add(one);
      if (running.size >= CONCURRENCY) await Promise.race(running);
      this.#deps.onProgress?.(step, ++done);
    }
    await Promise.all(running);
    return done;
  }
}
