/**
 * Rebuilds a manifest from what the store lists and the depot holds, on top of the newest
 * copy if there is one. Deletes nothing, in the store or on the disk, and may be stopped
 * and run again: what is known already is passed over.
 *
 * 1. Each object of the primary, then of the secondary, becomes the stored version of its path,
 *    if it is newer than the row's: rebuild_objects.ts.
 * 2. Each row is compared with the disk. A file of the stored version's size is left to the
 *    daemon's first scan, which hashes it. One that is newer is dirty. Any other is in
 *    conflict: it may come from a backup that is older than what the store has, so nothing
 *    is uploaded over that until somebody decides.
 * 3. Files that have no row yet become dirty rows.
 * 4. Markers that are not of the row of their name get the row or the version that they stand
 *    for: rebuild_markers.ts. The others are reported. Their reads fail, where an older revision
 *    in the place of a file would get the next one on top.
 *
 * @module
 */

import { type DepotPath, isManaged } from "../core/names.ts";
import type { FileEntry, FileFlags, LocalStat } from "./manifest.ts";
import { isMarkerOfRow, isSameFile, planUnknownFile } from "./rebuild_choice.ts";
import { LooseMarkers } from "./rebuild_markers.ts";
import { RebuildObjects } from "./rebuild_objects.ts";
import {
  forEachSome,
  type RebuildDeps,
  type RebuildResult,
  rowsOf,
  Tally,
  vanish,
} from "./rebuild_run.ts";

export async function rebuildManifest(
  deps: RebuildDeps,
  signal?: AbortSignal,
): Promise<RebuildResult> {
  const tally = new Tally();
  const taken = new RebuildObjects(deps, tally);
  const markers = new LooseMarkers(deps, taken, tally);
  const rebuild = new Rebuild(deps, { taken, markers, tally });
  // Of the copy: what the daemon's own manifest did with it by then is what the disk shows.
  await deps.manifest.finishMove({});
  const objects = await taken.take("primary", signal);
  const secondaryObjects = await taken.take("secondary", signal);
  // When they were made says until here which objects were stored later.
  await deps.manifest.postponeTombstones(deps.nowMs());
  const rows = await rebuild.compareRows(signal);
  const files = await rebuild.takeFiles(signal);
  await markers.settle(signal);
  const { changed, absent, secondaryOnly, findings, counts } = tally;
  return {
    ...{ objects, secondaryObjects, rows, files },
    ...{ changed, absent, secondaryOnly, findings, counts },
  };
}

class Rebuild {
  readonly #deps: RebuildDeps;
  readonly #taken: RebuildObjects;
  readonly #markers: LooseMarkers;
  readonly #tally: Tally;

  constructor(
    deps: RebuildDeps,
    { taken, markers, tally }: {
      readonly taken: RebuildObjects;
      readonly markers: LooseMarkers;
      readonly tally: Tally;
    },
  ) {
    this.#deps = deps;
    this.#taken = taken;
    this.#markers = markers;
    this.#tally = tally;
  }

  // ---- rows ----

  compareRows(signal?: AbortSignal): Promise<number> {
    return this.#each("rows", rowsOf(this.#deps, signal), async (row) => {
      const { path } = row;
      const entry = await this.#flagged(path, row.entry);
      if (entry.flags.secondaryOnly) this.#tally.secondaryOnly++;
      const { depot, manage } = this.#deps;
      const local = await depot.look(path);
      // What has a name that is not managed is nobody's to compare, upload or miss.
      if (local?.kind !== "marker" && !isManaged(path, manage)) return;
      if (local?.kind === "file") await this.#compareFile(path, entry, local.stat);
      else await this.#compareMarker(path, entry, local?.stat ?? null);
    });
  }

  /** Rows of the copy, too, whose object only the secondary has by now. */
  async #flagged(path: DepotPath, entry: FileEntry): Promise<FileEntry> {
    if (entry.flags.secondaryOnly || !this.#taken.isInSecondaryOnly(entry)) {
      return entry;
    }
    const { outcome, entry: flagged } = await this.#deps.manifest.apply(
      path,
      entry.generation,
      { kind: "flagged", flags: { secondaryOnly: true } },
    );
    if (outcome === "applied") this.#tally.changed++;
    return flagged ?? entry;
  }

  async #compareFile(path: DepotPath, entry: FileEntry, stat: LocalStat): Promise<void> {
    const { generation, resident, local, flags } = entry;
    // Also of the copy, and of a rebuild that was stopped.
    if (flags.conflict) this.#tally.find({ kind: "conflict", path });
    if (resident && isSameFile(local, stat)) return;
    switch (planUnknownFile(entry, stat)) {
      case "compare":
        // Only a clean row is compared; this content was never seen.
        if (entry.state !== "clean") await vanish(this.#deps, this.#tally, path, entry);
        return;
      case "written":
        return await this.#written(path, generation, stat);
      case "conflict":
        this.#tally.find({ kind: "conflict", path });
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
    if (outcome === "applied") this.#tally.changed++;
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
      this.#tally.changed++;
      if (gone.outcome === "lost") {
        this.#tally.find({ kind: "lost", path });
        return;
      }
      generation = gone.entry!.generation;
    }
    if (marker === null) {
      this.#tally.absent++;
      return;
    }
    if (!isMarkerOfRow(entry, marker)) return this.#markers.add(path, marker);
    if (!this.#taken.mayBeThere(entry)) this.#tally.find({ kind: "no-object", path });
    if (isSameFile(entry.local, marker)) return;
    await manifest.apply(path, generation, { kind: "attributes", stat: marker });
  }

  // ---- files ----

  takeFiles(signal?: AbortSignal): Promise<number> {
    return this.#each("files", this.#deps.depot.walk(signal), async ({ path, thing }) => {
      if (this.#deps.manifest.get(path) !== null) return;
      if (thing.kind === "marker") this.#markers.add(path, thing.stat);
      else await this.#written(path, "absent", thing.stat);
    });
  }

  #each<T>(
    step: "rows" | "files",
    items: AsyncIterable<T>,
    work: (item: T) => Promise<void>,
  ): Promise<number> {
    return forEachSome(
      items,
      work,
      (count) => this.#deps.onProgress?.(step, count),
    );
  }
}
