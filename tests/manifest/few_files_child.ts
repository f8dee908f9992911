/**
 * Opens the manifest in `Deno.args[0]` with room for `Deno.args[1]` more open files, and prints
 * the fault and the message if that fails.
 *
 * @module
 */

import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import { ManifestError } from "../../src/manifest/manifest.ts";

const held: Deno.FsFile[] = [];
try {
  for (;;) held.push(Deno.openSync("/dev/null"));
} catch {
  for (let i = 0; i < Number(Deno.args[1]); i++) held.pop()?.close();
}
let found = "opened";
try {
  await openManifest({ directory: Deno.args[0]!, readOnly: true });
} catch (error) {
  found = error instanceof ManifestError
    ? `${error.fault}: ${error.message}`
    : `${error}`;
}
for (const file of held) file.close();
Deno.writeTextFileSync(Deno.args[2]!, found);
Deno.exit(0);
