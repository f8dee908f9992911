/**
 * The last step of a rebuild: markers that are not of the row of their name. Files were renamed
 * after the manifest's copy, or the copy is older than the version that a marker stands for.
 *
 * A marker says the size and the time of its file, to the nanosecond. The one row of an evicted
 * file that says the same, and whose own name has no marker of it, moves to the marker's name; or
 * the one version that no row has. Where none says the same, the size alone may do, if nothing else
 * has it. Any other marker is reported, and what is known of its name stays: a restore refuses a
 * marker of another size or time.
 *
 * What is kept here is as much as there are such markers: the rows are gone through once more,
 * whose own markers may be missing by the million.
 *
 * @module
 */

import {
  type DepotPath,
  firstVersionOf,
  isManaged,
  type ManagePolicy,
  pathOfKey,
} from "../core/names.ts";
import type {
  FileEntry,
  FileFlags,
  LocalStat,
  PathAndEntry,
  StoredVersion,
} from "./manifest.ts";
import { isMarkerOfRow, isSameFile, markerText } from "./rebuild_choice.ts";
import type { RebuildObjects } from "./rebuild_objects.ts";
import { forEachSome, type RebuildDeps, rowsOf, type Tally } from "./rebuild_run.ts";
import type { LocalThing } from "./rebuild_sides.ts";
import { NO_INODE } from "./transitions.ts";

interface Marker {
  readonly path: DepotPath;
  readonly stat: LocalStat;
}

/** What a marker may stand for. */
interface Match {
  /** Of the row. */
  readonly path: DepotPath;
  /** The row's name has nothing, or another's marker: it moves. Else the name has a file again. */
  readonly isLeft: boolean;
  readonly isAbsent: boolean;
  /** Nothing as large is at its name. */
  readonly isMissing: boolean;
  readonly stored: StoredVersion;
  readonly flags: Pick<FileFlags, "borrowed" | "secondaryOnly">;
}

/** The row of `match` belongs to the name of `marker`. */
interface Move {
  readonly marker: Marker;
  readonly match: Match;
}

/** Of one marker: two matches are as good as a thousand. */
const MATCHES_MAX = 2;

export class LooseMarkers {
  readonly #deps: RebuildDeps;
  readonly #objects: RebuildObjects;
  readonly #tally: Tally;
  /** By what they say. */
  readonly #markers = new Map<string, Marker[]>();
  /** By the size of a loose marker, how many evicted files of it have no marker of that size. */
  readonly #missing = new Map<number, number>();
  #otherNames: Map<number, DepotPath | null> | null = null;

  constructor(deps: RebuildDeps, objects: RebuildObjects, tally: Tally) {
    this.#deps = deps;
    this.#objects = objects;
    this.#tally = tally;
  }

  /** A marker at a name without a row, or with that of another version. */
  add(path: DepotPath, stat: LocalStat): void {
    const said = markerText(stat.sizeBytes, stat.mtimeNs);
    const same = this.#markers.get(said);
    if (same === undefined) this.#markers.set(said, [{ path, stat }]);
    else same.push({ path, stat });
    this.#missing.set(stat.sizeBytes, 0);
  }

