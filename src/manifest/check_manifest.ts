/**
 * The whole check of a manifest on disk, read-only: the pages of its file, then its
 * tables. May run while the daemon writes.
 *
 * @module
 */

import { type Fault, tableFaults } from "./check.ts";
import { DATA_FILE, LmdbKeyValue } from "./lmdb_key_value.ts";
import { ManifestError } from "./manifest.ts";
import { checkSchema, hasManifest } from "./lmdb_manifest.ts";
import { pageFaults } from "./page_check.ts";
import { openPageFile, type PageFile, readMetas } from "./page_file.ts";

/**
 * Every fault of the manifest in `directory`; none means that all is as it was written.
 *
 * @throws {ManifestError} `unavailable` or `newer` if it cannot be looked at.
 */
export async function* checkManifest(directory: string): AsyncGenerator<Fault> {
  try {
    if (!hasManifest(directory)) {
      yield { where: "pages", what: `there is no manifest in ${directory}` };
      return;
    }
  } catch (error) {
    yield faultOf(error);
    return;
  }
  const pages = await pageFaultsOf(directory);
  for (const what of pages) yield { where: "pages", what };
  // LMDB trusts its pages: on damaged ones it may end the process.
  if (pages.length === 0) yield* faultsOfTables(directory);
}

/** How often the pages are looked at again when a commit came between. */
const ATTEMPTS = 20;

/**
 * A commit that comes between reading two pages may reuse the second one, so faults count
 * only if the transaction that they were found in was still the newest at the end. If the
 * file never holds still, the pages of one transaction are held by a reader of LMDB.
 */
async function pageFaultsOf(directory: string): Promise<string[]> {
  const path = `${directory}/${DATA_FILE}`;
  let file = openPageFile(path);
  try {
    const faults = metaAndPageFaults(file);
    if (faults.length === 0) return [];
    const before = readMetas(file);
    await new Promise<void>((resolve) => setTimeout(resolve, 0));
    const again = metaAndPageFaults(file);
    if (again.length === 0) return [];
    const after = readMetas(file);
    const isStill = typeof before === "string" || typeof after === "string" ||
      before[0].transaction === after[0].transaction;
    if (isStill) return again;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      file.close();
      file = openPageFile(path);
      const held = heldPageFaults(directory, file);
      if (held !== null) return held;
    }
    return ["the file changes too fast to be looked at"];
  } finally {
    file.close();
  }
}

function metaAndPageFaults(file: PageFile): string[] {
  const metas = readMetas(file);
  if (typeof metas === "string") return [metas];
  return pageFaults(file, metas[0], { leaves: true });
}

/** The faults of a transaction that a reader holds; null if none could be caught. */
function heldPageFaults(directory: string, file: PageFile): string[] | null {
  const store = new LmdbKeyValue(directory, { readOnly: true, create: false });
  try {
    const before = readMetas(file);
    const snapshot = store.snapshot();
    try {
      const after = readMetas(file);
      if (typeof before === "string" || typeof after === "string") return null;
      if (before[0].transaction !== after[0].transaction) return null;
      return pageFaults(file, after[0], { leaves: true });
    } finally {
      snapshot.done();
    }
  } finally {
    void store.close();
  }
}

async function* faultsOfTables(directory: string): AsyncGenerator<Fault> {
  let store: LmdbKeyValue;
  try {
    store = new LmdbKeyValue(directory, { readOnly: true, create: false });
  } catch (error) {
    yield faultOf(error);
    return;
  }
  const snapshot = store.snapshot();
  try {
    checkSchema(snapshot, directory);
    yield* tableFaults(snapshot);
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
