/**
 * The first step of a rebuild: what the stores list. Each object becomes the stored version of
 * its path, if it is newer than the row's: by what the disk shows, or by the generation that the
 * object was uploaded with.
 *
 * What a row names already is passed over, unless the list or the disk says that the key has been free
 * since the copy, and is another file's by now: then the store is asked for the object.
 *
 * The primary is listed to its end before the secondary: what both have is the primary's, and
 * what a row names is looked for in both. The secondary may be an old primary, or a replica that
 * keeps what was deleted. So what the manifest's copy knows as deleted comes back from there
 * only for a marker, or if it was written later.
 *
 * @module
 */

import { type DepotPath, isManaged, type ObjectKey, pathOfKey } from "../core/names.ts";
import { ListedKeys } from "./listed_keys.ts";
import type { FileEntry, LocalStat, PathAndEntry, Tombstone } from "./manifest.ts";
import { forEachSome, type RebuildDeps, type Tally, vanish } from "./rebuild_run.ts";
import type { LocalThing, RebuildObject, RebuildStore } from "./rebuild_sides.ts";
import {
  chooseVersion,
  hasContentOf,
  isConfirmed,
  isMarkerOfObject,
  isMarkerOfRow,
  isObjectOfRow,
  isOfLaterFile,
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

/** What a row has for its version. */
interface Current extends Listed {
  /** False: no store has it, or none that can be asked; this is the row's own word for it. */
  readonly isThere: boolean;
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
  /** Keys of objects that are not those which the rows mean that name them. */
  readonly #strangers = new Set<ObjectKey>();
  /** What the generations of rows were, of whose files this rebuild found that they are gone. */
  readonly #generations = new Map<DepotPath, number>();

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
      this.#listed.secondary.has(stored.key) && !this.#strangers.has(stored.key);
  }

  /** False: no store has an object for the row. */
  mayBeThere({ stored, flags }: FileEntry): boolean {
    if (stored === null || flags.borrowed) return true;
    if (this.#listed.primary.has(stored.key)) return true;
    // Left out, the secondary has listed nothing.
    const isUnknown = flags.secondaryOnly && this.#deps.secondary === null;
    return isUnknown || this.#listed.secondary.has(stored.key);
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
    const { manifest, depot, manage } = this.#deps;
    // Also of a file that was moved, by what the copy says.
    const named = manifest.rowsNaming(listed.object.key).map((row) => this.#asFound(row));
    if (await this.#isSettled(named, listed) || await this.#isPrimarys(listed)) return;
    const object = await this.#whole(listed);
    if (object === null) return;
    if (named.some(({ entry }) => isObjectOfRow(entry, object))) return;
    if (named.length > 0) this.#strangers.add(object.key);
    const found: Listed = { object, side: listed.side };
    const local = await depot.look(path);
    // The name of a row's object was ours; what somebody else has put there since is not.
    if (!isManaged(path, manage) && local?.kind !== "marker") {
      return this.#tally.find({ kind: "stray", key: object.key });
    }
    const { generation } = object.metadata ?? {};
    // Uploads to come must not look older than this one.
    if (generation !== undefined) await manifest.raiseGenerations(generation);
    let entry = manifest.get(path);
    const isOld = this.#isOldVersion(path, found, entry);
    if (isOld && !isVersionOf(local, object)) return this.#bury(path, found, local);
    if (entry !== null && entry.state !== "clean") {
      // Its upload settles what the store has, if it is the file that was to be uploaded.
      if (local?.kind === "file" && isSameFile(entry.local, local.stat)) {
        return this.#putAside(found);
      }
      this.#generations.set(path, entry.generation);
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

  /** Whether one of the rows that name the object certainly has it still. */
  async #isSettled(
    named: readonly PathAndEntry[],
    { object, side }: Listed,
  ): Promise<boolean> {
    if (named.length === 0) return false;
    if (side === "secondary" && this.#listed.primary.has(object.key)) return true;
    for (const { path, entry } of named) {
      if (isConfirmed(entry, object, await this.#deps.depot.look(path))) return true;
    }
    return false;
  }

  /** With the generation that the copy's row has. */
  #asFound({ path, entry }: PathAndEntry): PathAndEntry {
    const generation = this.#generations.get(path) ?? entry.generation;
    return { path, entry: { ...entry, generation } };
  }

  /** Whether it is to be the row's version, whose own is put aside then. */
  async #isNewer(
    path: DepotPath,
    { object, side }: Listed,
    { entry, local }: { readonly entry: FileEntry; readonly local: LocalThing | null },
  ): Promise<boolean> {
    const current = await this.#currentOf(this.#asFound({ path, entry }).entry, local);
    const inTwoStores = current !== null && current.side !== side;
    const choice = chooseVersion(local, current?.object ?? null, object, inTwoStores);
    if (choice.isGuess) {
      this.#tally.find({ kind: "chosen", path, key: choice.object.key });
    }
    if (choice.object !== object) return false;
    if (current?.isThere) this.#putAside(current);
    return true;
  }

  /** The object that a row names, from whichever store has it; null if it is gone. */
  async #currentOf(entry: FileEntry, local: LocalThing | null): Promise<Current | null> {
    const { secondary } = this.#deps;
    const { key } = entry.stored!;
    let isOthers = false;
    for (const side of ["primary", "secondary"] as const) {
      const object = await this.#storeOf(side)?.head(key) ?? null;
      if (object === null) continue;
      if (isObjectOfRow(entry, object)) return { object, side, isThere: true };
      isOthers = true;
    }
    // Left out, the secondary can not be asked. And what a later file has the key of by now may be
    // older than what is listed, or newer.
    const isUnknown = secondary === null && entry.flags.secondaryOnly;
    if (!isUnknown && !isOthers) return null;
    const side = entry.flags.secondaryOnly ? "secondary" : "primary";
    return { object: wordOf(entry, local), side, isThere: false };
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
    const { mtimeNs } = storedVersionOf(object);
    const buried = manifest.tombstonesNaming(object.key);
    if (buried.length > 0) {
      // Without a number a version is not brought back over the row's by when the store took it.
      const isGuess = entry !== null && object.metadata?.generation === undefined;
      return !buried.every((one) =>
        isOfLaterFile(one, object, isGuess) &&
        // A secondary may hold what was before: all that is known is when the file was written.
        (side === "primary" || one.stored.hash === null || isBefore(one, mtimeNs))
      );
    }
    if (side === "primary" || entry !== null) return false;
    return !manifest.tombstonesOf(path).every((one) => isBefore(one, mtimeNs));
  }

  /**
   * Whether a row has the object for its version, or the copy knows it as replaced or deleted. Either
   * may name its key, and mean an object that was there before.
   */
  isKnown({ object, side }: Listed): boolean {
    return this.isTaken(object) ||
      this.#deps.manifest.tombstonesNaming(object.key).some((one) =>
        side === "secondary" || !isOfLaterFile(one, object, false)
      );
  }

  isTaken(object: RebuildObject): boolean {
    const { mtimeNs } = storedVersionOf(object);
    return this.#deps.manifest.rowsNaming(object.key).some(({ entry: { stored } }) =>
      stored!.mtimeNs === mtimeNs && hasContentOf(stored!, object)
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
    this.#generations.delete(path);
    if (outcome === "applied") this.#tally.changed++;
  }
}

function isBefore({ stored, local }: Tombstone, mtimeNs: bigint): boolean {
  return stored.mtimeNs < mtimeNs && local.mtimeNs < mtimeNs;
}

/** A marker of the row may have the time that its file had, and not the version's. */
function wordOf(entry: FileEntry, local: LocalThing | null): RebuildObject {
  const word = objectOfRow(entry);
  if (local === null || !isMarkerOfRow(entry, local.stat)) return word;
  return { ...word, metadata: { ...word.metadata!, mtimeNs: local.stat.mtimeNs } };
}
