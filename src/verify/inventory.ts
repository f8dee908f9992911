/**
 * The other direction: what the disk, the store and the manifest hold, against what the
 * records name. Finds objects that are gone or of another size, and files, objects and rows
 * that no record names.
 *
 * Everything is sorted on scratch files and merged, so a listing of a hundred million objects
 * takes no more memory than one of ten. Each difference is confirmed by a fresh look at that
 * one path or object, because the lists are hours apart by then.
 *
 * @module
 */

import {
  bytePathOf,
  bytesOf,
  type DepotPath,
  depotPathOrNull,
  isHistory,
  LOCKS,
  pathOfKey,
  RESERVED_DIRECTORY,
} from "../core/names.ts";
import { type CaseRule, foldCase, parseArchiveName } from "../perforce/archive_path.ts";
import { describeType } from "../perforce/file_type.ts";
import { ACTIONS } from "../perforce/rows.ts";
import type { ExpectedObject } from "./outcome_draft.ts";
import { ExternalSorter } from "./external_sort.ts";
import type { Finding } from "./report_types.ts";
import type { Scratch } from "./scratch.ts";
import type {
  ArchiveStore,
  LocalFiles,
  ManifestRow,
  ManifestView,
  StoredObject,
} from "./sources.ts";

export interface InventoryOptions {
  readonly files: LocalFiles;
  readonly manifest: ManifestView | null;
  readonly store: ArchiveStore | null;
  readonly scratch: Scratch;
  readonly caseRule: CaseRule;
  /** Compare the sizes of objects too. */
  readonly checksSize: boolean;
  /** What is younger than this cannot be in the records yet. */
  readonly orphansBeforeMs: number;
  /** Directories below the depot root whose archives are not asked for. */
  readonly skippedDirectories: readonly string[];
}

/** A finding, and what it does to the count of the archive's depot. */
export interface InventoryFinding {
  readonly finding: Finding;
  readonly depot: string;
  /** Archive revisions that were counted ok before, and are not. */
  readonly revisions: number;
}

export interface InventoryCounts {
  /** Unnamed, but too young to be called orphans. */
  young: number;
  /** Objects of superseded or deleted versions, which the daemon will remove. */
  tombstones: number;
  /** Objects whose path cannot be told. */
  unidentified: number;
}

export class Inventory {
  readonly #options: InventoryOptions;
  readonly #names: ExternalSorter;
  readonly #expected: ExternalSorter;
  readonly #objects: ExternalSorter;
  readonly #found: ExternalSorter;
  readonly counts: InventoryCounts = { young: 0, tombstones: 0, unidentified: 0 };

  constructor(options: InventoryOptions) {
    this.#options = options;
    this.#names = new ExternalSorter(options.scratch);
    this.#expected = new ExternalSorter(options.scratch);
    this.#objects = new ExternalSorter(options.scratch);
    this.#found = new ExternalSorter(options.scratch);
  }