  /** Once all of them are known. */
  async settle(signal?: AbortSignal): Promise<void> {
    if (this.#markers.size === 0) return;
    const matches = await this.#matches(signal);
    const moves = new Map<DepotPath, Move>();
    const versions: Move[] = [];
    const ofObjects: Marker[] = [];
    const unmatched: Marker[] = [];
    const unsure: Marker[] = [];
    for (const [said, [marker, ...others]] of this.#markers) {
      const [match, second] = matches.get(said) ?? [];
      if (others.length > 0 || second !== undefined) unsure.push(marker!, ...others);
      else if (match === undefined) {
        (this.#objects.others.has(said) ? ofObjects : unmatched).push(marker!);
      } else if (match.isLeft) moves.set(match.path, { marker: marker!, match });
      else versions.push({ marker: marker!, match });
    }
    const sizes = new Set([...unmatched, ...unsure].map(({ stat }) => stat.sizeBytes));
    await forEachSome(chainsOf(moves, signal), (chain) => this.#moveChain(chain, sizes));
    await forEachSome(oneByOne(versions, signal), (move) => this.#takeVersion(move));
    await forEachSome(
      oneByOne(ofObjects, signal),
      (marker) => this.#takeObject(marker, sizes),
    );
    await forEachSome(oneByOne(unmatched, signal), (marker) => this.#takeOther(marker));
    await forEachSome(oneByOne(unsure, signal), (marker) => this.#report(marker));
  }

  /** Rows that some of the markers may be of, by what those say. */
  async #matches(signal?: AbortSignal): Promise<Map<string, Match[]>> {
    const matches = new Map<string, Match[]>();
    const { depot, manage } = this.#deps;
    for await (const { path, entry } of rowsOf(this.#deps, signal)) {
      if (entry.stored === null || !this.#missing.has(entry.stored.sizeBytes)) continue;
      const match = matchOf({ path, entry }, await depot.look(path), manage);
      if (match === null) continue;
      if (match.isMissing) this.#countMissing(match.stored.sizeBytes, 1);
      const said = this.#wantedBy(entry);
      const known = matches.get(said ?? "") ?? [];
      if (said !== null && known.length < MATCHES_MAX) {
        matches.set(said, [...known, match]);
      }
    }
    return matches;
  }

  #countMissing(sizeBytes: number, by: 1 | -1): void {
    this.#missing.set(sizeBytes, (this.#missing.get(sizeBytes) ?? 0) + by);
  }

  /** The file of the row was replaced by that of the marker at its name. */
  #forget(replaced: FileEntry | null, { stat }: Marker): void {
    const sizeBytes = replaced?.stored?.sizeBytes ?? stat.sizeBytes;
    if (sizeBytes !== stat.sizeBytes) this.#countMissing(sizeBytes, -1);
  }

  /**
   * Whether no other file than that of the name, and no other object that is not known as replaced
   * or deleted, is as large as the marker and has none: it might be of that one, touched.
   */
  #isAloneWithSize({ path, stat: { sizeBytes } }: Marker): boolean {
    if ((this.#missing.get(sizeBytes) ?? 0) > 0) return false;
    this.#otherNames ??= this.#namesOfOthers();
    const other = this.#otherNames.get(sizeBytes);
    return other === undefined || other === path;
  }

  /** By their size, the name of the objects that no row has; null: it is not one, or not known. */
  #namesOfOthers(): Map<number, DepotPath | null> {
    const names = new Map<number, DepotPath | null>();
    for (const [said, listed] of this.#objects.others) {
      const sizeBytes = listed?.object.sizeBytes ?? Number(said.split(" ", 1)[0]);
      if (!this.#missing.has(sizeBytes)) continue;
      if (listed !== null && this.#objects.isKnown(listed)) continue;
      const name = listed === null ? null : pathOfKey(firstVersionOf(listed.object.key));
      const isSame = !names.has(sizeBytes) || names.get(sizeBytes) === name;
      names.set(sizeBytes, isSame ? name : null);
    }
    return names;
  }

  /** What the marker of the row's version says, if there is such a loose one. */
  #wantedBy({ stored, local, state, resident }: FileEntry): string | null {
    if (stored === null) return null;
    const times = state === "clean" && !resident
      ? [local.mtimeNs, stored.mtimeNs]
      : [stored.mtimeNs];
    for (const mtimeNs of times) {
      const said = markerText(stored.sizeBytes, mtimeNs);
      if (this.#markers.has(said)) return said;
    }
    return null;
  }

  /**
   * The last one first, so that each finds its name free; in a circle two at a time trade places.
   * A row that stands where the last one goes is of a file that was replaced, as a rename replaces
   * it; unless its own marker may be one of those that nobody knows, of these `sizes`.
   */
  async #moveChain(chain: readonly Move[], sizes: ReadonlySet<number>): Promise<void> {
    const { manifest, nowMs } = this.#deps;
    const first = chain[0]!.match.path;
    const last = chain.at(-1)!;
    if (last.marker.path === first) {
      for (const { marker } of chain.slice(0, -1)) {
        await manifest.exchange(first, marker.path);
      }
      for (const move of chain) await this.#moved(move);
      return;
    }
    const replaced = manifest.get(last.marker.path);
    if (replaced !== null && sizes.has(replaced.stored?.sizeBytes ?? -1)) {
      for (const { marker } of chain) await this.#report(marker);
      return;
    }
    this.#forget(replaced, last.marker);
    for (const move of chain.toReversed()) {
      await manifest.move(move.match.path, move.marker.path, nowMs());
      await this.#moved(move);
    }
  }

  async #moved({ marker, match }: Move): Promise<void> {
    this.#tally.changed++;
    if (match.isAbsent) this.#tally.absent--;
    if (match.isMissing) this.#countMissing(match.stored.sizeBytes, -1);
    this.#tally.find({ kind: "moved", path: marker.path, from: match.path });
    await this.#know(marker);
  }

  /** The row of the name is of this marker from now on. */
  async #know({ path, stat }: Marker): Promise<void> {
    const { manifest } = this.#deps;
    const entry = manifest.get(path);
    if (entry === null) return;
    await manifest.apply(path, entry.generation, { kind: "attributes", stat });
  }

  /** The name of its row has a new file by now: the row's version is of the marker, too. */
  async #takeVersion({ marker: { path, stat }, match }: Move): Promise<void> {
    const { manifest, nowMs } = this.#deps;
    const nowS = Math.floor(nowMs() / 1000);
    const { stored, flags } = match;
    const { borrowed, secondaryOnly } = flags;
    const { outcome } = await manifest.apply(
      path,
      manifest.get(path)?.generation ?? "absent",
      {
        kind: "adopted",
        stored,
        stat,
        resident: false,
        flags: { borrowed, secondaryOnly },
        nowS,
      },
    );
    if (outcome !== "applied") return;
    this.#tally.changed++;
    this.#tally.find({ kind: "moved", path, from: match.path });
  }

  /** No row says the same, but objects that no row has, under whatever name. */
  async #takeObject(marker: Marker, sizes: ReadonlySet<number>): Promise<void> {
    const { manifest } = this.#deps;
    const { path, stat } = marker;
    const listed = this.#objects.others.get(markerText(stat.sizeBytes, stat.mtimeNs));
    if (!listed || this.#objects.isTaken(listed.object)) {
      return await this.#report(marker);
    }
    const entry = manifest.get(path);
    this.#forget(entry, marker);
    await this.#objects.adopt(path, listed, { entry, stat });
    const from = await this.#objects.pathOf(listed) ?? path;
    this.#tally.find({ kind: "moved", path, from });
    if (entry !== null && from !== path) await this.#bury(path, entry, sizes);
  }

  /**
   * Replaced by a rename, as in {@linkcode #moveChain}: nothing else would tell a later rebuild
   * that it is not the newest under this name.
   */
  async #bury(
    path: DepotPath,
    { stored, local, flags }: FileEntry,
    sizes: ReadonlySet<number>,
  ): Promise<void> {
    if (stored === null || flags.borrowed || flags.secondaryOnly) return;
    if (sizes.has(stored.sizeBytes)) return;
    await this.#deps.manifest.orphaned(path, stored, local);
  }

  /** Nothing says the same: the version of its own name, of which only the size is as it was. */
  async #takeOther(marker: Marker): Promise<void> {
    const { manifest } = this.#deps;
    const { path, stat } = marker;
    const entry = manifest.get(path);
    const known = this.#objects.maybeBack.get(path) ?? null;
    const back = known === null || this.#objects.isTaken(known.object) ? null : known;
    const isAlone = this.#isAloneWithSize(marker);
    if (entry === null && back !== null && isAlone) {
      return await this.#objects.adopt(path, back, { entry, stat });
    }
    // Where an earlier version of the size is there, it may be of either.
    const isRows = entry !== null && back === null && this.#objects.mayBeThere(entry) &&
      mayBeMarkerOf(entry, stat, isAlone);
    await (isRows ? this.#know(marker) : this.#report(marker));
  }

  async #report({ path }: Marker): Promise<void> {
    const { manifest } = this.#deps;
    const entry = manifest.get(path);
    if (entry === null) return this.#tally.find({ kind: "no-object", path });
    this.#tally.find({ kind: "other-marker", path });
    // The number may be another's by now. Nothing else makes a restore trust the marker.
    if (entry.local.ino === NO_INODE) return;
    const local = { ...entry.local, ino: NO_INODE };
    await manifest.apply(path, entry.generation, { kind: "attributes", stat: local });
  }
}

