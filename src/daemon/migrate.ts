/**
 * Copies from the secondary store to the primary one while no daemon runs; a daemon that
 * runs is asked to do it, because a prefix has one writer.
 *
 * @module
 */

import {
  migrateSelected,
  type Migration,
  type MigrationReport,
} from "../engine/migrate.ts";
import { SpaceLedger } from "../engine/space.ts";
import { openStandIn, type StandInOptions } from "./stand_in.ts";
import { EXIT, StartError } from "./start_error.ts";

export interface OfflineMigration extends AsyncDisposable {
  migrate(migration: Migration): Promise<MigrationReport>;
  /** Rows of the manifest, for progress. */
  readonly files: number;
}

/** @throws {StartError} Also while a daemon has the depot. */
export async function openOfflineMigration(
  options: StandInOptions,
): Promise<OfflineMigration> {
  if (options.config.readOnly) {
    throw new StartError(EXIT.configuration, "read_only is set: nothing may be uploaded");
  }
  await using cleanup = new AsyncDisposableStack();
  const { context } = await openStandIn(options, cleanup);
  // Nothing is evicted here: what does not fit at once does not fit.
  const space = new SpaceLedger(context, () => {});
  const { cleanFiles, dirtyFiles, uploadingFiles } = context.manifest.counters();
  const opened = cleanup.move();
  return {
    files: cleanFiles + dirtyFiles + uploadingFiles,
    migrate: (migration) => migrateSelected(context, space, migration),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}
