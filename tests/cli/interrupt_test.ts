import { strictEqual } from "node:assert/strict";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import { EXECUTABLE } from "../e2e/site.ts";
import { writeFile } from "../manifest/sample_manifest.ts";

Deno.test("Ctrl-C ends an export whose reader takes no more", async () => {
  const directory = await Deno.makeTempDir({ prefix: "p4cache-interrupt-" });
  try {
    await using cleanup = new AsyncDisposableStack();
    const manifest = await openManifest({ directory });
    // More than a pipe holds.
    await Promise.all(Array.from({ length: 500 }, (_, i) => writeFile(manifest, i)));
    await manifest.close();
    const exporting = new Deno.Command(EXECUTABLE, {
      args: ["export-manifest", "--manifest", directory],
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const reader = exporting.stdout.getReader();
    cleanup.defer(() => reader.cancel());
    strictEqual((await reader.read()).done, false);
    exporting.kill("SIGINT");
    strictEqual((await exporting.status).signal, "SIGINT");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
