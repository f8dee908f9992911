/**
 * Closes a manifest while it is copied, and ends as the daemon does. Prints whether the copy was
 * still under way then.
 *
 *     stopped_backup_child.ts <manifest> <target> [wait]
 *
 * `wait`: ends when the copy has, as if the rest of the stop took so long.
 *
 * @module
 */

import { openManifest } from "../../src/manifest/lmdb_manifest.ts";

if (import.meta.main) {
  const [directory, target, wait] = Deno.args as [string, string, string?];
  const manifest = await openManifest({ directory });
  let isUnderWay = true;
  const copy = manifest.backup(target).finally(() => isUnderWay = false);
  copy.catch(() => {});
  // It has begun to write: the environment is in use by another thread.
  while (!(await hasBegun(`${target}.new/data.mdb`))) await Promise.resolve();
  await manifest.close();
  Deno.stdout.writeSync(new TextEncoder().encode(`${isUnderWay}\n`));
  if (wait !== undefined) await copy;
  Deno.exit(0);
}

async function hasBegun(path: string): Promise<boolean> {
  return await Deno.stat(path).then(({ size }) => size > 0, () => false);
}
