import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { LmdbKeyValue } from "../../src/manifest/lmdb_key_value.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";

const MIB = 1024 * 1024;

Deno.test("a manifest that is closed while it is copied waits for no copy, ends no process, and stays sound", async () => {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-stopped-backup-" });
  const directory = `${root}/manifest`;
  try {
    await (await openManifest({ directory })).close();
    const store = await LmdbKeyValue.open(directory, { readOnly: false, create: false });
    const value = crypto.getRandomValues(new Uint8Array(65_536));
    const writes = Array.from({ length: 256 * MIB / value.length }, (_, index) => ({
      table: "meta" as const,
      key: `filler ${index}`,
      value,
    }));
    await store.commit(writes);
    await store.close();
    const script = new URL("stopped_backup_child.ts", import.meta.url).pathname;
    for (const [run, wait] of [[], ["wait"], [], ["wait"]].entries()) {
      const { code, signal, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [
          "run",
          "-A",
          "--no-check",
          script,
          directory,
          `${root}/copy-${run}`,
          ...wait,
        ],
      }).output();
      const [said, why] = [stdout, stderr].map((it) => new TextDecoder().decode(it));
      deepStrictEqual([code, signal, said], [0, null, "true\n"], why);
    }
    const again = await openManifest({ directory });
    strictEqual(again.counters().cleanFiles, 0);
    await again.close();
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
