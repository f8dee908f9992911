import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { openEngineFixture } from "../../tests/support/engine_fixture.ts";
import { type Clock, SYSTEM_CLOCK } from "../core/clock.ts";
import { Engine } from "../engine/engine.ts";
import { observe, REPORTED } from "../engine/observe.ts";
import { upload } from "../engine/upload.ts";
import { type Manifest, ManifestError } from "../manifest/manifest.ts";
import { FailedDeletes } from "./failed_deletes.ts";
import { StartupScan } from "./startup_scan.ts";

const IMPATIENT: Clock = {
  nowMs: () => SYSTEM_CLOCK.nowMs(),
  monotonicMs: () => SYSTEM_CLOCK.monotonicMs(),
  sleep: (_delayMs, signal) => SYSTEM_CLOCK.sleep(1, signal),
};

Deno.test("a manifest that refuses at the start leaves deletes for later, and the scan goes on", async () => {
  await using fixture = await openEngineFixture();
  const path = fixture.path("d/a,v");
  await fixture.write("d/a,v", "text");
  await observe(fixture.context, path, REPORTED);
  strictEqual(await upload(fixture.context, path), "uploaded");
  await Deno.remove(`${fixture.root}/d/a,v`);
  await fixture.write("d/new,v", "text");
  await Deno.writeTextFile(
    `${fixture.root}/.p4cache/shim-failed-deletes.log`,
    `{"ts":${Date.now() + 5_000},"pid":9,"uid":0,"path":"d/a,v","why":"unreachable"}\n`,
  );
  let isFull = true;
  const manifest = Object.create(fixture.manifest, {
    apply: {
      value: (...args: Parameters<Manifest["apply"]>) =>
        isFull
          ? Promise.reject(new ManifestError("full", "no room"))
          : fixture.manifest.apply(...args),
    },
  });
  for (const name of ["get", "meta", "setMeta", "tombstonesOf"] as const) {
    manifest[name] = fixture.manifest[name].bind(fixture.manifest);
  }
  const ended = new AbortController();
  const context = {
    ...fixture.context,
    manifest,
    clock: IMPATIENT,
    signal: ended.signal,
  };
  const deletes = new FailedDeletes(context, () => []);
  let isScanned = false;
  const scan = new StartupScan({
    ...context,
    engine: new Engine(fixture.context),
    deletes,
    record: { isWhole: false, finished: () => Promise.resolve(isScanned = true) },
    config: () => ({ skipStartupScan: false, backgroundScanFilesPerSec: 1 }),
    requestRescan: () => {},
  });
  await scan.run();
  strictEqual(isScanned, true);
  strictEqual(fixture.manifest.get(fixture.path("d/new,v"))?.state, "dirty");
  deepStrictEqual(fixture.failures, []);
  isFull = false;
  const running = deletes.run();
  while (fixture.failures.length === 0) await IMPATIENT.sleep(1);
  ended.abort();
  await running;
  strictEqual(fixture.manifest.get(path), null);
  deepStrictEqual(fixture.failures.map(({ applied }) => applied), [true]);
});
