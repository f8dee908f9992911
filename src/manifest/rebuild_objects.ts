/**
 * The first step of a rebuild: what the stores list. Each object becomes the stored version of
 * its path, if it is newer than the row's: by what the disk shows, or by the generation that the
 * object was uploaded with.
 *
 * The primary is listed to its end before the secondary: what both have is the primary's, and
 * what a row names is looked for in both. The secondary may be an old primary, or a replica that
 * keeps what was deleted. So what the manifest's copy knows as deleted comes back from there
 * only for a marker, or if it was written later.
 *
 * @module
 */

import { type DepotPath, isManaged, pathOfKey } from "../core/names.ts";
import { ListedKeys } from "./listed_keys.ts";
import type { FileEntry, LocalStat } from "./manifest.ts";
import { forEachSome, type RebuildDeps, type Tally, vanish } from "./rebuild_run.ts";
import type { LocalThing, RebuildObject, RebuildStore } from "./rebuild_sides.ts";
import {
  chooseVersion,
  isMarkerOfObject,
  isSameFile,
  isVersionOf,
  markerText,
  objectOfRow,
  pathOfPercent,
  statOfObject,
  storedVersionOf,
} from "./rebuild_choice.ts";

export type Side = "primary" | "secondary";

/** An object, and which store has it. */
export interface Listed {
  readonly object: RebuildObject;
  readonly side: Side;
}

/** The instance's mark and the copies of the manifest. */
const OWN_PREFIX = ".p4cache-meta/";

