/**
 * One line of an import, checked: what comes out of it, the manifest can hold. A row that it
 * could not would end the import without a word of its line, and take along those that share
 * its commit.
 *
 * @module
 */

import {
  type DepotPath,
  depotPathOrNull,
  KEY_BYTES_MAX,
  objectKeyOf,
} from "../core/names.ts";
import { FORMAT, FORMAT_VERSION } from "./exchange.ts";
import type { FileFlags, FileState, LocalStat, StoredVersion } from "./manifest.ts";
import { NO_FLAGS } from "./row.ts";

const STATES: readonly FileState[] = ["clean", "dirty", "uploading"];
const HASH = /^[0-9a-f]{64}$/;

/** What a marker can say. */
const SIZE_MAX = 2 ** 48 - 1;
/** Of the metadata of objects (src/storage/object_metadata.ts); there is room above it. */
const GENERATION_MAX = 1e15 - 1;
/** The end of the year 9999. */
const SECONDS_MAX = 253_402_300_799;
/** Type and permissions. */
const MODE_MAX = 0o177777;
const U32_MAX = 2 ** 32 - 1;
/** The longest that stores give. */
const VERSION_ID_BYTES_MAX = 1_024;

interface BigRange {
  readonly min: bigint;
  readonly max: bigint;
}

const I64: BigRange = { min: -(2n ** 63n), max: 2n ** 63n - 1n };
const U64: BigRange = { min: 0n, max: 2n ** 64n - 1n };

/** The input is not what an import can take. */
export class ImportError extends Error {
  override readonly name = "ImportError";
  readonly line: number;

  constructor(line: number, why: string) {
    super(`Cannot import line ${line}: ${why}`);
    this.line = line;
  }
}

export interface ImportedRow {
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

export type ImportLine =
  | ImportedRow
  | { readonly type: "header" }
  | { readonly type: "end"; readonly files: number };

/** @throws {ImportError} */
export function parseLine(line: string, number: number, nowS: number): ImportLine {
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
  if (
    reader.text("format", "") !== FORMAT || reader.whole("version", 0) !== FORMAT_VERSION
  ) {
    throw reader.error("format", `"${FORMAT}" version ${FORMAT_VERSION} is wanted`);
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
  const createdAtS = reader.whole("created_at", nowS, SECONDS_MAX);
  return {
    type: "file",
    path,
    state,
    // Without the inode nobody can tell whether the file on the disk is this one.
    resident: hasStat && reader.flag("resident"),
    local,
    createdAtS,
    lastAccessS: reader.whole("last_access", createdAtS, SECONDS_MAX),
    generation: reader.whole("generation", 0, GENERATION_MAX),
    stored,
    flags: reader.flags(),
  };
}

function localOf(reader: FieldReader): LocalStat {
  return {
    sizeBytes: reader.whole("size", null, SIZE_MAX),
    mtimeNs: reader.big("mtime_ns", I64),
    ctimeNs: reader.big("ctime_ns", I64),
    mode: reader.whole("mode", 0o444, MODE_MAX),
    uid: reader.whole("uid", 0, U32_MAX),
    gid: reader.whole("gid", 0, U32_MAX),
    ino: reader.big("ino", U64),
    dev: reader.big("dev", U64),
  };
}

function storedOf(reader: FieldReader, local: LocalStat): StoredVersion | null {
  const key = reader.text("storage_key", "", KEY_BYTES_MAX);
  if (key === "") return null;
  const hash = reader.text("content_hash", "");
  if (hash !== "" && !HASH.test(hash)) {
    throw reader.error("content_hash", "64 lower-case hex digits are wanted");
  }
  const versionId = reader.text("version_id", "", VERSION_ID_BYTES_MAX);
  return {
    key: objectKeyOf(key),
    hash: hash === "" ? null : hash,
    sizeBytes: reader.whole("stored_size", local.sizeBytes, SIZE_MAX),
    mtimeNs: reader.has("stored_mtime_ns")
      ? reader.big("stored_mtime_ns", I64)
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

  text(name: string, otherwise: string, bytesMax = Infinity): string {
    const value = this.#fields[name] ?? otherwise;
    if (typeof value !== "string" || !value.isWellFormed() || value.includes("\0")) {
      throw this.error(name, "a text is wanted");
    }
    if (new TextEncoder().encode(value).length > bytesMax) {
      throw this.error(name, `at most ${bytesMax} bytes are wanted`);
    }
    return value;
  }

  /** `otherwise` null: the field is needed. */
  whole(
    name: string,
    otherwise: number | null,
    max = Number.MAX_SAFE_INTEGER,
  ): number {
    const value = this.#fields[name] ?? otherwise;
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
      throw this.error(name, "a whole number is wanted");
    }
    if (value > max) throw this.error(name, `at most ${max} is wanted`);
    return value;
  }

  /** Larger than JSON numbers hold: as text. */
  big(name: string, { min, max }: BigRange): bigint {
    const value = this.text(name, "0");
    if (!/^-?\d{1,20}$/.test(value)) throw this.error(name, "a number as text is wanted");
    const number = BigInt(value);
    if (number < min || number > max) {
      throw this.error(name, `a number from ${min} to ${max} is wanted`);
    }
    return number;
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
