/**
 * Decides whether what no record names is an orphan. Whoever reads that word removes the object,
 * so it is said only of what is known to be of no use: an object that any row of the manifest
 * or any deleted version in its grace has, under whatever name, is none, and whatever cannot be
 * told is counted as doubtful.
 *
 * The lists are hours old by then. So each object is asked for again, and after that, last
 * of all, the manifest.
 *
 * @module
 */

import { bytePathOf, bytesOf, depotPathOrNull, pathOfKey } from "../core/names.ts";
import type { Finding } from "./report_types.ts";
import type { ArchiveStore, LocalFiles, ManifestRow, ManifestView } from "./sources.ts";

export interface OrphanJudgeOptions {
  readonly files: LocalFiles;
  readonly manifest: ManifestView | null;
  readonly store: ArchiveStore | null;
  /** What is younger than this cannot be in the records yet. */
  readonly orphansBeforeMs: number;
  /**
   * When the newest object was stored that both the records and the manifest know. The manifest
   * may be older than the records (a copy, or brought back from one): of newer objects it
   * cannot know.
   */
  readonly newestKnownMs: number;
  readonly counts: InventoryCounts;
}

export interface InventoryCounts {
  /** Unnamed, but too young to be called orphans. */
  young: number;
  /** Objects of superseded or deleted versions, which the daemon will remove. */
  tombstones: number;
  /** Objects whose path cannot be told. */
  unidentified: number;
  /** Unnamed, and not known to be of no use either. */
  doubtful: number;
}

/** An object as it was listed. */
export interface ListedObject {
  /** One character per byte. */
  readonly key: string;
  readonly storedAtMs: number | null;
  /** It is the stored version of an archive that the records name. */
  readonly isExpected: boolean;
}

export class OrphanJudge {
  readonly #options: OrphanJudgeOptions;

  constructor(options: OrphanJudgeOptions) {
    this.#options = options;
  }

