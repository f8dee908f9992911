/**
 * The whole check of a manifest on disk, read-only: the pages of its file, then its
 * tables. May run while the daemon writes.
 *
 * @module
 */

import { nextTurn } from "../core/turns.ts";
import { type Fault, tableFaults } from "./check.ts";
import { DATA_FILE, LmdbKeyValue } from "./lmdb_key_value.ts";
import { ManifestError } from "./manifest.ts";
import { checkSchema, hasManifest, schemaVersionOf } from "./lmdb_manifest.ts";
import { inspectInSteps } from "./page_check.ts";
import {
  type Meta,
  type NativePages,
  openPageFile,
  type PageFile,
  readMetas,
} from "./page_file.ts";
import { SCHEMA_VERSION } from "./schema.ts";

export interface CheckOptions {
  readonly native?: NativePages;
  /**
   * Only that the pages are sound and hold exactly what was written last, by the sum of
   * all entries: a second for a million rows, where the tables' agreement takes a minute.
   */
  readonly pagesOnly?: boolean;
  /**
   * Also of an older schema, which only the daemon's start brings to this one: of that, the pages
   * and the sum of all entries are all that is looked at. Otherwise it is refused.
   */
  readonly takesOlder?: boolean;
  /** Ends the check between two steps. */
  readonly signal?: AbortSignal;
}

/**
 * Every fault of the manifest in `directory`; none means that all is as it was written.
 *
 * @throws {ManifestError} `unavailable` or `newer` if it cannot be looked at.
 */
export async function* checkManifest(
  directory: string,
  options: CheckOptions = {},
): AsyncGenerator<Fault> {
  try {
    if (!hasManifest(directory)) {
      yield { where: "pages", what: `there is no manifest in ${directory}` };
      return;
    }
  } catch (error) {
    yield faultOf(error);
    return;
  }
  const pages = await pageFaultsOf(directory, options);
  for (const what of pages) yield { where: "pages", what };
  // LMDB trusts its pages: on damaged ones it may end the process.
  if (pages.length > 0 || options.pagesOnly) return;
  yield* faultsOfTables(directory, options);
}

/** So long other work waits for a step of the check, about. */
const SLICE_MS = 4;

/** How often the pages are looked at again when a commit came between. */
const ATTEMPTS = 20;

/**
 * A commit that comes between reading two pages may reuse the second one, so faults count
 * only if the transaction that they were found in was still the newest at the end. If the
 * file never holds still, the pages of one transaction are held by a reader of LMDB.
 */
async function pageFaultsOf(
  directory: string,
  { native, signal }: CheckOptions,
): Promise<string[]> {
  const path = `${directory}/${DATA_FILE}`;
  let file = openPageFile(path, native);
  try {
    const faults = await metaAndPageFaults(file, signal);
    if (faults.length === 0) return [];
    const before = readMetas(file);
    const again = await metaAndPageFaults(file, signal);
    if (again.length === 0) return [];
    const after = readMetas(file);
    const isStill = typeof before === "string" || typeof after === "string" ||
      before[0].transaction === after[0].transaction;
    if (isStill) return again;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      file.close();
      file = openPageFile(path, native);
      const held = await heldPageFaults(directory, file, signal);
      if (held !== null) return held;
    }
    return ["the file changes too fast to be looked at"];
  } finally {
    file.close();
  }
}

async function metaAndPageFaults(
  file: PageFile,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const metas = readMetas(file);
  return typeof metas === "string" ? [metas] : await pageFaults(file, metas[0], signal);
}

async function pageFaults(
  file: PageFile,
  meta: Meta,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const steps = inspectInSteps(file, meta, { leaves: true });
  for (;;) {
    const startMs = performance.now();
    while (performance.now() - startMs < SLICE_MS) {
      const step = steps.next();
      if (step.done) return step.value.faults;
    }
    await nextTurn();
    signal?.throwIfAborted();
  }
}

/** The faults of a transaction that a reader holds; null if none could be caught. */
async function heldPageFaults(
  directory: string,
  file: PageFile,
  signal: AbortSignal | undefined,
): Promise<string[] | null> {
  const store = await LmdbKeyValue.open(directory, { readOnly: true, create: false });
  try {
    const before = readMetas(file);
    const snapshot = store.snapshot();
    try {
      const after = readMetas(file);
      if (typeof before === "string" || typeof after === "string") return null;
      if (before[0].transaction !== after[0].transaction) return null;
      return await pageFaults(file, after[0], signal);
    } finally {
      snapshot.done();
    }
  } finally {
    await store.close();
  }
}

async function* faultsOfTables(
  directory: string,
  { takesOlder = false, signal }: CheckOptions,
): AsyncGenerator<Fault> {
  let store: LmdbKeyValue;
  try {
    store = await LmdbKeyValue.open(directory, { readOnly: true, create: false });
  } catch (error) {
    yield faultOf(error);
    return;
  }
  const snapshot = store.snapshot();
  try {
    if (takesOlder && schemaVersionOf(snapshot, directory) < SCHEMA_VERSION) return;
    checkSchema(snapshot, directory);
    yield* tableFaults(snapshot, signal);
  } catch (error) {
    yield faultOf(error);
  } finally {
    snapshot.done();
    await store.close();
  }
}

/** A damage as a fault; anything else is thrown on. */
function faultOf(error: unknown): Fault {
  if (!(error instanceof ManifestError) || error.fault !== "damaged") throw error;
  return { where: "pages", what: error.message };
}
