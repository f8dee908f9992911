import { deepStrictEqual, notStrictEqual, ok, strictEqual } from "node:assert/strict";
import {
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import { metadataOf, sourceOf } from "../../tests/conformance/test_bytes.ts";
import type { Clock } from "../core/clock.ts";
import { objectKeyOf } from "../core/names.ts";
import type { createMemoryLogger } from "../obs/logger.ts";
import type { DeleteRequest } from "../storage/backend.ts";
import { openMemBackend } from "../storage/mem/mem_backend.ts";
import { StorageError, type StorageFault } from "../storage/storage_error.ts";
import { deleteFile, TombstoneSweeper } from "./delete.ts";
import type { EngineContext } from "./engine_context.ts";
import { observe, REPORTED } from "./observe.ts";
import { upload } from "./upload.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const KEY = objectKeyOf("a,v");

/** Time that passes, and a wall clock that somebody sets. */
class SetClock implements Clock {
  #passedMs = 0;
  #aheadMs = Date.now();
  nowMs(): number {
    return this.#aheadMs + this.#passedMs;
  }
  monotonicMs(): number {
    return this.#passedMs;
  }
  sleep(): Promise<void> {
    return Promise.resolve();
  }
  pass(ms: number): void {
    this.#passedMs += ms;
  }
  set(byMs: number): void {
    this.#aheadMs += byMs;
  }
}

interface Deleting {
  readonly clock: SetClock;
  readonly sweeper: TombstoneSweeper;
  readonly fixture: EngineFixture;
  /** `p4d` writes a file, it is uploaded, and `p4d` deletes it. */
  deleted(): Promise<void>;
  /** Lets time pass, with a pass of the sweeper each hour. */
  sweepFor(ms: number): Promise<number>;
  isStored(): Promise<boolean>;
  warnings(): number;
}

async function withGrace(run: (deleting: Deleting) => Promise<void>): Promise<void> {
  const clock = new SetClock();
  await using fixture = await openEngineFixture({
    settings: { deleteGraceSecs: DAY_MS / 1000 },
    primary: openMemBackend(),
  });
  const context: EngineContext = { ...fixture.context, clock };
  const sweeper = new TombstoneSweeper(context);
  const path = fixture.path("a,v");
  await run({
    clock,
    sweeper,
    fixture,
    async deleted(): Promise<void> {
      await fixture.write("a,v", "content");
      strictEqual(await observe(context, path, REPORTED), "written");
      strictEqual(await upload(context, path), "uploaded");
      await Deno.remove(`${fixture.root}/a,v`);
      strictEqual(await deleteFile(context, path), "deleted");
    },
    async sweepFor(ms): Promise<number> {
      let removedCount = 0;
      for (let passedMs = 0; passedMs < ms; passedMs += HOUR_MS) {
        clock.pass(HOUR_MS);
        removedCount += await sweeper.runPass();
      }
      return removedCount;
    },
    isStored: async () => await fixture.primary.head(KEY) !== null,
    warnings: () =>
      (context.log as ReturnType<typeof createMemoryLogger>).records
        .filter(({ message }) => message.includes("the clock was set forth")).length,
  });
}

Deno.test("an object goes when its grace is over, and not before", () =>
  withGrace(async ({ deleted, sweepFor, isStored, warnings }) => {
    await sweepFor(3 * DAY_MS);
    await deleted();
    strictEqual(await sweepFor(DAY_MS - HOUR_MS), 0);
    ok(await isStored());
    strictEqual(await sweepFor(HOUR_MS), 1);
    strictEqual(await isStored(), false);
    strictEqual(warnings(), 0);
  }));

Deno.test("an object of other bytes under the key of a deleted one stays", () =>
  withGrace(async ({ deleted, sweepFor, isStored, fixture }) => {
    await deleted();
    const { primary } = fixture;
    await primary.delete({ key: KEY });
    // Of a file whose row was lost with a manifest.
    const bytes = new TextEncoder().encode("another");
    await primary.upload({
      key: KEY,
      source: sourceOf(bytes),
      metadata: metadataOf(bytes),
    });
    strictEqual(await sweepFor(2 * DAY_MS), 0);
    ok(await isStored());
    strictEqual(fixture.manifest.counters().tombstones, 0);
  }));

Deno.test("a clock that is set forth ends no grace, however long the daemon has been up", () =>
  withGrace(async ({ clock, deleted, sweepFor, isStored, warnings }) => {
    await sweepFor(3 * DAY_MS);
    await deleted();
    clock.set(25 * HOUR_MS);
    strictEqual(await sweepFor(DAY_MS), 0);
    ok(await isStored());
    strictEqual(warnings(), 1);
    strictEqual(await sweepFor(HOUR_MS), 1);
  }));

Deno.test("a clock that was slow when the file was deleted ends no grace by being corrected", () =>
  withGrace(async ({ clock, deleted, sweepFor, isStored }) => {
    await sweepFor(3 * DAY_MS);
    clock.set(-2 * DAY_MS);
    await sweepFor(HOUR_MS);
    await deleted();
    await sweepFor(HOUR_MS);
    clock.set(2 * DAY_MS);
    strictEqual(await sweepFor(DAY_MS), 0);
    notStrictEqual(await isStored(), false);
    strictEqual(await sweepFor(HOUR_MS), 1);
  }));

Deno.test("many small steps of the clock count as one", () =>
  withGrace(async ({ clock, sweeper, deleted, sweepFor, isStored }) => {
    await sweepFor(3 * DAY_MS);
    await deleted();
    for (let step = 0; step < DAY_MS / 50_000; step++) {
      clock.set(50_000);
      strictEqual(await sweeper.runPass(), 0);
    }
    ok(await isStored());
  }));

interface ManyDeleted {
  readonly fixture: EngineFixture;
  readonly sweeper: TombstoneSweeper;
  /** Requests to remove something since it was read last. */
  asked(): number;
  remaining(): number;
}

/** The store refuses to remove the first of the files that were deleted. */
async function withMany(
  { files, refused, fault }: {
    readonly files: number;
    readonly refused: number;
    readonly fault: StorageFault;
  },
  run: (many: ManyDeleted) => Promise<void>,
): Promise<void> {
  const primary = openMemBackend();
  const names = Array.from({ length: files }, (_, i) => `${i},v`);
  const held = new Set(names.slice(0, refused));
  const remove = primary.delete.bind(primary);
  let asked = 0;
  primary.delete = (request: DeleteRequest): Promise<void> => {
    asked += 1;
    if (!held.has(request.key)) return remove(request);
    const error = { operation: "delete", key: request.key, detail: "held" } as const;
    return Promise.reject(new StorageError(fault, error));
  };
  await using fixture = await openEngineFixture({
    settings: { deleteMaxPerHour: 100_000 },
    primary,
  });
  const { context } = fixture;
  for (const name of names) {
    const path = fixture.path(name);
    await fixture.write(name, name);
    await observe(context, path, REPORTED);
    strictEqual(await upload(context, path), "uploaded");
    await Deno.remove(`${fixture.root}/${name}`);
    strictEqual(await deleteFile(context, path), "deleted");
  }
  await run({
    fixture,
    sweeper: new TombstoneSweeper(context),
    asked(): number {
      const count = asked;
      asked = 0;
      return count;
    },
    remaining: () => fixture.manifest.tombstonesDue(Date.now(), files + 1).length,
  });
}

Deno.test("objects that may not be removed stand in the way of no others, and are told of once", () =>
  withMany(
    { files: 70, refused: 64, fault: "denied" },
    async ({ fixture, sweeper, remaining }) => {
      strictEqual(await sweeper.runPass(), 6);
      strictEqual(remaining(), 64);
      for (let pass = 0; pass < 3; pass++) strictEqual(await sweeper.runPass(), 0);
      deepStrictEqual(
        fixture.failures.map(({ op, key }) => [op, key]),
        Array.from({ length: 64 }, (_, i) => ["delete", `${i},v`]),
      );
    },
  ));

Deno.test("a pass ends after so many failures, and the next one goes on behind them", () =>
  withMany(
    { files: 206, refused: 200, fault: "denied" },
    async ({ sweeper, asked, remaining }) => {
      deepStrictEqual([await sweeper.runPass(), asked()], [0, 128]);
      deepStrictEqual([await sweeper.runPass(), asked()], [6, 78]);
      // From the oldest on: they may be removed by now.
      deepStrictEqual([await sweeper.runPass(), asked()], [0, 128]);
      strictEqual(remaining(), 200);
    },
  ));

Deno.test("a store that does not answer ends the pass, and the next one begins with another object", () =>
  withMany(
    { files: 4, refused: 2, fault: "unavailable" },
    async ({ sweeper, asked, remaining }) => {
      deepStrictEqual([await sweeper.runPass(), asked()], [0, 1]);
      deepStrictEqual([await sweeper.runPass(), asked()], [0, 1]);
      deepStrictEqual([await sweeper.runPass(), asked()], [2, 2]);
      strictEqual(remaining(), 2);
    },
  ));
