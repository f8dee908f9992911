import { deepStrictEqual, strictEqual } from "node:assert/strict";
import {
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import type { BytePath } from "../core/names.ts";
import type { Walk, WalkEntry } from "../posix/posix.ts";
import { prestageDepot, type PrestageReport } from "./prestage.ts";
import { ScanRecord } from "./scan_record.ts";

const LONG_AGO = 1_000_000;

interface Walked {
  /** Counted from one. */
  readonly begin?: (walk: number) => Promise<void>;
  /** Whether the walk has this behind it when it is moved, and does not meet it. */
  readonly passes?: (path: BytePath, walk: number) => boolean;
  readonly end?: (walk: number) => Promise<void>;
}

/** Others act between the steps of each walk. Tells how many there were. */
function whileWalking(
  { posix }: EngineFixture,
  { begin, passes, end }: Walked,
): () => number {
  const openWalk = posix.openWalk.bind(posix);
  let count = 0;
  posix.openWalk = (root, options): Walk => {
    const walk = openWalk(root, options);
    const number = ++count;
    let isBegun = false;
    return {
      async nextBatch(): Promise<WalkEntry[]> {
        for (;;) {
          const batch = await walk.nextBatch();
          if (!isBegun) await begin?.(number);
          isBegun = true;
          const met = batch.filter(({ path }) => !(passes?.(path, number) ?? false));
          if (met.length > 0) return met;
          if (batch.length === 0) {
            await end?.(number);
            return met;
          }
        }
      },
      close: () => walk.close(),
    };
  };
  return () => count;
}

async function prestaged(
  { context, manifest }: EngineFixture,
  dryRun = false,
): Promise<PrestageReport> {
  const record = new ScanRecord({ manifest, clock: context.clock, bootId: "b" });
  return await prestageDepot(context, record, { dryRun, onProgress: () => {} });
}

/** Closed long before. */
async function writeOld(fixture: EngineFixture, path: string): Promise<void> {
  await fixture.write(path, "x");
  await Deno.utime(`${fixture.root}/${path}`, LONG_AGO, LONG_AGO);
}

async function keysOf({ primary }: EngineFixture): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of primary.list("")) keys.push(key);
  return keys.sort();
}

const LEFT_NOTHING = {
  dirtyFiles: 0,
  dirtyBytes: 0,
  undecidedFiles: 0,
  unprovenFiles: 0,
  lateFiles: 0,
};

for (
  const [what, from, to] of [
    ["directory", "z/moving", "a/moving"],
    ["file", "z/moving/b,v", "a/b,v"],
  ] as const
) {
  Deno.test(`a ${what} that is renamed to where the walk has been is uploaded all the same`, async () => {
    for (const dryRun of [true, false]) {
      await using fixture = await openEngineFixture();
      const { root } = fixture;
      await writeOld(fixture, "a/a,v");
      await writeOld(fixture, "z/moving/b,v");
      whileWalking(fixture, {
        passes: (path, walk) => walk === 1 && path.includes("b,v"),
        begin: async (walk) => {
          if (walk === 1) await Deno.rename(`${root}/${from}`, `${root}/${to}`);
        },
      });
      const report = await prestaged(fixture, dryRun);
      const left = dryRun ? { dirtyFiles: 2, dirtyBytes: 2 } : {};
      const uploadedBytes = dryRun ? 0 : 2;
      deepStrictEqual(report, {
        files: 2,
        totalBytes: 2,
        uploadedBytes,
        ...LEFT_NOTHING,
        ...left,
      });
      const path = what === "file" ? to : `${to}/b,v`;
      deepStrictEqual(await keysOf(fixture), dryRun ? [] : ["a/a,v", path]);
    }
  });
}

Deno.test("a file that is renamed between the walk and its upload is uploaded under its new name", async () => {
  await using fixture = await openEngineFixture();
  const { root } = fixture;
  await writeOld(fixture, "a,v");
  whileWalking(fixture, {
    end: async (walk) => {
      if (walk === 1) await Deno.rename(`${root}/a,v`, `${root}/b,v`);
    },
  });
  const { files, dirtyFiles } = await prestaged(fixture);
  deepStrictEqual([files, dirtyFiles], [1, 0]);
  deepStrictEqual(await keysOf(fixture), ["b,v"]);
});

Deno.test("a look that finds files of before each time ends, and says so", async () => {
  await using fixture = await openEngineFixture();
  const walks = whileWalking(fixture, {
    end: (walk) => writeOld(fixture, `moved${walk},v`),
  });
  await writeOld(fixture, "a,v");
  const report = await prestaged(fixture);
  strictEqual(walks(), 5);
  deepStrictEqual(report, {
    files: 5,
    totalBytes: 5,
    uploadedBytes: 5,
    ...LEFT_NOTHING,
    lateFiles: 1,
  });
});

Deno.test("what p4d writes meanwhile is uploaded, and is no reason to look again", async () => {
  await using fixture = await openEngineFixture();
  await writeOld(fixture, "a,v");
  const walks = whileWalking(fixture, {
    end: async (walk) => {
      await fixture.write(`new${walk},v`, "new");
      await fixture.write("a,v", `version ${walk}`);
    },
  });
  const report = await prestaged(fixture);
  strictEqual(walks(), 2);
  deepStrictEqual([report.files, report.lateFiles], [2, 0]);
  strictEqual(report.undecidedFiles, 0);
});

Deno.test("what was deleted meanwhile is not put back", async () => {
  await using fixture = await openEngineFixture();
  const { root, posix } = fixture;
  await writeOld(fixture, "a,v");
  await writeOld(fixture, "b,v");
  whileWalking(fixture, {
    begin: async (walk) => {
      if (walk === 2) await Deno.remove(`${root}/a,v`);
    },
  });
  const { lateFiles, dirtyFiles } = await prestaged(fixture);
  deepStrictEqual([lateFiles, dirtyFiles], [0, 0]);
  strictEqual(posix.lstat(`${root}/a,v` as BytePath), null);
});
