import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { SYSTEM_CLOCK } from "../core/clock.ts";
import { parseDepotPath } from "../core/names.ts";
import type { ScanReport } from "../engine/scan.ts";
import { openMemManifest } from "../manifest/mem_manifest.ts";
import { ScanRecord } from "./scan_record.ts";

const WHOLE: ScanReport = {
  filesSeen: 1,
  actions: {},
  unmanageable: 0,
  unreadable: 0,
  unproven: 0,
  failing: 0,
  stopped: null,
};

Deno.test("a scan counts only if it looked at everything", async () => {
  const manifest = await openMemManifest();
  await manifest.apply(parseDepotPath("a,v"), "absent", {
    kind: "written",
    stat: {
      sizeBytes: 1,
      mtimeNs: 1n,
      ctimeNs: 1n,
      mode: 0o444,
      uid: 0,
      gid: 0,
      ino: 1n,
      dev: 1n,
    },
    nowS: 1,
  });
  const open = (bootId: string): ScanRecord =>
    new ScanRecord({ manifest, clock: SYSTEM_CLOCK, bootId });
  const record = open("one");
  strictEqual(record.unwatched, "none");
  for (const part of [{ failing: 1 }, { stopped: "why" }]) {
    strictEqual(await record.finished({ ...WHOLE, ...part }), false);
    deepStrictEqual([record.unwatched, record.isWhole], ["none", false]);
    strictEqual(manifest.meta("boot_id"), null);
  }
  strictEqual(await record.finished(WHOLE), true);
  deepStrictEqual([record.unwatched, record.isWhole], [null, true]);
  strictEqual(open("one").unwatched, "newer");
  strictEqual(open("two").unwatched, "none");
  await manifest.close();
});

Deno.test("with nothing to compare, each difference is a write", async () => {
  const manifest = await openMemManifest();
  const record = new ScanRecord({ manifest, clock: SYSTEM_CLOCK, bootId: "one" });
  deepStrictEqual([record.unwatched, record.isWhole], [null, false]);
  await manifest.close();
});
