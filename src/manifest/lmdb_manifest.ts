/**
 * The manifest on disk: a directory with an LMDB environment. Opens it, makes it, refuses
 * what is damaged or newer, and copies it.
 *
 * A new manifest is made beside its place and renamed into it once it is whole, so that a
 * directory which is there always holds one; a file that is missing, empty or without its
 * tables is damage, never a reason to start afresh.
 *
 * @module
 */

import { accessSync, constants, statfsSync } from "node:fs";
import { type Clock, SYSTEM_CLOCK } from "../core/clock.ts";
import type { KeyValueReads } from "./key_value.ts";
import { DATA_FILE, LmdbKeyValue, LOCK_FILE } from "./lmdb_key_value.ts";
import { cannotOpen } from "./lmdb_faults.ts";
import { type Manifest, ManifestError } from "./manifest.ts";
import { ManifestStore } from "./manifest_store.ts";
import { checkPages, checkPagesBesideWriter } from "./page_faults.ts";
import type { NativeReads } from "./page_file.ts";
import { removeIfThere, syncDirectory } from "./directories.ts";
import { migrate } from "./migrate.ts";
import { damaged, ManifestReader } from "./reader.ts";
import {
  firstWrites,
  MIGRATION_FROM,
  olderSchemaOf,
  type Schema,
  SCHEMA_VERSION,
} from "./schema.ts";
import { type ReserveOptions, SpaceReserve, withReserve } from "./space_reserve.ts";

export interface OpenManifestOptions {
  readonly directory: string;
  readonly clock?: Clock;
  /** Changes nothing, and may be used while the daemon writes. Default false. */
  readonly readOnly?: boolean;
  /** Makes the look at all pages fast, which comes first, and the lookups of the only writer. */
  readonly native?: NativeReads;
  /** Room that is kept on the disk for its commits. Default: none. */
  readonly reserve?: Omit<ReserveOptions, "path" | "clock">;
  /** So many rows of an older schema were brought to this one, so far. */
  readonly onMigrated?: (rows: number) => void;
}

/**
 * Opens the manifest in `directory`, or makes one if nothing is there. Whoever opens it
 * for writing must be the only one (the daemon's lock): uploads under way become dirty.
 *
 * @throws {ManifestError} `damaged`, `newer`, `unavailable` (also: nothing is there, and
 * `readOnly`) or `older` (only if `readOnly`): nothing was changed. `full`: what it was brought
 * over of an older schema by then goes on at the next time.
 */
