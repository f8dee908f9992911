import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { Site, until } from "./site.ts";

/** 64 processes that begin at one moment; each opens all files, beginning at its own. */
const READERS = `
import os, sys
depot, ready, go = sys.argv[1], *os.pipe()
wrong = []
for reader in range(64):
    if os.fork() == 0:
        os.close(go)
        os.read(ready, 1)  # until all are there
        for i in range(64):
            n = (reader + i) % 64
            with open(f"{depot}/{n},v") as f:
                if f.read() != f"content of {n}\\n" * 500:
                    os._exit(1)
        os._exit(0)
os.close(go)
print([os.wait()[1] for _ in range(64)].count(0))
`;

Deno.test("64 processes that open the same 64 evicted files cause exactly 64 reads of the store", async () => {
  await using site = await Site.open();
  await site.start();
  for (let i = 0; i < 64; i++) {
    await Deno.writeTextFile(`${site.depot}/${i},v`, `content of ${i}\n`.repeat(500));
  }
  await site.uploaded(64);
  await site.evictAll();
  await site.configure({ max_cache_bytes: 0, low_watermark_bytes: null });
  const reads = 'p4cache_requests_total{backend="nfs",operation="download",outcome="ok"}';
  const restores = 'p4cache_restores_total{result="success"}';
  const { stdout, stderr } = await site.program(
    ["python3", "-c", READERS, site.depot],
    { shim: true },
  );
  deepStrictEqual([stdout.trim(), stderr], ["64", ""]);
  strictEqual(site.residents(), 64);
  await until("the metrics are written", () => site.metric(restores) >= 64);
  strictEqual(site.metric(restores), 64);
  strictEqual(site.metric(reads), 64);
});
