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

import { bytePathOf, depotPathOrNull, pathOfKey } from "../core/names.ts";
import { type CaseRule, foldCase } from "../perforce/archive_path.ts";
import { describeType } from "../perforce/file_type.ts";
import { ACTIONS } from "../perforce/rows.ts";
import { ExternalSorter } from "./external_sort.ts";
import type { JudgedNames } from "./judged_names.ts";
import {
  type InventoryCounts,
  type ListedObject,
  OrphanJudge,
  unicodeKey,
} from "./orphan_judge.ts";
import type { ExpectedObject } from "./outcome_draft.ts";
import type { Finding } from "./report_types.ts";
import type { Scratch } from "./scratch.ts";
import type { ArchiveStore, LocalFiles, ManifestView } from "./sources.ts";

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
  readonly judged: JudgedNames;
}

/** A finding, and what it does to the count of the archive's depot. */
export interface InventoryFinding {
  readonly finding: Finding;
  readonly depot: string;
  /** Archive revisions that were counted ok before, and are not. */
  readonly revisions: number;
}

export class Inventory {
  readonly #options: InventoryOptions;
  readonly #names: ExternalSorter;
  readonly #expected: ExternalSorter;
  readonly #objects: ExternalSorter;
  readonly #found: ExternalSorter;
  /** Unnamed files with objects of other names, by those. */
  readonly #renamed: ExternalSorter;
  #newestKnownMs = -Infinity;
  readonly counts: InventoryCounts = {
    young: 0,
    tombstones: 0,
    unidentified: 0,
    doubtful: 0,
  };

  constructor(options: InventoryOptions) {
    this.#options = options;
    this.#names = new ExternalSorter(options.scratch);
    this.#expected = new ExternalSorter(options.scratch);
    this.#objects = new ExternalSorter(options.scratch);
    this.#found = new ExternalSorter(options.scratch);
    this.#renamed = new ExternalSorter(options.scratch);
  }

  close(): void {
    this.#names.close();
    this.#expected.close();
    this.#objects.close();
    this.#found.close();
    this.#renamed.close();
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
      if (isExpected && storedAt !== "") {
        this.#newestKnownMs = Math.max(this.#newestKnownMs, Number(storedAt));
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
    this.addDoubt([path!]);
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
    if (!this.#options.judged.has(path)) return;
    this.#found.add(
      [foldCase(path, this.#options.caseRule), path, ...what].join("\0"),
    );
  }

  /** Something is wrong with an archive: no version of it is of no use. */
  addDoubt(names: readonly string[]): void {
    for (const name of names) this.#addFound(name, "doubt");
  }

  /** Every archive-like file below the depot root. */
  async walkFiles(onFile: (count: number) => void): Promise<void> {
    const { files, judged } = this.#options;
    let count = 0;
    for await (const path of files.walk(judged.directoriesLeftOut())) {
      if (!judged.has(path)) continue;
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
    const { counts } = this;
    const judge = new OrphanJudge({
      ...this.#options,
      newestKnownMs: this.#newestKnownMs,
      counts,
    });
    for (const { path, records, isNamed } of this.#paths(this.#found)) {
      const objects = records.filter((record) => record[2] === "object").map(objectOf);
      const hasFault = records.some((record) => record[2] === "doubt");
      if (!isNamed) yield* this.#unnamed(judge, path, objects);
      else if (!hasFault) yield* judge.versions(path, objects);
      else counts.doubtful += objects.filter(({ isExpected }) => !isExpected).length;
    }
    // By the names that they had before: one that records name is a file that has been renamed
    // since they were written.
    for (const { path, records, isNamed } of this.#paths(this.#renamed)) {
      if (isNamed) counts.doubtful++;
      else yield* this.#judgeAll(judge, path, records.map(objectOf));
    }
  }

  async *#unnamed(
    judge: OrphanJudge,
    path: string,
    objects: readonly ListedObject[],
  ): AsyncGenerator<Finding> {
    if (judge.isYoungPath(path)) return;
    const before = await judge.nameBefore(path);
    if (before === null) return yield* this.#judgeAll(judge, path, objects);
    yield* judge.objects(path, objects);
    if (!this.#options.judged.has(before.path)) {
      this.counts.doubtful++;
      return;
    }
    const folded = foldCase(before.path, this.#options.caseRule);
    this.#renamed.add([folded, path, "object", before.key, "", ""].join("\0"));
  }

  async *#judgeAll(
    judge: OrphanJudge,
    path: string,
    objects: readonly ListedObject[],
  ): AsyncGenerator<Finding> {
    const hasNoObject = yield* judge.objects(path, objects);
    yield* judge.fileOrRow(path, hasNoObject);
  }

  /** The records of each path, and whether the name that they are sorted by is a record's. */
  *#paths(
    sorter: ExternalSorter,
  ): Generator<{ path: string; records: string[][]; isNamed: boolean }> {
    const names = this.#names.sorted();
    let name = names.next();
    for (const group of groupByFirst(sorter.sorted())) {
      while (!name.done && name.value < group.key) name = names.next();
      const isNamed = !name.done && name.value === group.key;
      const byPath = Map.groupBy(group.records, (record) => record[1]!);
      for (const [path, records] of byPath) yield { path, records, isNamed };
    }
  }
}

/** A record of an object. */
function objectOf([, , , key, storedAt, expected]: readonly string[]): ListedObject {
  return {
    key: key!,
    storedAtMs: storedAt === "" ? null : Number(storedAt),
    isExpected: expected === "expected",
  };
}

function keyOf(record: string): string {
  return record.slice(0, record.indexOf("\0"));
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
