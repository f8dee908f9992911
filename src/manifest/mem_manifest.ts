/**
 * A manifest in memory, for tests and models: everything but the files.
 *
 * @module
 */

import { InvariantError } from "../core/assert.ts";
import { type Clock, SYSTEM_CLOCK } from "../core/clock.ts";
import type { Manifest } from "./manifest.ts";
import { ManifestStore } from "./manifest_store.ts";
import { MemKeyValue } from "./mem_key_value.ts";
import { firstWrites } from "./schema.ts";

/** An empty one. `backup` is not there. */
export async function openMemManifest(
  { clock = SYSTEM_CLOCK }: { readonly clock?: Clock } = {},
): Promise<Manifest> {
  const store = new MemKeyValue();
  await store.commit(firstWrites());
  return new ManifestStore({
    store,
    clock,
    readOnly: false,
    backup: () =>
      Promise.reject(new InvariantError("A manifest in memory has no files to copy")),
  });
}
