import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import {
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import { ManualClock } from "../../tests/support/manual_clock.ts";
import { SYSTEM_CLOCK } from "../core/clock.ts";
import { bytePathOf } from "../core/names.ts";
import { ManifestError } from "../manifest/manifest.ts";
import { ManifestStore } from "../manifest/manifest_store.ts";
import { MemKeyValue } from "../manifest/mem_key_value.ts";
import { firstWrites } from "../manifest/schema.ts";
import { createMemoryLogger } from "../obs/logger.ts";
import { MoveCutShortError } from "./directory_moves.ts";
import { Engine } from "./engine.ts";
import { evict } from "./evict.ts";
import { observe, REPORTED, SCAN } from "./observe.ts";
import type { Rename } from "./rename.ts";
import { upload } from "./upload.ts";

const NAMES = ["0,v", "1,v", "2,v", "3,v", "4,v"];
const REFUSED = 3;

/** Of the manifest. */
interface Disk {
  commits: number;
  isFull(commit: number): boolean;
  /** What each commit waits for. */
  gate: Promise<void>;
}

interface Depot extends AsyncDisposable {
  readonly fixture: EngineFixture;
  readonly engine: Engine;
  readonly disk: Disk;
  readonly clock: ManualClock;
  readonly stop: AbortController;
  readonly messages: () => string[];
  /** What is to end before the depot goes, also if the test fails. */
  beside(work: Promise<unknown>): void;
}

/** Evicted files below `d` and `e`: what is in each is its name. Two rows a step. */
async function opened(): Promise<Depot> {
  const store = new MemKeyValue();
  await store.commit(firstWrites());
  const disk: Disk = { commits: 0, isFull: () => false, gate: Promise.resolve() };
  const manifest = new ManifestStore({
    store: {
      get: (table, key) => store.get(table, key),
      keys: (table, range) => store.keys(table, range),
      read: (table, key, decode) => store.read(table, key, decode),
      range: (table, range) => store.range(table, range),
      sealedRow: () => null,
      snapshot: () => store.snapshot(),
      count: (table) => store.count(table),
      close: () => store.close(),
      commit: async (writes) => {
        disk.commits += 1;
        await disk.gate;
        if (disk.isFull(disk.commits)) throw new ManifestError("full", "no room");
        await store.commit(writes);
      },
    },
    clock: SYSTEM_CLOCK,
    readOnly: false,
    rowsPerStep: 2,
    backup: () => Promise.reject(new Error("no files")),
  });
  const fixture = await openEngineFixture({ manifest });
  for (const directory of ["d", "e"]) {
    for (const name of NAMES) {
      const path = fixture.path(`${directory}/${name}`);
      await fixture.write(path, path);
      await observe(fixture.context, path, REPORTED);
      strictEqual(await upload(fixture.context, path), "uploaded");
      strictEqual(await evict(fixture.context, path), "evicted");
    }
  }
  const [clock, stop, log] = [
    new ManualClock(),
    new AbortController(),
    createMemoryLogger(),
  ];
  const context = { ...fixture.context, clock, log, signal: stop.signal };
  const running: Promise<unknown>[] = [];
  return {
    fixture,
    engine: new Engine(context),
    disk,
    clock,
    stop,
    messages: () => log.records.map(({ message }) => message),
    beside: (work) => void running.push(work.catch(() => {})),
    async [Symbol.asyncDispose](): Promise<void> {
      stop.abort();
      await Promise.all(running);
      await fixture[Symbol.asyncDispose]();
    },
  };
}

function told(
  { fixture: { path, posix, root } }: Depot,
  from: string,
  to: string,
): Rename {
  const { ino } = posix.lstat(bytePathOf(`${root}/${to}`))!;
  const names = { from: path(from), to: path(to) };
  return { ...names, what: "directory", ino, writerUid: 0, toldMs: 5 };
}

const ACTS = [
  {
    what: "rename",
    /** @returns What the kernel tells. */
    async run(depot: Depot): Promise<Rename[]> {
      const { root } = depot.fixture;
      await Deno.rename(`${root}/d`, `${root}/f`);
      await Deno.mkdir(`${root}/d`);
      return [told(depot, "d", "f")];
    },
    /** Where the files of `d` and `e` are then. */
    now: { d: "f", e: "e" },
  },
  {
    what: "exchange",
    run(depot: Depot): Promise<Rename[]> {
      const { root, posix } = depot.fixture;
      posix.exchange(bytePathOf(`${root}/d`), bytePathOf(`${root}/e`));
      return Promise.resolve([told(depot, "d", "e"), told(depot, "e", "d")]);
    },
    now: { d: "e", e: "d" },
  },
];

/** What `work` comes to, while time passes. */
async function inTime<T>({ clock }: Depot, work: Promise<T>): Promise<T> {
  let isOver = false;
  const over = (): void => void (isOver = true);
  work.then(over, over);
  while (!isOver) await clock.advance(1_000);
  return await work;
}

/** From now on, `count` commits from the one on that is `first`, the next one being 1. */
function refuse({ disk }: Depot, first: number, count: number): void {
  disk.commits = 0;
  disk.isFull = (commit) => commit >= first && commit < first + count;
}

for (const { what, run, now } of ACTS) {
  for (const first of [1, 2, 3]) {
    Deno.test(`the ${what} of a directory whose commit ${first} is refused ends before a row is made under the old name`, async () => {
      await using depot = await opened();
      const { fixture, engine, messages } = depot;
      const events = await run(depot);
      refuse(depot, first, REFUSED);
      const moved = engine.renamed(events[0]!);
      const scanned = engine.scan(SCAN);
      depot.beside(scanned);
      // As p4d does it in the meantime, and as it is told.
      await fixture.write("d/0,v", "made anew");
      await inTime(depot, moved);
      for (const event of events.slice(1)) await engine.renamed(event);
      await engine.wrote(fixture.path("d/0,v"), 0);
      await inTime(depot, scanned);
      await inTime(depot, engine.scan(SCAN));

      deepStrictEqual(messages().filter((it) => it.includes("rename of a directory")), [
        "cannot take in the rename of a directory, and takes in no event before it can: no room",
        "went on with the rename of a directory",
      ]);
      const anew = fixture.manifest.get(fixture.path("d/0,v"))!;
      deepStrictEqual([anew.state, anew.resident], ["dirty", true]);
      strictEqual(await fixture.read("d/0,v"), "made anew");
      for (const was of ["d", "e"] as const) {
        for (const name of NAMES) {
          const path = fixture.path(`${now[was]}/${name}`);
          if (path === "d/0,v") continue;
          strictEqual(fixture.manifest.get(path)?.stored?.key, `${was}/${name}`);
          await fixture.restorer.restore(path);
          strictEqual(await fixture.read(path), `${was}/${name}`);
        }
      }
      const paths = [now.d, now.e].flatMap((it) => NAMES.map((name) => `${it}/${name}`));
      deepStrictEqual(
        fixture.manifest.paths(null, 100),
        [...new Set([...paths, "d/0,v"])].sort(),
      );
      // No version of a file that is still there was taken for a replaced one.
      for (const path of fixture.manifest.paths(null, 100)) {
        if (path !== "d/0,v") deepStrictEqual(fixture.manifest.tombstonesOf(path), []);
      }
      const { kept, counted } = await fixture.manifest.recount();
      deepStrictEqual(kept, counted);
    });
  }

  Deno.test(`a stop ends the wait for a disk that refuses the ${what} of a directory, and the scan behind it`, async () => {
    await using depot = await opened();
    const { engine, stop, disk, fixture } = depot;
    const [event] = await run(depot);
    refuse(depot, 2, Infinity);
    const moved = engine.renamed(event!);
    const scanned = engine.scan(SCAN);
    depot.beside(scanned);
    await Promise.all([
      depot.clock.advance(5_000).then(() => stop.abort(new Error("a stop"))),
      rejects(moved, MoveCutShortError),
      rejects(scanned, { message: "a stop" }),
    ]);
    disk.isFull = () => false;
    const finished = await fixture.manifest.finishMove({});
    deepStrictEqual([finished?.from, finished?.to], [event!.from, event!.to]);
  });
}

Deno.test("a delete that the disk refuses before a directory's rename is applied before it", async () => {
  await using depot = await opened();
  const { fixture, stop, clock } = depot;
  let asked = 0;
  const engine = new Engine({
    ...fixture.context,
    clock,
    signal: stop.signal,
    applyDeletesBelow: () => {
      deepStrictEqual(fixture.manifest.get(fixture.path("f/0,v")), null);
      return ++asked < 3
        ? Promise.reject(new ManifestError("full", "no room"))
        : Promise.resolve();
    },
  });
  const [event] = await ACTS[0]!.run(depot);
  await inTime(depot, engine.renamed(event!));
  strictEqual(asked, 3);
  strictEqual(fixture.manifest.get(fixture.path("f/0,v"))?.stored?.key, "d/0,v");
});

Deno.test("a manifest that is damaged is not asked for the move again", async () => {
  await using depot = await opened();
  const { engine, disk } = depot;
  const [event] = await ACTS[0]!.run(depot);
  disk.gate = Promise.reject(new ManifestError("damaged", "a page"));
  disk.gate.catch(() => {});
  await rejects(engine.renamed(event!), { fault: "damaged" });
  disk.gate = Promise.resolve();
});

Deno.test("a scan that begins while a large directory moves does not keep a stop waiting", async () => {
  await using depot = await opened();
  const { engine, stop, disk } = depot;
  const [event] = await ACTS[0]!.run(depot);
  const step = Promise.withResolvers<void>();
  disk.gate = step.promise;
  const moved = engine.renamed(event!);
  const scanned = engine.scan(SCAN);
  stop.abort(new Error("a stop"));
  await rejects(scanned, { message: "a stop" });
  step.resolve();
  await moved;
});
