import { strictEqual } from "node:assert/strict";
import fc from "fast-check";
import {
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import type { StorageBackend } from "../storage/backend.ts";
import { deleteFile, TombstoneSweeper } from "./delete.ts";
import { firstKey } from "./engine_context.ts";
import { evict } from "./evict.ts";
import { newestVersion } from "./newest_version.ts";
import { observe, REPORTED } from "./observe.ts";
import { undeleteFile } from "./undelete.ts";
import { upload } from "./upload.ts";

const NAME = "a,v";
/** Few, so that old ones come back often. */
const CONTENT = fc.constantFrom("one", "two", "six");

const STEP = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant("store" as const), content: CONTENT }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("store, and write meanwhile" as const),
      content: CONTENT,
      next: CONTENT,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("delete" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("undelete" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("sweep" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("evict" as const) }) },
);

async function write(fixture: EngineFixture, content: string): Promise<void> {
  await fixture.write(NAME, content);
  await observe(fixture.context, fixture.path(NAME), REPORTED);
}

/** The bytes reach the store, and by then the file is another. */
async function storeWhileWritten(fixture: EngineFixture, next: string): Promise<void> {
  const { primary } = fixture;
  const original: StorageBackend["upload"] = primary.upload.bind(primary);
  primary.upload = async (request) => {
    primary.upload = original;
    const info = await original(request);
    await write(fixture, next);
    return info;
  };
  await upload(fixture.context, fixture.path(NAME));
  primary.upload = original;
  await upload(fixture.context, fixture.path(NAME));
}

async function carryOut(
  fixture: EngineFixture,
  step: typeof STEP extends fc.Arbitrary<infer T> ? T : never,
): Promise<void> {
  const { context } = fixture;
  const path = fixture.path(NAME);
  switch (step.do) {
    case "store":
      await write(fixture, step.content);
      await upload(context, path);
      return;
    case "store, and write meanwhile":
      await write(fixture, step.content);
      return await storeWhileWritten(fixture, step.next);
    case "delete":
      await Deno.remove(`${fixture.root}/${NAME}`).catch(() => {});
      await deleteFile(context, path);
      return;
    case "undelete":
      await undeleteFile(context, path, false);
      return;
    case "sweep":
      await new TombstoneSweeper(context).runPass();
      return;
    case "evict":
      if (fixture.manifest.get(path)?.state === "clean") await evict(context, path);
      return;
  }
}

Deno.test("the object of a clean row is the newest version that the store knows of its path", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(STEP, { maxLength: 14 }), async (steps) => {
      await using fixture = await openEngineFixture();
      const path = fixture.path(NAME);
      for (const step of steps) {
        await carryOut(fixture, step);
        const entry = fixture.manifest.get(path);
        if (entry?.state !== "clean") continue;
        const { signal } = fixture.context;
        const newest = await newestVersion(fixture.primary, firstKey(path), signal);
        strictEqual(newest?.metadata?.hash, entry.stored!.hash, JSON.stringify(step));
        strictEqual(newest?.key, entry.stored!.key, JSON.stringify(step));
      }
    }),
    { numRuns: 150 },
  );
});