export async function openManifest(
  options: OpenManifestOptions,
): Promise<Manifest> {
  const { directory, clock = SYSTEM_CLOCK, readOnly = false, native, reserve } = options;
  if (!hasManifest(directory)) {
    if (readOnly) {
      throw new ManifestError("unavailable", `There is no manifest in ${directory}`);
    }
    refuseUnfinishedRebuild(directory);
    await makeManifest(directory);
  }
  refuseFilesOfOthers(directory, readOnly);
  const schema = await checkPagesToOpen(directory, { readOnly, native });
  const older = schema === null ? null : olderSchemaOf(schema);
  if (schema !== null && older === null) refuseSchema(schema, directory);
  // The room is beside the manifest, so that a copy of its directory is of it alone.
  const room = reserve === undefined
    ? null
    : new SpaceReserve({ ...reserve, path: `${directory}.reserve`, clock });
  // First of all: a migration may meet a full disk, which only a daemon that serves could end.
  room?.fill();
  const lmdbOptions = { readOnly, create: older !== null, native };
  const lmdb = await openWithRoom(() => LmdbKeyValue.open(directory, lmdbOptions), room);
  const store = room === null ? lmdb : withReserve(lmdb, room);
  try {
    if (older !== null) await migrate(store, older, options.onMigrated);
    checkSchema(store, directory);
    const manifest = new ManifestStore({
      store,
      clock,
      readOnly,
      backup: (target) => copyManifest(lmdb, { directory, target }),
    });
    if (!readOnly) await manifest.recover();
    return manifest;
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Making the tables of a new schema is a commit, too. */
async function openWithRoom(
  open: () => Promise<LmdbKeyValue>,
  room: SpaceReserve | null,
): Promise<LmdbKeyValue> {
  try {
    return await open();
  } catch (error) {
    const isFull = error instanceof ManifestError && error.fault === "full";
    if (!isFull || !room?.use()) throw error;
    return await open();
  }
}

/** @throws {ManifestError} `damaged` if the directory has other things, but not the data. */
export function hasManifest(directory: string): boolean {
  const names = namesIn(directory);
  if (names.length === 0) return false;
  const data = `${directory}/${DATA_FILE}`;
  if (!names.includes(DATA_FILE)) throw damaged(`${data} is missing; the manifest`);
  if (Deno.statSync(data).size === 0) throw damaged(`${data} is empty; the manifest`);
  return true;
}

/** @returns The schema, where nobody else may write. @throws {ManifestError} */
async function checkPagesToOpen(
  directory: string,
  { readOnly, native }: {
    readonly readOnly: boolean;
    readonly native: NativeReads | undefined;
  },
): Promise<Schema | null> {
  try {
    if (!readOnly) return checkPages(directory, native ?? null);
    // What a daemon's later transaction puts on a page is not judged by an earlier one.
    await checkPagesBesideWriter(directory, { native });
    return null;
  } catch (error) {
    if (error instanceof ManifestError) throw error;
    // That the file cannot be had says nothing against what is in it.
    throw cannotOpen(directory, error);
  }
}

/** `lmdb` ends the process where it may not use the file of the locks. */
function refuseFilesOfOthers(directory: string, readOnly: boolean): void {
  const may = (file: string, mode: number): void => {
    const path = `${directory}/${file}`;
    try {
      accessSync(path, mode);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
      throw new ManifestError(
        "unavailable",
        `Cannot use ${path} (${
          error instanceof Error ? error.message : error
        }): run this ` +
          `as the user whose it is (UID ${Deno.statSync(path).uid}), or give it to UID ` +
          `${Deno.uid()}`,
        { cause: error },
      );
    }
  };
  may(DATA_FILE, readOnly ? constants.R_OK : constants.R_OK | constants.W_OK);
  may(LOCK_FILE, constants.R_OK | constants.W_OK);
}

function namesIn(directory: string): string[] {
  try {
    return [...Deno.readDirSync(directory)].map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    const why = error instanceof Error ? error.message : String(error);
    throw new ManifestError(
      "unavailable",
      `Cannot read the directory ${directory}: ${why}`,
      { cause: error },
    );
  }
}

/** What `rebuild-manifest` works on until it is whole. */
export function rebuiltDirectoryOf(directory: string): string {
  return `${directory}.rebuilt`;
}

/** An empty manifest in place of one that is nearly back would forget every file. */
function refuseUnfinishedRebuild(directory: string): void {
  const rebuilt = rebuiltDirectoryOf(directory);
  if (namesIn(rebuilt).length === 0) return;
  throw new ManifestError(
    "unavailable",
    `There is no manifest in ${directory}, but an unfinished one in ${rebuilt}: run ` +
      "`p4-cache rebuild-manifest`, which goes on with it",
  );
}

/** Leaves the whole manifest or nothing at `directory`. */
async function makeManifest(directory: string): Promise<void> {
  const beside = `${directory}.new`;
  await removeIfThere(beside);
  await Deno.mkdir(beside, { recursive: true, mode: 0o700 });
  const store = await LmdbKeyValue.open(beside, { readOnly: false, create: true });
  try {
    await store.commit(firstWrites());
  } finally {
    await store.close();
  }
  await Deno.rename(beside, directory);
  await syncDirectory(directory.replace(/\/[^/]*$/, "") || "/");
}

/** @throws {ManifestError} `damaged` */
export function schemaOfStore(store: KeyValueReads, directory: string): Schema {
  const reader = new ManifestReader(store);
  const [version, from] = [reader.meta("schema_version"), reader.meta(MIGRATION_FROM)];
  return {
    version: schemaNumber(version, directory),
    migrationFrom: from === null ? null : schemaNumber(from, directory),
  };
}

function schemaNumber(text: string | null, directory: string): number {
  const version = Number(text);
  if (text === null || !Number.isSafeInteger(version) || version < 1) {
    throw damaged(`The manifest in ${directory} (schema version ${text})`);
  }
  return version;
}

/** @throws {ManifestError} `damaged`, `newer`, `older` */
export function checkSchema(store: KeyValueReads, directory: string): void {
  refuseSchema(schemaOfStore(store, directory), directory);
}

/** @throws {ManifestError} `newer`, `older` */
function refuseSchema(schema: Schema, directory: string): void {
  const { version, migrationFrom } = schema;
  if (version > SCHEMA_VERSION) {
    throw new ManifestError(
      "newer",
      `Cannot open the manifest in ${directory}: its schema is ${version}, this build ` +
        `reads up to ${SCHEMA_VERSION}; install the p4-cache that wrote it`,
    );
  }
  const older = olderSchemaOf(schema);
  if (older === null) return;
  const what = migrationFrom === null
    ? `its schema is ${older}, which the daemon brings to ${SCHEMA_VERSION} when it starts; ` +
      "start it first"
    : `it is on its way from schema ${older} to ${version}; start the daemon, which goes on ` +
      "with that, or wait until it is ready";
  throw new ManifestError("older", `Cannot read the manifest in ${directory}: ${what}`);
}

/** What a copy leaves to those who write meanwhile, if it goes to their disk. */
const LEFT_BY_COPY_BYTES = 16 * 1024 * 1024;

/** Leaves the whole copy or nothing at `target`. */
async function copyManifest(
  store: LmdbKeyValue,
  { directory, target }: { readonly directory: string; readonly target: string },
): Promise<void> {
  const beside = `${target}.new`;
  await removeIfThere(beside);
  await Deno.mkdir(beside, { recursive: true, mode: 0o700 });
  try {
    const { bavail, bsize } = statfsSync(beside);
    const { size: sizeBytes } = await Deno.stat(`${directory}/${DATA_FILE}`);
    refuseIfFull(target, { sizeBytes, freeBytes: bavail * bsize });
    await store.copyTo(beside);
    const file = await Deno.open(`${beside}/${DATA_FILE}`);
    try {
      await file.sync();
    } finally {
      file.close();
    }
    await syncDirectory(beside);
    await Deno.rename(beside, target);
  } catch (error) {
    // Its part of the disk is wanted by those who write.
    await removeIfThere(beside);
    throw error;
  }
  await syncDirectory(target.replace(/\/[^/]*$/, "") || "/");
}

/** @throws {ManifestError} `full` */
function refuseIfFull(
  target: string,
  { sizeBytes, freeBytes }: { readonly sizeBytes: number; readonly freeBytes: number },
): void {
  if (freeBytes >= sizeBytes + LEFT_BY_COPY_BYTES) return;
  throw new ManifestError(
    "full",
    `Cannot copy the manifest to ${target}: it has ${sizeBytes} bytes, ${freeBytes} ` +
      `are free there, and ${LEFT_BY_COPY_BYTES} must be left`,
  );
}
