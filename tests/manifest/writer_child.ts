/**
 * Writes rows for ever, and says each one that was acknowledged: a line with its number.
 * Killed by the test.
 *
 *     writer_child.ts <manifest directory> <first number>
 *
 * @module
 */

import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import { writeFile } from "./sample_manifest.ts";

if (import.meta.main) {
  const [directory, first] = Deno.args as [string, string];
  const manifest = await openManifest({ directory });
  const encoder = new TextEncoder();
  let next = Number(first);
  await Promise.all(Array.from({ length: 16 }, async () => {
    for (;;) {
      const number = next++;
      await writeFile(manifest, number);
      // Synchronous: what the reader has not seen was not acknowledged to anybody.
      Deno.stdout.writeSync(encoder.encode(`${number}\n`));
    }
  }));
}
