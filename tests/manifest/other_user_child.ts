/** Opens the manifest in a directory as another user, and prints why it cannot. */

import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import { ManifestError } from "../../src/manifest/manifest.ts";

const [directory, uid, mode] = Deno.args as [string, string, string];
// What is imported is loaded by now: the tree may be closed to that user.
const libc = Deno.dlopen("libc.so.6", {
  setresgid: { parameters: ["u32", "u32", "u32"], result: "i32" },
  setresuid: { parameters: ["u32", "u32", "u32"], result: "i32" },
});
const id = Number(uid);
if (
  libc.symbols.setresgid(id, id, id) !== 0 || libc.symbols.setresuid(id, id, id) !== 0
) {
  throw new Error(`Cannot become UID ${uid}`);
}
try {
  const manifest = await openManifest({ directory, readOnly: mode === "read" });
  await manifest.close();
  // deno-lint-ignore no-console -- read by the test
  console.log("opened");
} catch (error) {
  if (!(error instanceof ManifestError)) throw error;
  // deno-lint-ignore no-console -- read by the test
  console.log(`${error.fault}: ${error.message}`);
}
