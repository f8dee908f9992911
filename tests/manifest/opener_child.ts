/**
 * Opens the manifest in `Deno.args[0]` to read, and closes it, again and again until its input
 * ends. Says so when it has begun.
 *
 * @module
 */

import { openManifest } from "../../src/manifest/lmdb_manifest.ts";

let hasEnded = false;
void new Response(Deno.stdin.readable).bytes().then(() => hasEnded = true);
let opened = 0;
while (!hasEnded) {
  const manifest = await openManifest({ directory: Deno.args[0]!, readOnly: true });
  await manifest.close();
  if (opened++ === 0) await Deno.stdout.write(new TextEncoder().encode("opened\n"));
  // flock(2) is not fair: the writer is to have its turn, too.
  await new Promise((resolve) => setTimeout(resolve, 2));
}
