/**
 * The first step of a rebuild: what the store lists. Each object becomes the stored version of
 * its path, if it is newer than the row's: by what the disk shows, or by the generation that the
 * object was uploaded with.
 *
 * @module
 */

import { type DepotPath, isManaged, pathOfKey } from "../core/names.ts";
import type { FileEntry, LocalStat } from "./manifest.ts";
import { forEachSome, type RebuildDeps, type Tally, vanish } from "./rebuild_run.ts";
import type { LocalThing, RebuildObject } from "./rebuild_sides.ts";
import {
  chooseVersion,
  isMarkerOfObject,
  isSameFile,
  isVersionOf,
  markerText,
  pathOfPercent,
  statOfObject,
  storedVersionOf,
} from "./rebuild_choice.ts";

/** The instance's mark and the copies of the manifest. */
const OWN_PREFIX = ".p4cache-meta/";

export class RebuildObjects {
  /**
   * Objects that are not the version of the path that they are named after, by what their marker would
   * say. Null: two say the same, so that no marker can tell them apart.
   */
  readonly others = new Map<string, RebuildObject | null>();
  /**
   * Of those that the copy knows as replaced or deleted, by that path, the
   * newest that is as large as the marker there, be its time another: an upload that finds its
   * bytes stored leaves the object the time of before.
   */
  readonly maybeBack = new Map<DepotPath, RebuildObject>();
  readonly #deps: RebuildDeps;
  readonly #tally: Tally;
  /** Paths that an object is being taken for: versions of one path come one by one. */
  readonly #busy = new Map<DepotPath, Promise<void>>();

  constructor(deps: RebuildDeps, tally: Tally) {
    this.#deps = deps;
    this.#tally = tally;
  }

  /** Returns how many there are. */
  take(signal?: AbortSignal): Promise<number> {
    return forEachSome(
      this.#deps.store.list("", signal),
      (object) => this.#takeListed(object),
      (count) => this.#deps.onProgress?.("objects", count),
    );
  }

  async #takeListed(object: RebuildObject): Promise<void> {
    if (object.key.startsWith(OWN_PREFIX)) return;
    const path = await this.pathOf(object);
    if (path === null || await this.#isForeign(path, object)) {
      this.#tally.find({ kind: "stray", key: object.key });
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

  async pathOf(object: RebuildObject): Promise<DepotPath | null> {
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
    const isOld = manifest.isBuried(object.key);
    if (isOld && !isVersionOf(local, object)) return this.#bury(path, object, local);
    if (entry !== null && entry.state !== "clean") {
      // Its upload settles what the store has, if it is the file that was to be uploaded.
      if (local?.kind === "file" && isSameFile(entry.local, local.stat)) {
        return this.#putAside(object);
      }
      entry = await vanish(this.#deps, this.#tally, path, entry);
    }
    // A file in the place of a newer version may be from a backup.
    if (isOld && local?.kind === "file" && entry !== null) {
      return this.#bury(path, object, local);
    }
    if (entry !== null) {
      const current = await store.head(entry.stored!.key);
      const choice = chooseVersion(local, current, object);
      if (choice.isGuess) {
        this.#tally.find({ kind: "chosen", path, key: choice.object.key });
      }
      if (choice.object !== object) return this.#putAside(object);
      if (current !== null) this.#putAside(current);
    }
    // What becomes of a marker of another one is seen when all rows are known.
    const isItsMarker = local?.kind === "marker" && isMarkerOfObject(local.stat, object);
    const stat = isItsMarker ? local.stat : statOfObject(object, this.#deps.owner);
    await this.adopt(path, object, { entry, stat });
  }

  /** The copy knows it as replaced or deleted. A marker may say that it came back since. */
  #bury(path: DepotPath, object: RebuildObject, local: LocalThing | null): void {
    this.#putAside(object);
    if (local?.kind !== "marker" || local.stat.sizeBytes !== object.sizeBytes) return;
    const other = this.maybeBack.get(path) ?? null;
    this.maybeBack.set(path, chooseVersion(local, other, object).object);
  }

  /** A marker may say that it is the version of a file that was renamed. */
  #putAside(object: RebuildObject): void {
    const said = markerText(object.sizeBytes, storedVersionOf(object).mtimeNs);
    const known = this.others.get(said);
    if (known?.key === object.key) return;
    this.others.set(said, known === undefined ? object : null);
  }

  async adopt(
    path: DepotPath,
    object: RebuildObject,
    { entry, stat }: { readonly entry: FileEntry | null; readonly stat: LocalStat },
  ): Promise<void> {
    const { outcome } = await this.#deps.manifest.apply(
      path,
      entry?.generation ?? "absent",
      {
        kind: "adopted",
        stored: storedVersionOf(object),
        // A file on the disk is compared in the next step.
        resident: false,
        stat,
        // The primary of this instance lists it: what the row named before was another's.
        flags: { borrowed: false, secondaryOnly: false },
        nowS: Math.floor(this.#deps.nowMs() / 1000),
      },
    );
    if (outcome === "applied") this.#tally.changed++;
  }
}