  /**
   * The key of the current object of `path`, and the path that it is named after, if that is
   * another: the file was renamed. Records may know it by either name.
   */
  async nameBefore(path: string): Promise<{ path: string; key: string } | null> {
    const key = this.#rowOf(path)?.stored?.key;
    if (key === undefined) return null;
    const before = pathOfKey(key) ?? (await this.#options.store?.head(key))?.path ?? path;
    return before === path ? null : { path: before, key: bytePathOf(key) };
  }

  /**
   * Whether records of then cannot name the path yet. Its objects may be older: an upload keeps one
   * that is there with the same bytes.
   */
  isYoungPath(path: string): boolean {
    const entry = this.#options.files.lstat(path);
    const isHere = entry?.kind === "file" || entry?.kind === "evicted";
    if (isHere && this.#isYoung(entry.mtimeMs)) return true;
    const row = this.#rowOf(path);
    return row !== null && this.#isYoung(row.createdAtMs);
  }

  /** Objects of a path that no record names. Resolves to true if none of them is there. */
  async *objects(
    path: string,
    objects: readonly ListedObject[],
  ): AsyncGenerator<Finding, boolean> {
    let areAbsent = true;
    for (const object of objects) {
      const standing = await this.#standingOf(path, object);
      if (standing !== "absent") areAbsent = false;
      if (standing !== "unnamed") continue;
      const row = this.#rowOf(path);
      const what = row === null ? "" : "; the manifest has a row for it";
      const why = `no record names ${JSON.stringify(path)}, whose object this is${what}`;
      yield orphan(object.key, why, row, ["store"]);
    }
    return areAbsent;
  }

  /** The file, marker or row of a path that no record names. */
  async *fileOrRow(path: string, hasNoObject: boolean): AsyncGenerator<Finding> {
    const { files, manifest, counts } = this.#options;
    const entry = files.lstat(path);
    const row = this.#rowOf(path);
    if (entry?.kind === "file") {
      yield orphan(path, "no record names this file", row, ["local"]);
    } else if (hasNoObject && row === null && entry?.kind === "evicted") {
      const what = manifest === null ? "no record names" : "no record and no row names";
      yield orphan(path, `${what} this marker`, row, ["local"]);
    } else if (hasNoObject && row !== null) {
      if (await this.#hasObject(row)) counts.doubtful++;
      else yield stray(path, row);
    }
  }

  /** In whatever store. */
  async #hasObject({ isElsewhere, stored }: ManifestRow): Promise<boolean> {
    if (isElsewhere) return true;
    const { store } = this.#options;
    return stored !== null && store !== null && await store.head(stored.key) !== null;
  }

  /** Objects of a path that records do name, but that are not its current version. */
  async *versions(
    path: string,
    objects: readonly ListedObject[],
  ): AsyncGenerator<Finding> {
    for (const object of objects) {
      if (await this.#standingOf(path, object) !== "unnamed") continue;
      const row = this.#rowOf(path);
      if (row?.stored?.key === unicodeKey(object.key)) continue;
      if (row === null || row.stored === null || !row.isClean) {
        // It may be the current one, or the one that an upload finds in its place.
        this.#options.counts.doubtful++;
        continue;
      }
      const why = `a version of ${JSON.stringify(path)} that the manifest does not know`;
      // The row is right: it has another version.
      yield orphan(object.key, why, null, ["store"]);
    }
  }

  async #standingOf(
    path: string,
    object: ListedObject,
  ): Promise<"absent" | "kept" | "unnamed"> {
    const { store, counts, newestKnownMs } = this.#options;
    if (object.isExpected || store === null) return "kept";
    if (object.storedAtMs !== null && this.#isYoung(object.storedAtMs)) return "kept";
    const key = unicodeKey(object.key);
    const found = await store.head(key);
    if (found === null) return "absent";
    const times = [object.storedAtMs, found.storedAtMs].filter((it) => it !== null);
    if (times.some((it) => this.#isYoung(it))) return "kept";
    if (times.length === 0 || Math.max(...times) > newestKnownMs) {
      counts.doubtful++;
      return "kept";
    }
    return this.#isKept(path, key) ? "kept" : "unnamed";
  }

  /** By a row of another path, or for its grace. */
  #isKept(path: string, key: string): boolean {
    const { manifest, counts } = this.#options;
    if (manifest === null) {
      counts.doubtful++;
      return true;
    }
    const isAnothers = (): boolean => manifest.pathsOf(key).some((it) => it !== path);
    if (isAnothers()) return true;
    if (manifest.isInGrace(key)) {
      counts.tombstones++;
      return true;
    }
    // It may have come back from its grace in between.
    return isAnothers();
  }

  #isYoung(timeMs: number): boolean {
    if (timeMs <= this.#options.orphansBeforeMs) return false;
    this.#options.counts.young++;
    return true;
  }

  #rowOf(path: string): ManifestRow | null {
    const name = depotPathOrNull(path);
    return name === null ? null : this.#options.manifest?.get(name) ?? null;
  }
}

/** A key as the store has it, from the bytes by which keys are sorted. */
export function unicodeKey(bytes: string): string {
  return new TextDecoder().decode(bytesOf(bytes));
}

/** @param archive Path, or key of an object, one character per byte. */
function orphan(
  archive: string,
  why: string,
  row: ManifestRow | null,
  wrong: Finding["wrong"],
): Finding {
  return {
    kind: "orphan",
    depotFile: "",
    depotRev: null,
    action: null,
    change: null,
    type: null,
    digest: null,
    archive,
    archiveRev: null,
    rows: 0,
    wrong: row === null || wrong.includes("manifest") ? wrong : [...wrong, "manifest"],
    good: [],
    why,
  };
}

function stray(path: string, row: ManifestRow): Finding {
  const why = "only the manifest has it: no record, no file, no object";
  return { ...orphan(path, why, row, ["manifest"]), kind: "stray" };
}
