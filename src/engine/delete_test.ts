import { notStrictEqual, ok, strictEqual } from "node:assert/strict";
import {
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import type { Clock } from "../core/clock.ts";
import { objectKeyOf } from "../core/names.ts";
import type { createMemoryLogger } from "../obs/logger.ts";
import { openMemBackend } from "../storage/mem/mem_backend.ts";
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
