/**
 * Holds a snapshot of a manifest, says so, and waits to be killed.
 *
 *     reader_child.ts <manifest directory>
 *
 * @module
 */

import { LmdbKeyValue } from "../../src/manifest/lmdb_key_value.ts";

if (import.meta.main) {
  const store = await LmdbKeyValue.open(Deno.args[0]!, { readOnly: true, create: false });
  const snapshot = store.snapshot();
  snapshot.get("meta", "counters");
  Deno.stdout.writeSync(new TextEncoder().encode("held\n"));
  await new Promise((resolve) => setTimeout(resolve, 600_000));
  snapshot.done();
}
