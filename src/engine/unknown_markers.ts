/**
 * Markers that are not of the row of their name: their files were renamed, linked or copied and
 * nobody told. Which file each stands for nobody knows, and the row that did know may be gone with
 * a delete of the name of before: so as long as they are there, whatever they may stand for stays
 * in the store.
 *
 * What they say of their file is its size, and its time, which `touch` changes. So the sizes are
 * kept, in a table of a fixed length, however many there are: two sizes may share a place in it,
 * which holds an object that could go. Each whole scan finds them anew.
 *
 * @module
 */

import { type BytePath, type DepotPath, displayPath, isManaged } from "../core/names.ts";
import { decodeMarkerAtimeNs } from "../core/marker.ts";
import type { FileEntry } from "../manifest/manifest.ts";
import type { FileStat } from "../posix/posix.ts";
import { absolute, type EngineContext, shown } from "./engine_context.ts";

/** Whether scans have found all that there is to find. */
export interface DepotScans {
  /** One of this session has looked at everything, and none is due or under way. */
  readonly isWhole: () => boolean;
  /** Whether whoever watches is told of renames: else only a scan finds them. */
  readonly areRenamesTold: () => boolean;
  /** Asks for one. */
  readonly request: () => void;
}

/** What a socket says that is no marker of the row of its name. Null: touched, it says nothing. */
export interface UnknownMarker {
  readonly sizeBytes: number | null;
}

/** Of sizes that differ by no multiple of it all are told apart. Two MiB of bits. */
const SIZES = 2 ** 24;

/** What one scan has found, and what was met since. */
class Findings {
  /** When the scan began, by the wall clock. */
  readonly sinceMs: number;
  /** One bit a size; most depots need none. */
  #sizes: Uint8Array | null = null;
  /** The first of those that say no size. */
  unsized: BytePath | null = null;
  unlistedCount = 0;
  unlisted: BytePath | null = null;

  constructor(sinceMs: number) {
    this.sinceMs = sinceMs;
  }

  note(path: BytePath, { sizeBytes }: UnknownMarker): void {
    if (sizeBytes === null) {
      this.unsized ??= path;
      return;
    }
    this.#sizes ??= new Uint8Array(SIZES / 8);
    const place = sizeBytes % SIZES;
    this.#sizes[place >> 3]! |= 1 << (place & 7);
  }

  noteUnlisted(path: BytePath): void {
    this.unlisted ??= path;
    this.unlistedCount += 1;
  }

  hasSize(sizeBytes: number): boolean {
    const place = sizeBytes % SIZES;
    return this.#sizes !== null && (this.#sizes[place >> 3]! & 1 << (place & 7)) !== 0;
  }
}

export class UnknownMarkers {
  /** Of the last whole scan. */
  #known = new Findings(-Infinity);
  /** Of scans under way. */
  readonly #underWay = new Set<Findings>();

  /** A scan begins: to be {@linkcode ended}. */
  begin(nowMs: number): Findings {
    const findings = new Findings(nowMs);
    this.#underWay.add(findings);
    return findings;
  }

  /** What one that was not whole has found counts beside what was known before. */
  ended(findings: Findings, isWhole: boolean): void {
    this.#underWay.delete(findings);
    if (isWhole) this.#known = findings;
  }

  note(path: BytePath, marker: UnknownMarker): void {
    for (const findings of [this.#known, ...this.#underWay]) findings.note(path, marker);
  }

  /** A directory that may not be listed: any marker may be in it. */
  noteUnlisted(path: BytePath): void {
    for (const findings of [this.#known, ...this.#underWay]) findings.noteUnlisted(path);
  }

  /** When the last whole scan began; all that was there before was found. */
  get sinceMs(): number {
    return this.#known.sinceMs;
  }

  /** Whether one may stand for a file of that size. */
  hasSize(sizeBytes: number): boolean {
    return this.#known.hasSize(sizeBytes);
  }

  /** Why each object may be one that a marker stands for; null: not each. */
  get whyAll(): string | null {
    const { unlisted, unlistedCount, unsized } = this.#known;
    if (unlisted !== null) {
      const more = unlistedCount > 1 ? ` and ${unlistedCount - 1} more` : "";
      return `${
        displayPath(unlisted)
      }${more} cannot be listed, and may have the marker ` +
        "of a file that was renamed; let the daemon's user list it";
    }
    if (unsized !== null) {
      return `${
        displayPath(unsized)
      } is a socket that no row knows, and may be the marker ` +
        "of any file; move it out of the depot if it is another program's";
    }
    return null;
  }
}

/** The socket at `path` that is not of the row of that name; null: there is none. */
export function unknownMarkerAt(
  context: EngineContext,
  path: DepotPath,
): UnknownMarker | null {
  const stat = context.posix.lstat(absolute(context, path));
  return stat === null ? null : unknownMarkerOf(context, path, stat);
}

/** What lies at `path`, `stat` if that is known, counts if it is such a socket. */
export function noteUnknownMarker(
  context: EngineContext,
  path: DepotPath,
  stat: FileStat | null = context.posix.lstat(absolute(context, path)),
): void {
  const marker = stat === null ? null : unknownMarkerOf(context, path, stat);
  if (marker === null) return;
  // Where nobody makes a file of ours, a socket that says nothing is somebody else's.
  const isNamedAsOurs = isManaged(path, context.settings().manage);
  if (marker.sizeBytes === null && !isNamedAsOurs) return;
  context.unknownMarkers.note(path, marker);
  // One without a row is told of by who looks at it.
  if (context.manifest.get(path) === null) return;
  context.log.warn("a marker that is not of the row of its name", shown(path));
}

function unknownMarkerOf(
  context: EngineContext,
  path: DepotPath,
  stat: FileStat,
): UnknownMarker | null {
  if (stat.kind !== "socket" || stat.dev !== context.device) return null;
  const sizeBytes = decodeMarkerAtimeNs(stat.atimeNs);
  const { mtimeNs, ino } = stat;
  const entry = context.manifest.get(path);
  if (
    entry !== null && isMarkerOfRow(context, path, entry, { mtimeNs, ino, sizeBytes })
  ) {
    return null;
  }
  return { sizeBytes };
}

/**
 * Whether a marker, or a socket that was one, is of the row of its name: it says the same as the
 * row, or the row or we ourselves know it by its inode, whatever was done to its times.
 */
export function isMarkerOfRow(
  { putBack }: EngineContext,
  path: DepotPath,
  { stored, local, resident, flags }: FileEntry,
  { mtimeNs, ino, sizeBytes }: {
    readonly mtimeNs: bigint;
    readonly ino: bigint;
    readonly sizeBytes: number | null;
  },
): boolean {
  // Its owner may have written it since its marker was made.
  if (flags.borrowed || putBack.has(path, ino)) return true;
  // One that we put back has the times of the row.
  const isOfSize = sizeBytes === null || sizeBytes === stored?.sizeBytes;
  if (stored !== null && isOfSize && mtimeNs === local.mtimeNs) return true;
  return !resident && ino === local.ino &&
    (sizeBytes === null || sizeBytes === local.sizeBytes);
}
