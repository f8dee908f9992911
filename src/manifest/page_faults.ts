/**
 * Whether the pages of the manifest's file are sound, looked at before LMDB opens it: by the
 * only writer before it begins, or by anybody beside it.
 *
 * @module
 */

import { nextTurn } from "../core/turns.ts";
import { DATA_FILE, LmdbKeyValue } from "./lmdb_key_value.ts";
import { ManifestError } from "./manifest.ts";
import { inspectInSteps, inspectPages, type PageCheckResult } from "./page_check.ts";
import {
  type Meta,
  type NativePages,
  openPageFile,
  PAGE_BYTES,
  readMetas,
} from "./page_file.ts";
import { damaged } from "./reader.ts";
import type { Schema } from "./schema.ts";

/**
 * Up to this size every page is looked at when the manifest is opened (about a second);
 * above it only those that lead to others, and the leaves when a copy is checked.
 */
const WHOLE_CHECK_BYTES_MAX = 1024 * 1024 * 1024;
const NATIVE_CHECK_BYTES_MAX = 4 * WHOLE_CHECK_BYTES_MAX;

/**
 * LMDB has no checksums and trusts what it maps, so the file is looked at first: a damaged
 * page could end the process, or answer that a row is not there. While nobody writes.
 *
 * @returns The schema that the file says.
 * @throws {ManifestError} `damaged`
 */
export function checkPages(directory: string, native: NativePages | null): Schema | null {
  const path = `${directory}/${DATA_FILE}`;
  const file = openPageFile(path, native);
  try {
    const metas = readMetas(file);
    const bytesMax = native === null ? WHOLE_CHECK_BYTES_MAX : NATIVE_CHECK_BYTES_MAX;
    const leaves = file.pageCount * PAGE_BYTES <= bytesMax;
    const { faults, schemaVersion: version, migrationFrom } = typeof metas === "string"
      ? { faults: [metas], schemaVersion: null, migrationFrom: null }
      : inspectPages(file, metas[0], { leaves });
    refuseFaults(path, faults);
    return version === null ? null : { version, migrationFrom };
  } finally {
    file.close();
  }
}

/**
 * The same beside a writer, of every page however large the file is: who only looks may walk
 * all of it, and would be ended by the first page that leads astray.
 *
 * @throws {ManifestError} `damaged`; `unavailable` if the file never holds still.
 */
export async function checkPagesBesideWriter(
  directory: string,
  options: PageFaultsOptions,
): Promise<void> {
  refuseFaults(`${directory}/${DATA_FILE}`, await pageFaultsOf(directory, options));
}

function refuseFaults(path: string, faults: readonly string[]): void {
  const [first] = faults;
  if (first === undefined) return;
  const pages = faults.length === 1 ? "a damaged page" : `${faults.length} damaged pages`;
  throw damaged(`${path} has ${pages}, the first: ${first}; it`);
}

export interface PageFaultsOptions {
  readonly native?: NativePages | undefined;
  /** Ends the look between two steps. */
  readonly signal?: AbortSignal | undefined;
}

/** So long other work waits for a step of the look, about. */
const SLICE_MS = 4;

/** How often a transaction is tried to be held, when commits come between. */
const ATTEMPTS = 20;

/**
 * A commit that comes between reading two pages may reuse the second one, so faults count
 * only if the transaction that they were found in was still the newest at the end. If the
 * file never holds still, the pages of one transaction are held by a reader of LMDB.
 *
 * @throws {ManifestError} `unavailable`: none could be held.
 */
export async function pageFaultsOf(
  directory: string,
  options: PageFaultsOptions = {},
): Promise<string[]> {
  const path = `${directory}/${DATA_FILE}`;
  let newest = metasOf(path);
  // The second time because a meta page may have been read while it was written.
  for (let look = 0; look < 2; look++) {
    const faults = typeof newest === "string"
      ? [newest]
      : await faultsOfPages(path, newest[0], options);
    if (faults.length === 0) return [];
    const before = newest;
    newest = metasOf(path);
    if (look > 0 && isSameTransaction(before, newest)) return faults;
  }
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const held = await heldPageFaults(directory, options);
    if (held !== null) return held;
  }
  throw new ManifestError(
    "unavailable",
    `Cannot look at the pages of ${path}: it changes too fast; try again`,
  );
}

type Metas = readonly [Meta, Meta] | string;

/** One of the two that cannot be read may have been written just then. */
function isSameTransaction(before: Metas, after: Metas): boolean {
  if (typeof before === "string" || typeof after === "string") return before === after;
  return before[0].transaction === after[0].transaction;
}

function metasOf(path: string): Metas {
  const file = openPageFile(path);
  try {
    return readMetas(file);
  } finally {
    file.close();
  }
}

/** Of the pages that `meta` leads to. The file's size is taken now: it may have grown for them. */
async function faultsOfPages(
  path: string,
  meta: Meta,
  { native, signal }: PageFaultsOptions,
): Promise<string[]> {
  const file = openPageFile(path, native);
  try {
    const steps = inspectInSteps(file, meta, { leaves: true });
    for (;;) {
      const done = runSlice(steps);
      if (done !== null) return done.faults;
      await nextTurn();
      signal?.throwIfAborted();
    }
  } finally {
    file.close();
  }
}

function runSlice(steps: Generator<void, PageCheckResult>): PageCheckResult | null {
  const startMs = performance.now();
  while (performance.now() - startMs < SLICE_MS) {
    const step = steps.next();
    if (step.done) return step.value;
  }
  return null;
}

/** The faults of a transaction that a reader holds; null if none could be caught. */
async function heldPageFaults(
  directory: string,
  options: PageFaultsOptions,
): Promise<string[] | null> {
  const path = `${directory}/${DATA_FILE}`;
  const store = await LmdbKeyValue.open(directory, { readOnly: true, create: false });
  try {
    const before = metasOf(path);
    const snapshot = store.snapshot();
    try {
      const after = metasOf(path);
      if (typeof after === "string" || !isSameTransaction(before, after)) return null;
      return await faultsOfPages(path, after[0], options);
    } finally {
      snapshot.done();
    }
  } finally {
    await store.close();
  }
}