export class RebuildObjects {
  /**
   * Objects that are not the version of the path that they are named after, by what their marker would
   * say. Null: two say the same, so that no marker can tell them apart.
   */
  readonly others = new Map<string, Listed | null>();
  /**
   * Of those that the copy knows as replaced or deleted, by that path, the
   * newest that is as large as the marker there, be its time another: an upload that finds its
   * bytes stored leaves the object the time of before.
   */
  readonly maybeBack = new Map<DepotPath, Listed>();
  readonly #listed: Record<Side, ListedKeys> = {
    primary: new ListedKeys(),
    secondary: new ListedKeys(),
  };
  readonly #deps: RebuildDeps;
  readonly #tally: Tally;
  /** Paths that an object is being taken for: versions of one path come one by one. */
  readonly #busy = new Map<DepotPath, Promise<void>>();

  constructor(deps: RebuildDeps, tally: Tally) {
    this.#deps = deps;
    this.#tally = tally;
  }

  /** First of the primary, then of the secondary. Returns how many there are. */
  async take(side: Side, signal?: AbortSignal): Promise<number> {
    const store = this.#storeOf(side);
    if (store === null) return 0;
    const step = side === "primary" ? "objects" : "secondary objects";
    return await forEachSome(
      store.list("", signal),
      (object) => this.#takeListed({ object, side }),
      (count) => this.#deps.onProgress?.(step, count),
    );
  }

  /** Whether the secondary listed the object that the row names, and the primary did not. */
  isInSecondaryOnly({ stored, flags }: FileEntry): boolean {
    return stored !== null && !flags.borrowed && !this.#listed.primary.has(stored.key) &&
      this.#listed.secondary.has(stored.key);
  }

  #storeOf(side: Side): RebuildStore | null {
    return side === "primary" ? this.#deps.store : this.#deps.secondary;
  }

  async #takeListed(listed: Listed): Promise<void> {
    const { object: { key }, side } = listed;
    if (key.startsWith(OWN_PREFIX)) return;
    this.#listed[side].add(key);
    const path = await this.pathOf(listed);
    if (path === null || await this.#isForeign(path, listed)) {
      if (!await this.#isPrimarys(listed)) this.#tally.find({ kind: "stray", key });
      return;
    }
    const before = this.#busy.get(path) ?? Promise.resolve();
    const taken = before.then(() => this.#takeObject(path, listed));
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
  async #isForeign(path: DepotPath, { object: { key } }: Listed): Promise<boolean> {
    const { manifest, depot, manage } = this.#deps;
    if (isManaged(path, manage) || manifest.isNamed(key)) return false;
    return manifest.isBuried(key) || (await depot.look(path))?.kind !== "marker";
  }

  /** Whether a secondary's object is in the primary too, and was looked at there. */
  async #isPrimarys({ object: { key }, side }: Listed): Promise<boolean> {
    if (side === "primary" || !this.#listed.primary.has(key)) return false;
    return await this.#deps.store.head(key) !== null;
  }

  async pathOf(listed: Listed): Promise<DepotPath | null> {
    const { key } = listed.object;
    const path = pathOfKey(key);
    if (path !== null || !key.startsWith(".p4cache-long/")) return path;
    const { metadata } = await this.#whole(listed) ?? { metadata: null };
    return metadata?.path ? pathOfPercent(metadata.path) : null;
  }

  /** With its metadata, which a list may not have; null if it is gone meanwhile. */
  async #whole({ object, side }: Listed): Promise<RebuildObject | null> {
    if (object.metadata !== null) return object;
    return await this.#storeOf(side)!.head(object.key);
  }

  async #takeObject(path: DepotPath, listed: Listed): Promise<void> {
    const { manifest, depot } = this.#deps;
    // Also of a file that was moved, by what the copy says.
    if (manifest.isNamed(listed.object.key) || await this.#isPrimarys(listed)) return;
    const object = await this.#whole(listed);
    if (object === null) return;
    const found: Listed = { object, side: listed.side };
    const { generation } = object.metadata ?? {};
    // Uploads to come must not look older than this one.
    if (generation !== undefined) await manifest.raiseGenerations(generation);
    const local = await depot.look(path);
    let entry = manifest.get(path);
    const isOld = this.#isOldVersion(path, found, entry);
    if (isOld && !isVersionOf(local, object)) return this.#bury(path, found, local);
    if (entry !== null && entry.state !== "clean") {
      // Its upload settles what the store has, if it is the file that was to be uploaded.
      if (local?.kind === "file" && isSameFile(entry.local, local.stat)) {
        return this.#putAside(found);
      }
      entry = await vanish(this.#deps, this.#tally, path, entry);
    }
    // A file in the place of a newer version may be from a backup.
    if (isOld && local?.kind === "file" && entry !== null) {
      return this.#bury(path, found, local);
    }
    if (entry !== null && !await this.#isNewer(path, found, { entry, local })) {
      return this.#putAside(found);
    }
    // What becomes of a marker of another one is seen when all rows are known.
    const isItsMarker = local?.kind === "marker" && isMarkerOfObject(local.stat, object);
    const stat = isItsMarker ? local.stat : statOfObject(object, this.#deps.owner);
    await this.adopt(path, found, { entry, stat });
  }

  /** Whether it is to be the row's version, whose own is put aside then. */
  async #isNewer(
    path: DepotPath,
    { object, side }: Listed,
    { entry, local }: { readonly entry: FileEntry; readonly local: LocalThing | null },
  ): Promise<boolean> {
    const current = await this.#currentOf(entry);
    const inTwoStores = current !== null && current.side !== side;
    const choice = chooseVersion(local, current?.object ?? null, object, inTwoStores);
    if (choice.isGuess) {
      this.#tally.find({ kind: "chosen", path, key: choice.object.key });
    }
    if (choice.object !== object) return false;
    if (current !== null) this.#putAside(current);
    return true;
  }

  /** The object that a row names, from whichever store has it; null if it is gone. */
  async #currentOf(entry: FileEntry): Promise<Listed | null> {
    const { store, secondary } = this.#deps;
    const { key } = entry.stored!;
    const inPrimary = await store.head(key);
    if (inPrimary !== null) return { object: inPrimary, side: "primary" };
    const inSecondary = await secondary?.head(key) ?? null;
    if (inSecondary !== null) return { object: inSecondary, side: "secondary" };
    // Left out, the secondary can not be asked: the row's own word for it.
    if (secondary !== null || !entry.flags.secondaryOnly) return null;
    return { object: objectOfRow(entry), side: "secondary" };
  }

  /** The copy knows it as replaced or deleted. A marker may say that it came back since. */
  #bury(path: DepotPath, found: Listed, local: LocalThing | null): void {
    const { object, side } = found;
    this.#putAside(found);
    if (local?.kind !== "marker" || local.stat.sizeBytes !== object.sizeBytes) return;
    const other = this.maybeBack.get(path);
    const inTwoStores = other !== undefined && other.side !== side;
    const choice = chooseVersion(local, other?.object ?? null, object, inTwoStores);
    if (choice.object === object) this.maybeBack.set(path, found);
  }

  /**
   * The copy knows it as replaced or deleted; since then it may have come back. A secondary
   * has versions, too, that the copy has forgotten: all before one that was deleted.
   */
  #isOldVersion(
    path: DepotPath,
    { object, side }: Listed,
    entry: FileEntry | null,
  ): boolean {
    const { manifest } = this.#deps;
    if (manifest.isBuried(object.key)) return !this.#isOfLaterFile(path, object);
    if (side === "primary" || entry !== null) return false;
    const { mtimeNs } = storedVersionOf(object);
    return manifest.tombstonesOf(path).some(({ stored, local }) =>
      stored.mtimeNs >= mtimeNs || local.mtimeNs >= mtimeNs
    );
  }

  /**
   * A lost upload is buried whether or not it ever ended; so its key may have been free, and then a
   * file that was made since has it.
   */
  #isOfLaterFile(path: DepotPath, object: RebuildObject): boolean {
    const { key, sizeBytes } = object;
    const { mtimeNs } = storedVersionOf(object);
    const buried = this.#deps.manifest.tombstonesOf(path)
      .filter(({ stored }) => stored.key === key);
    return buried.length > 0 && buried.every(({ stored }) =>
      stored.hash === null &&
      (stored.sizeBytes !== sizeBytes || stored.mtimeNs !== mtimeNs)
    );
  }

  /** A marker may say that it is the version of a file that was renamed. */
  #putAside(listed: Listed): void {
    const { key, sizeBytes } = listed.object;
    const said = markerText(sizeBytes, storedVersionOf(listed.object).mtimeNs);
    const known = this.others.get(said);
    if (known?.object.key === key) return;
    this.others.set(said, known === undefined ? listed : null);
  }

  async adopt(
    path: DepotPath,
    { object, side }: Listed,
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
        // A store of this instance lists it: what the row named before was another's.
        flags: { borrowed: false, secondaryOnly: side === "secondary" },
        nowS: Math.floor(this.#deps.nowMs() / 1000),
      },
    );
    if (outcome === "applied") this.#tally.changed++;
  }
}
