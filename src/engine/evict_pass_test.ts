import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import {
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import { openSimEngine } from "../../tests/support/sim_engine.ts";
import { type Clock, SYSTEM_CLOCK } from "../core/clock.ts";
import type { createMemoryLogger } from "../obs/logger.ts";
import type { StorageBackend } from "../storage/backend.ts";
import { openMemBackend } from "../storage/mem/mem_backend.ts";
import { StorageError } from "../storage/storage_error.ts";
import type { EngineSettings } from "./engine_context.ts";
import { evict } from "./evict.ts";
import { EvictFailures } from "./evict_failures.ts";
import { Evictor } from "./evict_pass.ts";
import { observe, REPORTED } from "./observe.ts";
import { SpaceLedger } from "./space.ts";
import { upload } from "./upload.ts";

const FILE_BYTES = 100;
const FILES = 300;
const NAMES = Array.from({ length: FILES }, (_, i) => `d/f${`${i}`.padStart(3, "0")},v`);

/** What is under way when a pass ends, or begins again. */
const CONCURRENCY = 8;

const LIMITS = { maxCacheBytes: 20_000, lowWatermarkBytes: 20_000 };
/** To nine tenths. */
const TO_GO = FILES - 180;

interface Site extends AsyncDisposable {
  readonly fixture: EngineFixture;
  readonly evictor: Evictor;
  readonly settings: { -readonly [name in keyof EngineSettings]: EngineSettings[name] };
  /** Throws where the HEAD is to fail. */
  onHead: (key: string) => void;
  heads(): number;
  gone(): string[];
  warnings(): string[];
}

/** Files that are all uploaded, the first the longest not used, and a cache that is too small. */
async function openSite(): Promise<Site> {
  const primary = openMemBackend();
  const fixture = await openEngineFixture({ primary });
  const { context, manifest } = fixture;
  const head = primary.head.bind(primary);
  let heads = 0;
  const site: Site = {
    fixture,
    evictor: new Evictor(context, new SpaceLedger(context, () => {})),
    settings: context.settings(),
    onHead: () => {},
    heads: () => heads,
    gone: () => NAMES.filter((it) => !manifest.get(fixture.path(it))!.resident),
    warnings: () =>
      (context.log as ReturnType<typeof createMemoryLogger>).records
        .filter(({ level }) => level === "warn").map(({ message }) => message),
    [Symbol.asyncDispose]: () => fixture[Symbol.asyncDispose](),
  };
  for (const name of NAMES) {
    await fixture.write(name, "x".repeat(FILE_BYTES));
    await observe(context, fixture.path(name), REPORTED);
    strictEqual(await upload(context, fixture.path(name)), "uploaded");
  }
  await manifest.accessed(new Map(NAMES.map((it, i) => [fixture.path(it), 1_000 + i])));
  Object.assign(site.settings, LIMITS);
  primary.head = async (key, signal): ReturnType<StorageBackend["head"]> => {
    heads += 1;
    // As over a network: others begin meanwhile.
    await new Promise((resolve) => setTimeout(resolve));
    site.onHead(key);
    return await head(key, signal);
  };
  return site;
}

function denied(key: string): never {
  throw new StorageError("denied", { operation: "head", key, detail: "403" });
}

Deno.test("a store that denies everything ends a pass soon, with one line, and the next goes on from the oldest", async () => {
  await using site = await openSite();
  site.onHead = denied;
  for (let passes = 1; passes <= 3; passes++) {
    const before = site.heads();
    const { evictedFiles, missingBytes } = await site.evictor.runPass();
    deepStrictEqual([evictedFiles, missingBytes], [0, TO_GO * FILE_BYTES]);
    const asked = site.heads() - before;
    ok(asked >= 64 && asked <= 64 + 2 * CONCURRENCY, `${asked} in pass ${passes}`);
    strictEqual(site.evictor.pauseMs, 1_000 * 2 ** (passes - 1));
    strictEqual(site.warnings().length, passes);
  }
  match(site.warnings()[0]!, /cannot evict: .*403/);
  site.onHead = () => {};
  strictEqual((await site.evictor.runPass()).missingBytes, 0);
  strictEqual(site.evictor.pauseMs, 0);
  isOldestFirst(site);
});

/** But for those that went together with the one that told that the store is back. */
function isOldestFirst(site: Site): void {
  const gone = site.gone();
  ok(gone.length >= TO_GO && gone.length <= TO_GO + CONCURRENCY, `${gone.length} went`);
  const wanted = new Set(NAMES.slice(0, TO_GO));
  const left = [...wanted.difference(new Set(gone))];
  ok(left.length <= CONCURRENCY, `left, and newer ones went: ${left.join(" ")}`);
}

Deno.test("a store that is back in the middle of a pass, and the oldest go all the same", async () => {
  for (const failures of [1, 63]) {
    await using site = await openSite();
    let left = failures;
    site.onHead = (key) => left-- > 0 && denied(key);
    strictEqual((await site.evictor.runPass()).missingBytes, 0);
    isOldestFirst(site);
  }
});

Deno.test("objects that fail by themselves, however many, keep no other file from going", async () => {
  await using site = await openSite();
  const bad = new Set(NAMES.slice(0, 100));
  site.onHead = (key) => {
    if (bad.has(key)) denied(key);
  };
  for (let passes = 0; passes < 4; passes++) await site.evictor.runPass();
  deepStrictEqual(site.gone(), NAMES.slice(100, 100 + TO_GO));
  const before = site.heads();
  site.settings.maxCacheBytes = site.settings.lowWatermarkBytes = 17_000;
  strictEqual((await site.evictor.runPass()).missingBytes, 0);
  const asked = site.heads() - before;
  ok(asked <= 27 + 2 * CONCURRENCY, `${asked} for 27 files`);
});

async function pin({ fixture }: Site, name: string, pinned: boolean): Promise<void> {
  const flags = { pinned };
  await fixture.manifest.apply(fixture.path(name), "any", { kind: "flagged", flags });
}

Deno.test("a pass over rows that all stay gives others their turn, and the next ones pass over them", async () => {
  await using site = await openSite();
  const { context } = site.fixture;
  for (const name of NAMES) await pin(site, name, true);
  let laterMs = 0;
  let turns = 0;
  const clock: Clock = {
    nowMs: () => SYSTEM_CLOCK.nowMs(),
    monotonicMs: () => SYSTEM_CLOCK.monotonicMs() + laterMs,
    sleep: (delayMs, signal) => {
      turns += 1;
      return SYSTEM_CLOCK.sleep(delayMs, signal);
    },
  };
  const evictor = new Evictor(
    { ...context, clock },
    new SpaceLedger(context, () => {}),
  );
  const turnsOfPass = async (): Promise<number> => {
    turns = 0;
    strictEqual((await evictor.runPass()).evictedFiles, 0);
    return turns;
  };
  strictEqual(await turnsOfPass(), Math.floor(FILES / 256));
  strictEqual(await turnsOfPass(), 0);
  for (const name of NAMES.slice(0, 20)) await pin(site, name, false);
  strictEqual(await turnsOfPass(), 0);
  laterMs += 30_000;
  strictEqual((await evictor.runPass()).evictedFiles, 20);
  for (const name of NAMES.slice(20, 30)) await pin(site, name, false);
  evictor.lookAgain();
  strictEqual((await evictor.runPass()).evictedFiles, 10);
});

Deno.test("what is unpinned goes with the next pass", async () => {
  await using sim = await openSimEngine({ maxCacheBytes: 100, lowWatermarkBytes: 100 });
  const pinAll = async (pinned: boolean): Promise<void> => {
    const { signal } = new AbortController();
    const done = sim.engine.pinSelected({ selection: "", pinned, dryRun: false, signal });
    await sim.clock.advance(1_000);
    await done;
  };
  for (let i = 0; i < 5; i++) await sim.write(`f${i},v`, FILE_BYTES);
  await pinAll(true);
  await sim.clock.advance(120_000);
  strictEqual(sim.manifest.counters().residentFiles, 5);
  await pinAll(false);
  await sim.clock.advance(11_000);
  strictEqual(sim.manifest.counters().residentFiles, 0);
});

Deno.test("the store is not asked for files with more than one name, which are told of once", async () => {
  await using site = await openSite();
  const { fixture, evictor } = site;
  const { root, context } = fixture;
  for (const [i, name] of NAMES.entries()) {
    await Deno.link(`${root}/${name}`, `${root}/snapshot${i}`);
  }
  for (let passes = 0; passes < 3; passes++) {
    evictor.lookAgain();
    strictEqual((await evictor.runPass()).evictedFiles, 0);
  }
  strictEqual(site.heads(), 0);
  strictEqual(evictor.pauseMs, 0);
  strictEqual(site.warnings().length, 1);
  match(site.warnings()[0]!, /hard links/);
  strictEqual(await evict(context, fixture.path(NAMES[0]!)), "linked");
  await Deno.remove(`${root}/snapshot0`);
  evictor.lookAgain();
  strictEqual((await evictor.runPass()).evictedFiles, 1);
  deepStrictEqual(site.gone(), [NAMES[0]]);
});

Deno.test("limits that change while a pass runs count at once", async () => {
  await using site = await openSite();
  const change = (maxCacheBytes: number) => {
    let left = 20;
    site.onHead = () => {
      if (--left === 0) {
        Object.assign(site.settings, { maxCacheBytes, lowWatermarkBytes: maxCacheBytes });
      }
    };
  };
  change(1_000_000);
  strictEqual((await site.evictor.runPass()).missingBytes, 0);
  ok(site.gone().length <= 20 + CONCURRENCY, `${site.gone().length} went`);
  Object.assign(site.settings, LIMITS);
  change(10_000);
  strictEqual((await site.evictor.runPass()).missingBytes, 0);
  strictEqual(site.fixture.manifest.counters().residentBytes, 9_000);
});

Deno.test("while a store hangs, the gauges say what should go and what is not uploaded", async () => {
  await using sim = await openSimEngine({ maxCacheBytes: 0 });
  for (let i = 0; i < 20; i++) await sim.write(`f${i},v`, FILE_BYTES);
  await sim.clock.advance(120_000);
  strictEqual(sim.manifest.counters().dirtyBytes, 0);
  const { primary, metrics, settings } = sim.context;
  const hangs = (signal?: AbortSignal): Promise<never> =>
    new Promise((_, reject) =>
      signal?.addEventListener("abort", () => reject(signal.reason))
    );
  primary.head = (_, signal) => hangs(signal);
  primary.upload = ({ signal }) => hangs(signal);
  Object.assign(settings(), { maxCacheBytes: 1_000, lowWatermarkBytes: 1_000 });
  sim.engine.wake();
  await sim.clock.advance(9_000);
  strictEqual(sim.engine.evictionMissingBytes, 0);
  for (let i = 0; i < 30; i++) await sim.write(`g${i},v`, FILE_BYTES);
  await sim.clock.advance(30_000);
  strictEqual(sim.engine.evictionMissingBytes, 20 * FILE_BYTES - 900);
  match(await metrics.render(), /^p4cache_dirty_over_limit_bytes 2000$/m);
  ok(sim.log.records.some(({ message }) => message.includes("larger than max_cache")));
});

Deno.test("failures are tried again at growing distances, and so many are known at most", () => {
  const failures = new EvictFailures();
  const path = "a,v" as Parameters<EvictFailures["note"]>[0];
  const dueAfterMs: number[] = [];
  let nowMs = 0;
  for (let i = 0; i < 8; i++) {
    failures.note(path, nowMs);
    let dueMs = nowMs;
    while (!failures.isDue(path, dueMs)) dueMs += 1_000;
    dueAfterMs.push(dueMs - nowMs);
    nowMs = dueMs;
  }
  deepStrictEqual(dueAfterMs.map((it) => it / 1_000), [1, 2, 4, 8, 16, 32, 60, 60]);
  for (let i = 0; i < 4_096; i++) failures.note(`${i}` as typeof path, 0);
  deepStrictEqual([failures.isKnown(path), failures.isKnown("0" as typeof path)], [
    false,
    true,
  ]);
});
