import { deepStrictEqual, notStrictEqual, ok, strictEqual } from "node:assert/strict";
import { FakeClock } from "../../tests/conformance/fake_clock.ts";
import {
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import { type ObjectKey, objectKeyOf } from "../core/names.ts";
import type { DeleteRequest, StorageBackend } from "../storage/backend.ts";
import { openMemBackend } from "../storage/mem/mem_backend.ts";
import { DEFAULT_RETRY_POLICY, withRetry } from "../storage/retrying_backend.ts";
import { StorageError } from "../storage/storage_error.ts";
import { deleteFile, TombstoneSweeper } from "./delete.ts";
import { DoubtfulKeys } from "./doubtful_keys.ts";
import type { EngineContext } from "./engine_context.ts";
import { evict } from "./evict.ts";
import { observe, REPORTED } from "./observe.ts";
import { RecallBudget } from "./recall_budget.ts";
import { Restorer } from "./restore.ts";
import { SpaceLedger } from "./space.ts";
import { undeleteFile } from "./undelete.ts";
import { upload } from "./upload.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const FIRST = objectKeyOf("a,v");

/** A store that leaves DELETEs unanswered, and carries them out without their condition. */
class LateStore {
  readonly store: StorageBackend = openMemBackend();
  /** How many of the next requests to remove something are left unanswered. */
  unanswered = 0;
  asked = 0;
  readonly #late: ObjectKey[] = [];

  constructor() {
    const remove = this.store.delete.bind(this.store);
    this.store.delete = async (request: DeleteRequest): Promise<void> => {
      this.asked += 1;
      if (this.unanswered === 0) return await remove(request);
      this.unanswered -= 1;
      const { key } = request;
      this.#late.push(key);
      const detail = "no progress for 60 s";
      throw new StorageError("unavailable", { operation: "delete", key, detail });
    };
    this.land = async (): Promise<void> => {
      for (const key of this.#late.splice(0)) await remove({ key });
    };
  }

  /** What went unanswered is carried out now. */
  readonly land: () => Promise<void>;
}

interface Depot {
  readonly late: LateStore;
  readonly fixture: EngineFixture;
  readonly context: EngineContext;
  pass(ms: number): void;
  sweep(): Promise<number>;
  /** `p4d` writes the file, and it is uploaded. Under which key? */
  write(content: string): Promise<string>;
  remove(): Promise<void>;
  /** Evicts the file, lets late requests land, and reads it. */
  readBack(): Promise<string>;
  tombstones(): string[];
}

async function withDepot(run: (depot: Depot) => Promise<void>): Promise<void> {
  const late = new LateStore();
  const primary = withRetry(late.store, DEFAULT_RETRY_POLICY, new FakeClock(), () => 0);
  const settings = { storeLookupOnMiss: true };
  await using fixture = await openEngineFixture({ primary, settings });
  const { clock } = fixture.context;
  let passedMs = 0;
  const context: EngineContext = {
    ...fixture.context,
    clock: {
      ...clock,
      nowMs: () => clock.nowMs() + passedMs,
      monotonicMs: () => clock.monotonicMs() + passedMs,
    },
  };
  const parts = { context, space: new SpaceLedger(context, () => {}) };
  const restorer = new Restorer(
    { ...parts, recall: new RecallBudget(context) },
    () => {},
  );
  const sweeper = new TombstoneSweeper(context);
  const path = fixture.path("a,v");
  await run({
    late,
    fixture,
    context,
    pass: (ms) => void (passedMs += ms),
    sweep: () => sweeper.runPass(),
    async write(content): Promise<string> {
      await fixture.write("a,v", content);
      strictEqual(await observe(context, path, REPORTED), "written");
      strictEqual(await upload(context, path), "uploaded");
      return fixture.manifest.get(path)!.stored!.key;
    },
    async remove(): Promise<void> {
      await Deno.remove(`${fixture.root}/a,v`);
      strictEqual(await deleteFile(context, path), "deleted");
    },
    async readBack(): Promise<string> {
      strictEqual(await evict(context, path), "evicted");
      await late.land();
      await restorer.restore(path);
      return await fixture.read("a,v");
    },
    tombstones: () => fixture.manifest.tombstonesOf(path).map(({ stored }) => stored.key),
  });
}

Deno.test("a file whose object may still be removed is not undeleted before an hour is over", () =>
  withDepot(
    async ({ late, fixture, context, pass, sweep, write, remove, tombstones }) => {
      await write("content");
      await remove();
      late.unanswered = 4;
      strictEqual(await sweep(), 0);
      const undelete = () => undeleteFile(context, fixture.path("a,v"), false);
      pass(20 * MINUTE_MS);
      deepStrictEqual(await undelete(), {
        isDone: false,
        why:
          "the store left a request to remove its object unanswered, and may still carry it " +
          "out: try again in 40 min",
      });
      strictEqual(fixture.manifest.get(fixture.path("a,v")), null);
      await late.land();
      strictEqual(await sweep(), 0);
      deepStrictEqual(tombstones(), [FIRST], "it stays as long as the key is doubtful");
      pass(40 * MINUTE_MS);
      strictEqual(await sweep(), 0);
      deepStrictEqual(tombstones(), []);
    },
  ));

Deno.test("a file whose removal the store has forgotten is undeleted after an hour", () =>
  withDepot(async ({ late, fixture, context, pass, sweep, write, remove }) => {
    await write("content");
    await remove();
    late.unanswered = 4;
    strictEqual(await sweep(), 0);
    pass(HOUR_MS);
    const path = fixture.path("a,v");
    deepStrictEqual(await undeleteFile(context, path, false), { isDone: true });
    await fixture.restorer.restore(path);
    strictEqual(await fixture.read("a,v"), "content");
  }));

Deno.test("the same content is uploaded again, beside an object that may still be removed", () =>
  withDepot(async ({ late, sweep, write, remove, readBack }) => {
    strictEqual(await write("content"), FIRST);
    await remove();
    late.unanswered = 4;
    strictEqual(await sweep(), 0);
    notStrictEqual(await write("content"), FIRST);
    strictEqual(await readBack(), "content");
  }));

Deno.test("a content that comes back is uploaded again, beside its version that may still be removed", () =>
  withDepot(async ({ late, sweep, write, remove, readBack }) => {
    await write("one");
    const two = await write("two");
    await remove();
    late.unanswered = 8;
    await sweep();
    await sweep();
    strictEqual(late.asked, 8);
    notStrictEqual(await write("two"), two);
    strictEqual(await readBack(), "two");
  }));

Deno.test("a key is free an hour after its object was removed by the second of two requests", () =>
  withDepot(
    async ({ late, fixture, pass, sweep, write, remove, readBack, tombstones }) => {
      await write("old");
      await remove();
      late.unanswered = 1;
      strictEqual(await sweep(), 1);
      strictEqual(late.asked, 2);
      deepStrictEqual(tombstones(), [FIRST]);
      notStrictEqual(await write("new"), FIRST);
      strictEqual(await readBack(), "new");
      pass(HOUR_MS);
      strictEqual(await sweep(), 0);
      deepStrictEqual([late.asked, tombstones()], [2, []]);
      strictEqual(await fixture.primary.head(FIRST), null);
    },
  ));

Deno.test("an answered removal leaves nothing in doubt", () =>
  withDepot(async ({ sweep, write, remove, tombstones }) => {
    await write("old");
    await remove();
    strictEqual(await sweep(), 1);
    deepStrictEqual(tombstones(), []);
    strictEqual(await write("new"), FIRST);
  }));

Deno.test("a key is doubtful for an hour after the last request that was given up", () => {
  const keys = new DoubtfulKeys();
  const other = objectKeyOf("b,v");
  keys.note(FIRST, 0);
  keys.note(other, 10);
  keys.note(FIRST, 20);
  strictEqual(keys.remainingMs(FIRST, 30), HOUR_MS - 10);
  ok(keys.has(other, HOUR_MS + 9));
  deepStrictEqual([FIRST, other].map((key) => keys.has(key, HOUR_MS + 10)), [
    true,
    false,
  ]);
  keys.note(other, HOUR_MS + 20);
  deepStrictEqual([FIRST, other].map((key) => keys.has(key, HOUR_MS + 20)), [
    false,
    true,
  ]);
});
