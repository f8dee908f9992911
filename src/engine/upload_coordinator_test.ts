import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { NONE_UNPROVEN, openEngineFixture } from "../../tests/support/engine_fixture.ts";
import { type Clock, SYSTEM_CLOCK } from "../core/clock.ts";
import { MIB } from "../core/units.ts";
import { StorageError } from "../storage/storage_error.ts";
import { drain } from "./drain.ts";
import { observe, REPORTED } from "./observe.ts";
import { upload } from "./upload.ts";
import { UploadCoordinator } from "./upload_coordinator.ts";

Deno.test("a retry that is due and waits behind another operation does not keep the coordinator busy", async () => {
  await using fixture = await openEngineFixture({ settings: { slowRetrySecs: 0 } });
  const { context, primary } = fixture;
  primary.upload = () =>
    Promise.reject(
      new StorageError("unavailable", {
        operation: "upload",
        key: "a,v",
        detail: "down",
      }),
    );
  await fixture.write("a,v", "content");
  await observe(context, fixture.path("a,v"), REPORTED);
  strictEqual(await upload(context, fixture.path("a,v")), "failed");
  const stop = new AbortController();
  const restored = Promise.withResolvers<void>();
  const held = context.locks.run(fixture.path("a,v"), () => restored.promise);
  const delays: number[] = [];
  const clock: Clock = {
    ...SYSTEM_CLOCK,
    sleep(delayMs, signal): Promise<void> {
      delays.push(delayMs);
      const { promise, reject } = Promise.withResolvers<void>();
      signal?.addEventListener("abort", () => reject(signal.reason));
      return promise;
    },
  };
  const coordinator = new UploadCoordinator(
    { ...context, clock, signal: stop.signal },
    () => {},
  );
  const run = coordinator.run();
  await new Promise((resolve) => setTimeout(resolve, 0));
  strictEqual(delays.length, 1);
  ok(delays[0]! > 0, `it looks again in ${delays[0]} ms`);
  stop.abort();
  restored.resolve();
  await Promise.all([run, held]);
});

Deno.test("a dirty file over which another file system is mounted waits as a failed upload, and drain() says so", async () => {
  for (const isThere of [true, false]) {
    await using fixture = await openEngineFixture();
    const path = fixture.path("d/a,v");
    await fixture.write("d/a,v", "dirty");
    await observe(fixture.context, path, REPORTED);
    if (isThere) await fixture.write("d/a,v", "of the other file system");
    else await Deno.remove(`${fixture.root}/d/a,v`);
    const context = { ...fixture.context, device: fixture.context.device + 1n };
    strictEqual(await upload(context, path), "failed");
    const { state, local } = fixture.manifest.get(path)!;
    deepStrictEqual([state, local.sizeBytes], ["dirty", 5]);
    match(String(fixture.failures[0]!.error), /mounted over it/);
    const drained = await drain(context, {
      wait: true,
      onProgress: () => {},
      signal: new AbortController().signal,
    }, NONE_UNPROVEN);
    deepStrictEqual([drained.isDrained, drained.retryingFiles], [false, 1]);
  }
});

Deno.test("big files leave a thread to small ones, also to those behind hundreds of big ones", async () => {
  await using fixture = await openEngineFixture({ settings: { uploadThreads: 3 } });
  const { context, primary, manifest } = fixture;
  const bigs = Array.from({ length: 300 }, (_, i) => `big${i},v`);
  await Deno.writeTextFile(`${fixture.root}/one`, "");
  await Deno.truncate(`${fixture.root}/one`, 256 * MIB);
  for (const name of bigs) {
    // Rows of big files; the disk need not have as many of them.
    await Deno.link(`${fixture.root}/one`, `${fixture.root}/${name}`);
    await observe(context, fixture.path(name), REPORTED);
  }
  for (let i = 0; i < 20; i++) {
    await fixture.write(`small${i},v`, `content ${i}`);
    await observe(context, fixture.path(`small${i},v`), REPORTED);
  }
  const bigEnd = Promise.withResolvers<void>();
  const twoBigSent = Promise.withResolvers<void>();
  let bigCount = 0;
  let bigCountMax = 0;
  const original = primary.upload.bind(primary);
  primary.upload = async (request) => {
    if (request.source.sizeBytes < MIB) return await original(request);
    bigCountMax = Math.max(bigCountMax, ++bigCount);
    if (bigCount === 2) twoBigSent.resolve();
    await bigEnd.promise;
    throw new Error("a big one is not needed");
  };
  const stop = new AbortController();
  const smallsDone = Promise.withResolvers<void>();
  let uploadedCount = 0;
  const coordinator = new UploadCoordinator(
    { ...context, signal: stop.signal },
    () => void (++uploadedCount === 20 && smallsDone.resolve()),
  );
  const run = coordinator.run();
  await Promise.all([smallsDone.promise, twoBigSent.promise]);
  const cleanFiles = manifest.counters().cleanFiles;
  stop.abort();
  bigEnd.resolve();
  await run;
  deepStrictEqual([bigCountMax, cleanFiles], [2, 20]);
});

Deno.test("a retry does not wait for the time of a clock that was set back", async () => {
  await using fixture = await openEngineFixture();
  const { context, primary, manifest } = fixture;
  const stored = primary.upload.bind(primary);
  primary.upload = () => Promise.reject(new Error("down"));
  let offsetMs = 30 * 86_400_000;
  const clock: Clock = { ...SYSTEM_CLOCK, nowMs: () => Date.now() + offsetMs };
  const stop = new AbortController();
  const onJumped = { ...context, clock, signal: stop.signal };
  const path = fixture.path("a,v");
  await fixture.write("a,v", "content");
  await observe(onJumped, path, REPORTED);
  strictEqual(await upload(onJumped, path), "failed");
  const uploaded = Promise.withResolvers<void>();
  const coordinator = new UploadCoordinator(onJumped, () => uploaded.resolve());
  const run = coordinator.run();
  primary.upload = stored;
  offsetMs = 0;
  coordinator.wake();
  await uploaded.promise;
  strictEqual(manifest.get(path)?.state, "clean");
  stop.abort();
  await run;
});
