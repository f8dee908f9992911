import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import {
  type EngineFixture,
  NONE_UNPROVEN,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import { type Clock, SYSTEM_CLOCK } from "../core/clock.ts";
import { bytePathOf } from "../core/names.ts";
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

/** Rows of 300 big files, long settled, before that of `small,v`. */
async function behindBigs(fixture: EngineFixture): Promise<void> {
  const { context, root, posix } = fixture;
  await Deno.writeTextFile(`${root}/one`, "");
  await Deno.truncate(`${root}/one`, 256 * MIB);
  await Deno.utime(`${root}/one`, 1, 1);
  for (let i = 0; i < 300; i++) {
    await Deno.link(`${root}/one`, `${root}/big${i},v`);
    await observe(context, fixture.path(`big${i},v`), REPORTED);
  }
  await fixture.write("small,v", "content");
  const mtimeNs = BigInt(Date.now()) * 1_000_000n;
  posix.setTimes(bytePathOf(`${root}/small,v`), { atimeNs: null, mtimeNs });
  await observe(context, fixture.path("small,v"), REPORTED);
}

Deno.test("a small file behind big ones is looked for when it has settled", async () => {
  const settings = { uploadThreads: 3, uploadSettleMs: 4_000 };
  await using fixture = await openEngineFixture({ settings });
  await behindBigs(fixture);
  const { context, primary } = fixture;
  const stop = new AbortController();
  primary.upload = () =>
    new Promise((_, reject) => {
      stop.signal.addEventListener("abort", () => reject(stop.signal.reason));
    });
  const waits = Promise.withResolvers<number>();
  const clock: Clock = {
    ...SYSTEM_CLOCK,
    sleep(delayMs, signal): Promise<void> {
      if (delayMs > 0) waits.resolve(delayMs);
      return SYSTEM_CLOCK.sleep(delayMs, signal);
    },
  };
  const coordinator = new UploadCoordinator(
    { ...context, clock, signal: stop.signal },
    () => {},
  );
  const run = coordinator.run();
  const delayMs = await waits.promise;
  stop.abort();
  await run;
  ok(delayMs <= 4_000, `it looks again in ${delayMs} ms`);
});

Deno.test("nothing is looked for past big files while every thread has one to send", async () => {
  await using fixture = await openEngineFixture({ settings: { uploadThreads: 3 } });
  await behindBigs(fixture);
  const { context, primary, manifest } = fixture;
  const stop = new AbortController();
  const areSent = Promise.withResolvers<void>();
  let sentCount = 0;
  primary.upload = () =>
    new Promise((_, reject) => {
      if (++sentCount === 3) areSent.resolve();
      stop.signal.addEventListener("abort", () => reject(stop.signal.reason));
    });
  let lookCount = 0;
  const due = manifest.due.bind(manifest);
  manifest.due = (nowMs): ReturnType<typeof due> => {
    lookCount++;
    return due(nowMs);
  };
  let monotonicMs = 0;
  let turned = Promise.withResolvers<void>();
  const clock: Clock = {
    nowMs: () => SYSTEM_CLOCK.nowMs(),
    monotonicMs: () => monotonicMs += 1_000,
    sleep(_, signal): Promise<void> {
      turned.resolve();
      return SYSTEM_CLOCK.sleep(3_600_000, signal);
    },
  };
  const coordinator = new UploadCoordinator(
    { ...context, clock, signal: stop.signal },
    () => {},
  );
  const run = coordinator.run();
  await areSent.promise;
  for (let i = 0; i < 5; i++) {
    turned = Promise.withResolvers<void>();
    coordinator.wake();
    await turned.promise;
  }
  strictEqual(lookCount, 1);
  stop.abort();
  await run;
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
