/**
 * A depot that moves to a new store: its objects lie in what is the secondary now.
 *
 * @module
 */

import { strictEqual } from "node:assert/strict";
import type { DepotPath } from "../../src/core/names.ts";
import { migrateSelected, type MigrationReport } from "../../src/engine/migrate.ts";
import { observe, REPORTED } from "../../src/engine/observe.ts";
import { RecallBudget } from "../../src/engine/recall_budget.ts";
import { Restorer } from "../../src/engine/restore.ts";
import { SpaceLedger } from "../../src/engine/space.ts";
import { upload } from "../../src/engine/upload.ts";
import type { StorageBackend } from "../../src/storage/backend.ts";
import { openMemBackend } from "../../src/storage/mem/mem_backend.ts";
import type { EngineFixture } from "./engine_fixture.ts";

export interface MovedStore {
  readonly fixture: EngineFixture;
  readonly context: EngineFixture["context"];
  readonly primary: StorageBackend;
  readonly secondary: StorageBackend;
}

/** What a migration that met nothing counts. */
export const NONE: MigrationReport["objects"] = {
  present: 0,
  copied: 0,
  missing: 0,
  differing: 0,
  archived: 0,
  failed: 0,
  borrowed: 0,
};

/** Uploads `contents`, then gives the depot another, empty store. */
export async function moved(
  fixture: EngineFixture,
  contents: Readonly<Record<string, string>>,
  primary: StorageBackend = openMemBackend(),
): Promise<MovedStore> {
  for (const [path, content] of Object.entries(contents)) {
    await fixture.write(path, content);
    await observe(fixture.context, fixture.path(path), REPORTED);
    strictEqual(await upload(fixture.context, fixture.path(path)), "uploaded");
  }
  const secondary = fixture.primary;
  const context = { ...fixture.context, primary, secondary };
  return { fixture, context, primary, secondary };
}

export interface MigrateOptions {
  readonly selection?: string;
  readonly dryRun?: boolean;
  /** Called after each batch of objects. */
  readonly onProgress?: () => void;
}

export function migrate(
  { context }: Pick<MovedStore, "context">,
  { selection = "", dryRun = false, onProgress = (): void => {} }: MigrateOptions = {},
): Promise<MigrationReport> {
  const space = new SpaceLedger(context, () => {});
  const { signal } = new AbortController();
  return migrateSelected(context, space, { selection, dryRun, onProgress, signal });
}

/** Reads the file, as `p4d` would. */
export async function restoreFrom(
  { context }: Pick<MovedStore, "context">,
  path: DepotPath,
): Promise<void> {
  const space = new SpaceLedger(context, () => {});
  const recall = new RecallBudget(context);
  await new Restorer({ context, space, recall }, () => {}).restore(path);
}

export async function keysOf(store: StorageBackend): Promise<string[]> {
  return (await Array.fromAsync(store.list(""))).map(({ key }) => key).toSorted();
}
