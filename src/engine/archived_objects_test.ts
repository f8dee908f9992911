import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import {
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import type { Clock } from "../core/clock.ts";
import { objectKeyOf } from "../core/names.ts";
import type { createMemoryLogger } from "../obs/logger.ts";
import type { ArchiveState, StorageBackend } from "../storage/backend.ts";
import { openMemBackend } from "../storage/mem/mem_backend.ts";
import { ArchivedObjects } from "./archived_objects.ts";
import type { EngineContext } from "./engine_context.ts";
import { evict } from "./evict.ts";
import { Evictor } from "./evict_pass.ts";
import { observe, REPORTED } from "./observe.ts";
import { SpaceLedger } from "./space.ts";
import { upload } from "./upload.ts";

const KEY = objectKeyOf("a,v");

interface Archiving {
  readonly store: StorageBackend;
  /** Of the object of `a,v`, as a HEAD tells it. */
  state: ArchiveState | null;
  /** Keys that a HEAD asked for since it was read last. */
  asked(): string[];
}

function archivingStore(): Archiving {
  const store = openMemBackend();
  const head = store.head.bind(store);
  const asked: string[] = [];
  const archiving: Archiving = { store, state: null, asked: () => asked.splice(0) };
  store.head = async (key, signal): ReturnType<StorageBackend["head"]> => {
    asked.push(key);
    const info = await head(key, signal);
    if (info === null || key !== KEY || archiving.state === null) return info;
    return { ...info, archive: archiving.state };
  };
  return archiving;
}

async function stored(fixture: EngineFixture, name: string): Promise<void> {
  await fixture.write(name, `content of ${name}`);
  await observe(fixture.context, fixture.path(name), REPORTED);
  strictEqual(await upload(fixture.context, fixture.path(name)), "uploaded");
}

function warnings({ log }: EngineContext): number {
  return (log as ReturnType<typeof createMemoryLogger>).records
    .filter(({ message }) => message.includes("archived the object")).length;
}

async function refusals({ metrics }: EngineContext): Promise<number> {
  const line = /^p4cache_evict_refused_total (\d+)$/m.exec(await metrics.render());
  return Number(line?.[1] ?? 0);
}

for (const state of ["archived", "retrieving"] as const) {
  for (const evictVerify of ["head", "full"] as const) {
    Deno.test(`a file whose object is ${state} stays, and is not uploaded again, with evict_verify=${evictVerify}`, async () => {
      const archiving = archivingStore();
      await using fixture = await openEngineFixture({
        primary: archiving.store,
        settings: { evictVerify },
      });
      const { context, manifest } = fixture;
      const path = fixture.path("a,v");
      await stored(fixture, "a,v");
      archiving.state = state;
      for (let attempt = 0; attempt < 3; attempt++) {
        strictEqual(await evict(context, path), "unconfirmed");
      }
      strictEqual(await fixture.read("a,v"), "content of a,v");
      const { state: now, resident } = manifest.get(path)!;
      deepStrictEqual([now, resident], ["clean", true]);
      deepStrictEqual([warnings(context), await refusals(context)], [1, 1]);

      archiving.state = "retrieved";
      strictEqual(await evict(context, path), "evicted");
    });
  }
}

Deno.test("an archived object of other bytes is no copy: the file is uploaded again", async () => {
  const archiving = archivingStore();
  await using fixture = await openEngineFixture({ primary: archiving.store });
  const path = fixture.path("a,v");
  await stored(fixture, "a,v");
  const head = archiving.store.head;
  archiving.store.head = async (key, signal): ReturnType<StorageBackend["head"]> => {
    const info = await head(key, signal);
    return info === null ? null : { ...info, sizeBytes: info.sizeBytes + 1 };
  };
  archiving.state = "archived";
  strictEqual(await evict(fixture.context, path), "unconfirmed");
  strictEqual(fixture.manifest.get(path)?.state, "dirty");
});

Deno.test("passes of eviction go past archived objects, and ask for them once an hour", async () => {
  const archiving = archivingStore();
  await using fixture = await openEngineFixture({
    primary: archiving.store,
    settings: { maxCacheBytes: 1 },
  });
  let passedMs = 0;
  const { clock: system } = fixture.context;
  const clock: Clock = {
    nowMs: () => system.nowMs(),
    monotonicMs: () => passedMs,
    sleep: (ms, signal) => system.sleep(ms, signal),
  };
  const context: EngineContext = { ...fixture.context, clock };
  const evictor = new Evictor(context, new SpaceLedger(context, () => {}));
  await stored(fixture, "a,v");
  await stored(fixture, "b,v");
  archiving.state = "archived";
  archiving.asked();
  strictEqual((await evictor.runPass()).evictedFiles, 1);
  deepStrictEqual(archiving.asked().sort(), ["a,v", "b,v"]);
  const pass = await evictor.runPass();
  ok(pass.missingBytes > 0);
  deepStrictEqual(archiving.asked(), []);

  passedMs += 3_600_000;
  await evictor.runPass();
  deepStrictEqual(archiving.asked(), ["a,v"]);
  archiving.state = null;
  passedMs += 3_600_000;
  strictEqual((await evictor.runPass()).evictedFiles, 1);
  strictEqual(await refusals(context), 1);
});

Deno.test("archived objects are told of once an hour, each is new once", () => {
  const archived = new ArchivedObjects();
  deepStrictEqual([archived.note(KEY, 0), archived.note(KEY, 10)], [true, false]);
  deepStrictEqual([archived.mayTell(0), archived.mayTell(3_599_999)], [true, false]);
  strictEqual(archived.mayTell(3_600_000), true);
  archived.forget(KEY);
  deepStrictEqual([archived.has(KEY, 10), archived.note(KEY, 20)], [false, true]);
});
