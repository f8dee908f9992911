/**
 * The whole check of a manifest on disk, read-only: the pages of its file, then its
 * tables. May run while the daemon writes.
 *
 * @module
 */

import { type Fault, tableFaults } from "./check.ts";
import { LmdbKeyValue } from "./lmdb_key_value.ts";
import { ManifestError } from "./manifest.ts";
import { checkSchema, hasManifest, schemaOfStore } from "./lmdb_manifest.ts";
import { pageFaultsOf } from "./page_faults.ts";
import type { NativePages } from "./page_file.ts";
import { olderSchemaOf } from "./schema.ts";

export interface CheckOptions {
  readonly native?: NativePages;
  /**
   * Only that the pages are sound and hold exactly what was written last, by the sum of
   * all entries: a second for a million rows, where the tables' agreement takes a minute.
   */
  readonly pagesOnly?: boolean;
  /**
   * Also of an older schema, or on the way from one, which only the daemon's start brings to this
   * one: of that, the pages
   * and the sum of all entries are all that is looked at. Otherwise it is refused.
   */
  readonly takesOlder?: boolean;
  /** Ends the check between two steps. */
  readonly signal?: AbortSignal;
}

/**
 * Every fault of the manifest in `directory`; none means that all is as it was written.
 *
 * @throws {ManifestError} `unavailable`, `newer` or `older` if it cannot be looked at.
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
    if (takesOlder && olderSchemaOf(schemaOfStore(snapshot, directory)) !== null) return;
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