async function* oneByOne<T>(
  items: readonly T[],
  signal?: AbortSignal,
): AsyncGenerator<T> {
  for (const item of items) {
    signal?.throwIfAborted();
    yield await Promise.resolve(item);
  }
}

/** Moves that are in each other's way, each onto the name that the next one leaves. */
async function* chainsOf(
  moves: ReadonlyMap<DepotPath, Move>,
  signal?: AbortSignal,
): AsyncGenerator<readonly Move[]> {
  const targets = new Set([...moves.values()].map(({ marker }) => marker.path));
  const heads = [...moves.keys()].filter((path) => !targets.has(path));
  const seen = new Set<Move>();
  // What no head leads to are circles.
  for (const start of [...heads, ...moves.keys()]) {
    signal?.throwIfAborted();
    const chain: Move[] = [];
    for (let move = moves.get(start); move !== undefined && !seen.has(move);) {
      seen.add(move);
      chain.push(move);
      move = moves.get(move.marker.path);
    }
    if (chain.length > 0) yield await Promise.resolve(chain);
  }
}

/** Null: the row has what it says, and is not what a loose marker stands for. */
function matchOf(
  { path, entry }: PathAndEntry,
  local: LocalThing | null,
  manage: ManagePolicy,
): Match | null {
  const { stored, flags, state, resident } = entry;
  const match = { path, stored: stored!, flags };
  if (local?.kind === "file") {
    if (state === "clean" && resident && isSameFile(entry.local, local.stat)) return null;
    // It is the version itself, as far as that can be seen.
    if (isMarkerOfRow(entry, local.stat)) return null;
    return { ...match, isLeft: false, isAbsent: false, isMissing: false };
  }
  if (state !== "clean" || resident) return null;
  if (local !== null && isMarkerOfRow(entry, local.stat)) return null;
  return {
    ...match,
    isLeft: true,
    isAbsent: local === null && isManaged(path, manage),
    isMissing: local?.stat.sizeBytes !== stored!.sizeBytes,
  };
}

/**
 * Where nothing else is known that the marker could be of: the row never knew one; or this very one,
 * touched, unless another one has got its number. Or the file is another instance's, which may have
 * written it since.
 */
function mayBeMarkerOf(
  { stored, local, flags }: FileEntry,
  marker: LocalStat,
  isAlone: boolean,
): boolean {
  if (flags.borrowed) return true;
  const wasUnknown = local.ino === NO_INODE && local.ctimeNs === 0n;
  return isAlone && stored?.sizeBytes === marker.sizeBytes &&
    (wasUnknown || local.ino === marker.ino);
}
