/**
 * Import takes the lines of an export, and lines that have only what older systems kept
 * (path, size, storage_key, content_hash, state, last_access, created_at). It adds rows and
 * changes none. A file whose content is not known to be the store's becomes dirty or
 * evicted, never resident and clean on an outsider's word: local_here.ts.
 *
 * @module
 */

import { type DepotPath, isManaged, type ManagePolicy } from "../core/names.ts";
import { type ImportedRow, ImportError, parseLine } from "./import_line.ts";
import { localHere } from "./local_here.ts";
import type { Manifest } from "./manifest.ts";
import type { LocalThing } from "./rebuild_sides.ts";

/** Rows imported at once: they share the manifest's commits. */
const CONCURRENCY = 256;

export interface ImportResult {
  readonly imported: number;
  /** Paths that had a row already; it was left alone. */
  readonly kept: number;
  /** Lines that were left out, because their names are not managed, and the first of them. */
  readonly unmanaged: number;
  readonly firstUnmanagedLine: number | null;
}

export interface ImportOptions {
  /** Checks every line and changes nothing. */
  readonly dryRun: boolean;
  readonly nowS: number;
  readonly manage: ManagePolicy;
  /** What lies at a path of the depot that the rows are for. Null: nothing, or nobody knows. */
  readonly look: (path: DepotPath) => LocalThing | null;
}

/** @throws {ImportError} Rows before the line are imported. */
export async function importLines(
  manifest: Manifest,
  lines: AsyncIterable<string>,
  options: ImportOptions,
): Promise<ImportResult> {
  const rows = new RowImport(manifest, options);
  try {
    await takeLines(rows, lines, options);
  } catch (error) {
    // What is under way still needs the manifest.
    await rows.end().catch(() => {});
    throw error;
  }
  await rows.end();
  return rows;
}

async function takeLines(
  rows: RowImport,
  lines: AsyncIterable<string>,
  { nowS, manage }: ImportOptions,
): Promise<void> {
  let number = 0;
  let files = 0;
  let ended: number | null = null;
  for await (const line of lines) {
    number++;
    if (line.trim() === "") continue;
    if (ended !== null) throw new ImportError(number, "there is more after the end line");
    const parsed = parseLine(line, number, nowS);
    if (parsed.type === "header") continue;
    if (parsed.type === "end") {
      ended = parsed.files;
      continue;
    }
    files++;
    if (isManaged(parsed.path, manage)) await rows.add(parsed, number);
    else rows.leaveOut(number);
  }
  if (ended !== null && ended !== files) {
    throw new ImportError(
      number,
      `the end line says ${ended} files, there were ${files}`,
    );
  }
}

/** Imports some at a time. The first that fails ends it. */
class RowImport implements ImportResult {
  imported = 0;
  kept = 0;
  unmanaged = 0;
  firstUnmanagedLine: number | null = null;
  readonly #manifest: Manifest;
  readonly #dryRun: boolean;
  readonly #look: ImportOptions["look"];
  readonly #running = new Set<Promise<void>>();
  readonly #accessed = new Map<DepotPath, number>();
  #totalBytes: number;
  #failed: { readonly error: unknown } | null = null;

  constructor(manifest: Manifest, { dryRun, look }: ImportOptions) {
    this.#manifest = manifest;
    this.#dryRun = dryRun;
    this.#look = look;
    this.#totalBytes = manifest.counters().totalBytes;
  }

  leaveOut(line: number): void {
    this.unmanaged++;
    this.firstUnmanagedLine ??= line;
  }

  async add(row: ImportedRow, line: number): Promise<void> {
    this.#throwFirst();
    this.#totalBytes += row.local.sizeBytes;
    if (this.#totalBytes > Number.MAX_SAFE_INTEGER) {
      throw new ImportError(
        line,
        "all files until here have more bytes than can be counted",
      );
    }
    if (this.#dryRun) {
      this[this.#manifest.get(row.path) === null ? "imported" : "kept"]++;
      return;
    }
    this.#accessed.set(row.path, row.lastAccessS);
    const here = localHere(row, this.#look(row.path));
    const one: Promise<void> = importRow(this.#manifest, here)
      .then((isNew) => void this[isNew ? "imported" : "kept"]++)
      .catch((error) => void (this.#failed ??= { error }))
      .finally(() => this.#running.delete(one));
    this.#running.add(one);
    if (this.#running.size >= CONCURRENCY) await Promise.race(this.#running);
    if (this.#accessed.size >= CONCURRENCY * 4) await this.end();
  }

  /** Resolves when everything that was added is durable. */
  async end(): Promise<void> {
    await Promise.all(this.#running);
    this.#throwFirst();
    await this.#manifest.accessed(this.#accessed);
    this.#accessed.clear();
  }

  #throwFirst(): void {
    if (this.#failed !== null) throw this.#failed.error;
  }
}

/** Whether the row is new. */
async function importRow(manifest: Manifest, row: ImportedRow): Promise<boolean> {
  const { path, stored, local, flags } = row;
  await manifest.raiseGenerations(row.generation);
  const isClean = row.state === "clean";
  if (stored !== null) {
    const { outcome } = await manifest.apply(path, "absent", {
      kind: "adopted",
      stored,
      stat: local,
      resident: isClean && row.resident,
      flags,
      nowS: row.createdAtS,
    });
    if (outcome === "stale") return false;
    if (isClean) return true;
  }
  const expected = stored === null ? "absent" : "any";
  const { outcome } = await manifest.apply(path, expected, {
    kind: "written",
    stat: local,
    nowS: row.createdAtS,
  });
  if (outcome === "applied" && stored === null) {
    await manifest.apply(path, "any", { kind: "flagged", flags });
  }
  return outcome === "applied";
}
