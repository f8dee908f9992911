/**
 * Rows as JSON lines, for other systems and other eyes. The format is in docs/formats.md:
 * a header, one line a row, an end line with the count, so that a torn file is noticed.
 *
 * Import takes the lines of an export, and lines that have only what older systems kept
 * (path, size, storage_key, content_hash, state, last_access, created_at). It adds rows and
 * changes none. A file whose content is not known to be the store's becomes dirty or
 * evicted, never resident and clean on an outsider's word.
 *
 * @module
 */

import { type DepotPath, depotPathOrNull, objectKeyOf } from "../core/names.ts";
import type {
  FileEntry,
  FileFlags,
  FileState,
  LocalStat,
  Manifest,
  StoredVersion,
} from "./manifest.ts";
import { NO_FLAGS } from "./row.ts";

const FORMAT = "p4-cache-manifest";
const VERSION = 1;
const PAGE_ROWS = 1_000;
const STATES: readonly FileState[] = ["clean", "dirty", "uploading"];
const HASH = /^[0-9a-f]{64}$/;
/** Rows imported at once: they share the manifest's commits. */
const CONCURRENCY = 256;

/** Header, rows in byte order of their paths, end. Pure ASCII. */
export async function* exportLines(manifest: Manifest): AsyncGenerator<string> {
  yield asciiJson({
    type: "header",
    format: FORMAT,
    version: VERSION,
    instance_id: manifest.meta("instance_id"),
  });
  let count = 0;
  let after: DepotPath | null = null;
  for (;;) {
    const page = manifest.entries("", after, PAGE_ROWS);
    for (const { path, entry } of page) yield asciiJson(fieldsOf(path, entry));
    count += page.length;
    if (page.length < PAGE_ROWS) break;
    after = page.at(-1)!.path;
    await Promise.resolve();
  }
  yield asciiJson({ type: "end", files: count });
}

function fieldsOf(path: DepotPath, entry: FileEntry): Record<string, unknown> {
  const { local, stored, flags } = entry;
  return {
    type: "file",
    path,
    state: entry.state,
    resident: entry.resident,
    size: local.sizeBytes,
    mtime_ns: String(local.mtimeNs),
    ctime_ns: String(local.ctimeNs),
    mode: local.mode,
    uid: local.uid,
    gid: local.gid,
    ino: String(local.ino),
    dev: String(local.dev),
    last_access: entry.lastAccessS,
    created_at: entry.createdAtS,
    generation: entry.generation,
    ...(stored === null ? {} : {
      storage_key: stored.key,
      content_hash: stored.hash,
      stored_size: stored.sizeBytes,
      stored_mtime_ns: String(stored.mtimeNs),
      version_id: stored.versionId,
    }),
    flags: (Object.keys(flags) as (keyof FileFlags)[]).filter((name) => flags[name]),
  };
}

/** JSON with each character above 0x7e as `\u00XX`: paths are one character per byte. */
function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[^\x20-\x7e]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

export interface ImportResult {
  readonly imported: number;
  /** Paths that had a row already; it was left alone. */
  readonly kept: number;
}

/** The input is not what this can take. Rows before the line are imported. */
export class ImportError extends Error {
  override readonly name = "ImportError";
  readonly line: number;

  constructor(line: number, why: string) {
    super(`Cannot import line ${line}: ${why}`);
    this.line = line;
  }
}

export interface ImportOptions {
  /** Checks every line and changes nothing. */
  readonly dryRun: boolean;
  readonly nowS: number;
}

/** @throws {ImportError} */
export async function importLines(
  manifest: Manifest,
  lines: AsyncIterable<string>,
  { dryRun, nowS }: ImportOptions,
): Promise<ImportResult> {
  const running = new Set<Promise<void>>();
  const result = { imported: 0, kept: 0 };
  const accessed = new Map<DepotPath, number>();
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
    if (dryRun) {
      result[manifest.get(parsed.path) === null ? "imported" : "kept"]++;
      continue;
    }
    accessed.set(parsed.path, parsed.lastAccessS);
    const one: Promise<void> = importRow(manifest, parsed).then((isNew) => {
      result[isNew ? "imported" : "kept"]++;
    }).finally(() => running.delete(one));
    running.add(one);
    if (running.size >= CONCURRENCY) await Promise.race(running);
    if (accessed.size >= CONCURRENCY * 4) await flush(manifest, running, accessed);
  }
  await flush(manifest, running, accessed);
  if (ended !== null && ended !== files) {
    throw new ImportError(
      number,
      `the end line says ${ended} files, there were ${files}`,
    );
  }
  return result;
}

async function flush(
  manifest: Manifest,
  running: ReadonlySet<Promise<void>>,
  accessed: Map<DepotPath, number>,
): Promise<void> {
  await Promise.all(running);
  await manifest.accessed(accessed);
  accessed.clear();
}