  close(): void {
    for (const it of [this.#names, this.#expected, this.#objects, this.#found]) {
      it.close();
    }
  }

  /** Names under which a record's archive may be on disk. */
  addNames(names: readonly string[]): void {
    for (const name of names) this.#names.add(foldCase(name, this.#options.caseRule));
  }

  addExpected(object: ExpectedObject, depot: string): void {
    const { claims, lbrRev } = object.file.revisions[0]!;
    const row = claims.find((claim) => claim.kind !== "storage") ?? claims[0]!;
    let rows = 0;
    for (const revision of object.file.revisions) {
      for (const claim of revision.claims) {
        if (claim.kind !== "storage") rows += claim.rows;
      }
    }
    this.#expected.add([
      bytePathOf(object.key),
      object.sizeBytes,
      object.path,
      depot,
      row.kind === "storage" ? row.lbrFile : row.depotFile,
      row.kind === "storage" ? "" : row.depotRev,
      row.action,
      row.change,
      row.type,
      row.digest,
      lbrRev,
      object.file.revisions.length,
      rows,
    ].join("\0"));
  }

  /** Reads the store's list; resolves with the number of objects. */
  async listStore(onObject: (count: number) => void): Promise<number> {
    for await (const object of this.#options.store!.list()) {
      this.#objects.add(
        [bytePathOf(object.key), object.sizeBytes, object.storedAtMs ?? ""].join("\0"),
      );
      onObject(this.#objects.count);
    }
    return this.#objects.count;
  }

  /** Expected objects against the list. What is in the list alone is kept for later. */
  async *compareStore(): AsyncGenerator<InventoryFinding> {
    const expected = this.#expected.sorted();
    let next = expected.next();
    for (const record of this.#objects.sorted()) {
      const [key, size, storedAt] = record.split("\0") as [string, string, string];
      while (!next.done && keyOf(next.value) < key) {
        yield* this.#confirmObject(next.value);
        next = expected.next();
      }
      let isExpected = false;
      // Two records may rest upon one object.
      while (!next.done && keyOf(next.value) === key) {
        isExpected = true;
        const wanted = next.value.split("\0")[1];
        if (this.#options.checksSize && wanted !== size) {
          yield* this.#confirmObject(next.value);
        }
        next = expected.next();
      }
      await this.#addObject(key, storedAt, isExpected);
    }
    for (; !next.done; next = expected.next()) yield* this.#confirmObject(next.value);
  }

  /** Asks again for one object before anything is said of it. */
  async *#confirmObject(record: string): AsyncGenerator<InventoryFinding> {
    const [, , path, depot, depotFile, depotRev, action, change, type, digest, lbrRev] =
      record.split("\0") as string[];
    const [revisions, rows] = record.split("\0").slice(11).map(Number);
    const name = depotPathOrNull(path!);
    const row = name === null ? null : this.#options.manifest?.get(name) ?? null;
    const stored = row?.stored ?? null;
    // Written, replaced or deleted since.
    if (row === null || stored === null || !row.isClean) return;
    const object = await this.#options.store!.head(stored.key);
    const hasSize = !this.#options.checksSize || object?.sizeBytes === stored.sizeBytes;
    if (object !== null && hasSize) return;
    const what = object === null
      ? "the store has no such object"
      : `the object has ${object.sizeBytes} bytes, ${stored.sizeBytes} were stored`;
    const isRow = depotRev !== "";
    yield {
      depot: depot!,
      revisions: revisions!,
      finding: {
        kind: object === null ? "missing" : "bad",
        depotFile: depotFile!,
        depotRev: isRow ? Number(depotRev) : null,
        action: isRow ? ACTIONS[Number(action)] ?? action! : null,
        change: isRow ? Number(change) : null,
        type: describeType(Number(type)),
        digest: digest === "" ? null : digest!,
        archive: path!,
        archiveRev: lbrRev!,
        rows: rows!,
        wrong: ["store"],
        good: row.isResident ? [{ side: "local", isVerified: false }] : [],
        why: row.isResident ? what : `evicted, and ${what}`,
      },
    };
  }

  async #addObject(key: string, storedAt: string, isExpected: boolean): Promise<void> {
    const text = unicodeKey(key);
    let path = pathOfKey(text);
    if (path === null) {
      const object = isExpected ? null : await this.#options.store!.head(text);
      path = object?.path ?? null;
      if (path === null) {
        if (!isExpected) this.counts.unidentified++;
        return;
      }
    }
    this.#addFound(path, "object", key, storedAt, isExpected ? "expected" : "");
  }

  #addFound(path: string, ...what: string[]): void {
    this.#found.add(
      [foldCase(path, this.#options.caseRule), path, ...what].join("\0"),
    );
  }

  /** Every archive-like file below the depot root. */
  async walkFiles(onFile: (count: number) => void): Promise<void> {
    const { files, skippedDirectories } = this.#options;
    let count = 0;
    const skip = [RESERVED_DIRECTORY, LOCKS, ...skippedDirectories];
    for await (const path of files.walk(skip)) {
      const name = path.slice(path.lastIndexOf("/") + 1);
      // Each device below the root has a directory of ours.
      const isOurs = path.includes(`/${RESERVED_DIRECTORY}/`);
      if (isOurs || parseArchiveName(path) === null) continue;
      if (name.startsWith("tmp.") && !isHistory(name)) continue;
      this.#addFound(path, "file");
      onFile(++count);
    }
  }

  walkManifest(): void {
    if (this.#options.manifest === null) return;
    for (const [path] of this.#options.manifest.entries()) this.#addFound(path, "row");
  }

  /** What was found, and no record names. After all that adds to it. */
  async *orphans(): AsyncGenerator<Finding> {
    const names = this.#names.sorted();
    let name = names.next();
    for (const group of groupByFirst(this.#found.sorted())) {
      while (!name.done && name.value < group.key) name = names.next();
      const isNamed = !name.done && name.value === group.key;
      if (!isNamed) yield* this.#unnamed(group.records);
      else yield* this.#extraVersions(group.records);
    }
  }

  async *#unnamed(records: readonly string[][]): AsyncGenerator<Finding> {
    const path = records[0]![1]!;
    const entry = this.#options.files.lstat(path);
    const row = this.#rowOf(path);
    const objects = records.filter((record) => record[2] === "object");
    if (entry !== null && entry.kind === "file") {
      if (this.#isYoung(entry.mtimeMs)) return;
      yield orphan(path, "no record names this file", row, ["local"]);
    }
    let present = 0;
    for (const record of objects) {
      const object = await this.#confirmUnnamed(path, record);
      if (object === null) continue;
      present++;
      const what = row === null ? "" : "; the manifest has a row for it";
      yield orphan(
        unicodeKey(record[3]!),
        `no record names ${JSON.stringify(path)}, whose object this is${what}`,
        row,
        ["store"],
      );
    }
    if (row === null && entry?.kind === "evicted" && present === 0) {
      if (this.#isYoung(entry.mtimeMs)) return;
      yield orphan(path, "no record and no manifest row names this marker", row, [
        "local",
      ]);
    }
    if (row !== null && entry?.kind !== "file" && present === 0 && objects.length === 0) {
      if (this.#isYoung(row.createdAtMs)) return;
      yield {
        ...orphan(path, "only the manifest has it: no record, no file, no object", row, [
          "manifest",
        ]),
        kind: "stray",
      };
    }
  }

  /** Objects of a path that records do name, but that are not its current version. */
  async *#extraVersions(records: readonly string[][]): AsyncGenerator<Finding> {
    if (this.#options.manifest === null) return;
    for (const record of records) {
      if (record[2] !== "object" || record[5] === "expected") continue;
      const path = record[1]!;
      const object = await this.#confirmUnnamed(path, record);
      if (object === null) continue;
      const row = this.#rowOf(path);
      if (row?.stored?.key === object.key) continue;
      yield orphan(
        object.key,
        `a version of ${JSON.stringify(path)} that the manifest does not know`,
        row,
        ["store"],
      );
    }
  }

  /** The object, if it is still there, old enough, and not about to be removed. */
  async #confirmUnnamed(
    path: string,
    record: readonly string[],
  ): Promise<StoredObject | null> {
    if (record[4] !== "" && this.#isYoung(Number(record[4]))) return null;
    const key = unicodeKey(record[3]!);
    const name = depotPathOrNull(path);
    if (name !== null && this.#options.manifest?.tombstoneKeys(name).includes(key)) {
      this.counts.tombstones++;
      return null;
    }
    return await this.#options.store!.head(key);
  }

  #isYoung(timeMs: number): boolean {
    if (timeMs <= this.#options.orphansBeforeMs) return false;
    this.counts.young++;
    return true;
  }

  #rowOf(path: string): ManifestRow | null {
    const name: DepotPath | null = depotPathOrNull(path);
    return name === null ? null : this.#options.manifest?.get(name) ?? null;
  }
}

/** A key as the store has it, from the bytes by which keys are sorted. */
function unicodeKey(bytes: string): string {
  return new TextDecoder().decode(bytesOf(bytes));
}

function keyOf(record: string): string {
  return record.slice(0, record.indexOf("\0"));
}

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

function* groupByFirst(
  sorted: Iterable<string>,
): Generator<{ key: string; records: string[][] }> {
  let key: string | null = null;
  let records: string[][] = [];
  for (const record of sorted) {
    const fields = record.split("\0");
    if (fields[0] !== key) {
      if (key !== null) yield { key, records };
      key = fields[0]!;
      records = [];
    }
    records.push(fields);
  }
  if (key !== null) yield { key, records };
}