interface ImportedRow {
  readonly type: "file";
  readonly path: DepotPath;
  readonly state: FileState;
  readonly resident: boolean;
  readonly local: LocalStat;
  readonly lastAccessS: number;
  readonly createdAtS: number;
  /** Uploads of the path until then were numbered below it. */
  readonly generation: number;
  readonly stored: StoredVersion | null;
  readonly flags: FileFlags;
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

// ---- one line ----

type Line =
  | ImportedRow
  | { readonly type: "header" }
  | { readonly type: "end"; readonly files: number };

function parseLine(line: string, number: number, nowS: number): Line {
  let fields: unknown;
  try {
    fields = JSON.parse(line);
  } catch {
    throw new ImportError(number, "it is no JSON");
  }
  if (typeof fields !== "object" || fields === null) {
    throw new ImportError(number, "it is no object");
  }
  const reader = new FieldReader(fields as Record<string, unknown>, number);
  const type = reader.text("type", "file");
  if (type === "end") return { type, files: reader.whole("files", 0) };
  if (type === "file") return parseRow(reader, nowS);
  if (type !== "header") throw reader.error("type", "header, file or end is wanted");
  if (reader.text("format", "") !== FORMAT || reader.whole("version", 0) !== VERSION) {
    throw reader.error("format", `"${FORMAT}" version ${VERSION} is wanted`);
  }
  return { type };
}

function parseRow(reader: FieldReader, nowS: number): ImportedRow {
  const path = depotPathOrNull(reader.text("path", ""));
  if (path === null) throw reader.error("path", "it is no depot path");
  const state = reader.state();
  const hasStat = reader.has("ino") && reader.has("ctime_ns");
  const local = localOf(reader);
  const stored = storedOf(reader, local);
  if (stored === null && state === "clean") {
    throw reader.error("storage_key", "a clean file has one");
  }
  const createdAtS = reader.whole("created_at", nowS);
  return {
    type: "file",
    path,
    state,
    // Without the inode nobody can tell whether the file on the disk is this one.
    resident: hasStat && reader.flag("resident"),
    local,
    createdAtS,
    lastAccessS: reader.whole("last_access", createdAtS),
    generation: reader.whole("generation", 0),
    stored,
    flags: reader.flags(),
  };
}

function localOf(reader: FieldReader): LocalStat {
  return {
    sizeBytes: reader.whole("size", null),
    mtimeNs: reader.big("mtime_ns"),
    ctimeNs: reader.big("ctime_ns"),
    mode: reader.whole("mode", 0o444),
    uid: reader.whole("uid", 0),
    gid: reader.whole("gid", 0),
    ino: reader.big("ino"),
    dev: reader.big("dev"),
  };
}

function storedOf(reader: FieldReader, local: LocalStat): StoredVersion | null {
  const key = reader.text("storage_key", "");
  if (key === "") return null;
  const hash = reader.text("content_hash", "");
  if (hash !== "" && !HASH.test(hash)) {
    throw reader.error("content_hash", "64 lower-case hex digits are wanted");
  }
  const versionId = reader.text("version_id", "");
  return {
    key: objectKeyOf(key),
    hash: hash === "" ? null : hash,
    sizeBytes: reader.whole("stored_size", local.sizeBytes),
    mtimeNs: reader.has("stored_mtime_ns")
      ? reader.big("stored_mtime_ns")
      : local.mtimeNs,
    versionId: versionId === "" ? null : versionId,
  };
}

/** Fields of one line, checked as they are read. Null stands for an absent one. */
class FieldReader {
  readonly #fields: Readonly<Record<string, unknown>>;
  readonly #line: number;

  constructor(fields: Readonly<Record<string, unknown>>, line: number) {
    this.#fields = fields;
    this.#line = line;
  }

  error(name: string, why: string): ImportError {
    return new ImportError(this.#line, `field "${name}": ${why}`);
  }

  has(name: string): boolean {
    return (this.#fields[name] ?? null) !== null;
  }

  text(name: string, otherwise: string): string {
    const value = this.#fields[name] ?? otherwise;
    if (typeof value !== "string" || !value.isWellFormed() || value.includes("\0")) {
      throw this.error(name, "a text is wanted");
    }
    return value;
  }

  /** `otherwise` null: the field is needed. */
  whole(name: string, otherwise: number | null): number {
    const value = this.#fields[name] ?? otherwise;
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
      throw this.error(name, "a whole number is wanted");
    }
    return value;
  }

  /** Larger than JSON numbers hold: as text. */
  big(name: string): bigint {
    const value = this.text(name, "0");
    if (!/^-?\d{1,20}$/.test(value)) throw this.error(name, "a number as text is wanted");
    return BigInt(value);
  }

  flag(name: string): boolean {
    const value = this.#fields[name] ?? false;
    if (typeof value !== "boolean") throw this.error(name, "true or false is wanted");
    return value;
  }

  state(): FileState {
    const value = this.#fields["state"] ?? "clean";
    const state = typeof value === "number"
      ? STATES[value]
      : STATES.find((one) => one === value);
    if (state === undefined) throw this.error("state", `one of ${STATES.join(", ")}`);
    return state;
  }

  flags(): FileFlags {
    const names = this.#fields["flags"] ?? [];
    const known = Object.keys(NO_FLAGS);
    const isRight = Array.isArray(names) && names.every((name) => known.includes(name));
    if (!isRight) throw this.error("flags", `a list of ${known.join(", ")} is wanted`);
    return { ...NO_FLAGS, ...Object.fromEntries(names.map((name) => [name, true])) };
  }
}
