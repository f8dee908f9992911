/**
 * What a crowd of callers gets: the same as one operation after the other, without those
 * whose commit failed.
 */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import { InvariantError } from "../../src/core/assert.ts";
import { type Clock, SYSTEM_CLOCK } from "../../src/core/clock.ts";
import { type DepotPath, objectKeyOf, parseDepotPath } from "../../src/core/names.ts";
import { nextTurn } from "../../src/core/turns.ts";
import { tableFaults } from "../../src/manifest/check.ts";
import { checkManifest } from "../../src/manifest/check_manifest.ts";
import type { KeyValueStore } from "../../src/manifest/key_value.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import {
  type LocalStat,
  type Manifest,
  ManifestError,
  type ManifestEvent,
} from "../../src/manifest/manifest.ts";
import { ManifestStore } from "../../src/manifest/manifest_store.ts";
import { MemKeyValue } from "../../src/manifest/mem_key_value.ts";
import { openMemManifest } from "../../src/manifest/mem_manifest.ts";
import { firstWrites } from "../../src/manifest/schema.ts";

const PATHS = ["a,v", "d/a,v", "d/b,v", "d/c,v", "d/e/f,v"].map(parseDepotPath);
const CALLERS = 64;

/** The wall stands still, so that rows are the same whenever they are made. */
const CLOCK: Clock = { ...SYSTEM_CLOCK, nowMs: () => 1_000_000 };

interface Asked {
  readonly path: DepotPath;
  /** Of each kind of operation and event one. */
  readonly choice: number;
}

const ASKED: fc.Arbitrary<Asked> = fc.record({
  path: fc.constantFrom(...PATHS),
  choice: fc.nat(9),
});

/** The same for the same arguments: `index` numbers what was asked. */
function ask(
  manifest: Manifest,
  { path, choice }: Asked,
  index: number,
): Promise<unknown> {
  const stat: LocalStat = {
    sizeBytes: index,
    mtimeNs: BigInt(index),
    ctimeNs: 1n,
    mode: 0o444,
    uid: 1,
    gid: 1,
    ino: 1n,
    dev: 1n,
  };
  const stored = {
    key: objectKeyOf(index % 3 === 0 ? "d/shared,v" : path),
    hash: "ab".repeat(32),
    sizeBytes: index,
    mtimeNs: 1n,
    versionId: null,
  };
  const nowMs = 1_000_000 + index;
  const events: ManifestEvent[] = [
    { kind: "written", stat, nowS: index },
    { kind: "upload-started" },
    { kind: "uploaded", stored, stat, nowMs },
    { kind: "upload-failed", retryAtMs: index % 2 === 0 ? null : nowMs },
    { kind: "evicted", marker: stat },
    { kind: "deleted", nowMs, whiteout: index % 2 === 0 },
    { kind: "adopted", stored, stat, resident: true, flags: {}, nowS: index },
  ];
  if (choice < events.length) return manifest.apply(path, "any", events[choice]!);
  if (choice === 7) return manifest.move(path, PATHS[index % PATHS.length]!, nowMs);
  if (choice === 8) return manifest.undelete(path, index);
  return manifest.accessed(new Map([[path, index]]));
}

interface Answer {
  readonly asked: Asked;
  readonly index: number;
  readonly outcome: unknown;
}

const REFUSED = "refused";
const FAILED = "failed";

async function outcomeOf(asking: Promise<unknown>): Promise<unknown> {
  try {
    return await asking;
  } catch (error) {
    if (error instanceof InvariantError) return REFUSED;
    if (error instanceof ManifestError) return FAILED;
    throw error;
  }
}

function list(manifest: Manifest, index: number): void {
  if (index % 2 === 0) manifest.dirtyDue(nowMax, 3);
  else manifest.leastRecentlyUsed(3);
}

/** Callers who each ask again when they have an answer; answers in the order of asking. */
async function answersOf(manifest: Manifest, all: readonly Asked[]): Promise<Answer[]> {
  const answers: Answer[] = [];
  let next = 0;
  await Promise.all(Array.from({ length: CALLERS }, async () => {
    while (next < all.length) {
      const index = next++;
      const asked = all[index]!;
      const asking = outcomeOf(ask(manifest, asked, index));
      // What is listed while a commit is under way is as it was before it, or after it.
      if (index % 5 === 0) list(manifest, index);
      const outcome = await asking;
      if (index % 7 === 0) list(manifest, index);
      answers[index] = { asked, index, outcome };
    }
  }));
  return answers;
}

async function compareWithOneByOne(
  manifest: Manifest,
  answers: readonly Answer[],
): Promise<void> {
  const model = await openMemManifest({ clock: CLOCK });
  for (const { asked, index, outcome } of answers) {
    if (outcome === FAILED) continue;
    deepStrictEqual(outcome, await outcomeOf(ask(model, asked, index)), `${index}`);
  }
  deepStrictEqual(manifest.counters(), model.counters());
  for (const path of PATHS) {
    deepStrictEqual(manifest.get(path), model.get(path));
    deepStrictEqual(manifest.tombstonesOf(path), model.tombstonesOf(path));
  }
  const queueOf = (some: Manifest): unknown => some.dirtyDue(nowMax, 100);
  deepStrictEqual(queueOf(manifest), queueOf(model));
}

const nowMax = Number.MAX_SAFE_INTEGER - 1;

/** Commits take a few turns, and fail where `fails` says so. */
function failing(
  store: MemKeyValue,
  fails: (commit: number) => boolean,
): KeyValueStore {
  let isCommitting = false;
  let commits = 0;
  return {
    get: (table, key) => store.get(table, key),
    keys: (table, range) => store.keys(table, range),
    range: (table, range) => store.range(table, range),
    sealedRow: () => null,
    snapshot: () => store.snapshot(),
    count: (table) => store.count(table),
    close: () => store.close(),
    read: (table, key, decode) => store.read(table, key, decode),
    async commit(writes): Promise<void> {
      strictEqual(isCommitting, false, "one commit at a time");
      isCommitting = true;
      for (let turn = 0; turn < 3; turn++) await nextTurn();
      isCommitting = false;
      if (fails(commits++)) throw new ManifestError("unavailable", "no disk");
      await store.commit(writes);
    },
  };
}

Deno.test("a crowd gets what it got one by one, whichever commits fail", async () => {
  let failed = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(ASKED, { minLength: 200, maxLength: 600 }),
      fc.array(fc.nat(4), { minLength: 1, maxLength: 20 }),
      async (all, rolls) => {
        const tables = new MemKeyValue();
        await tables.commit(firstWrites());
        const manifest = new ManifestStore({
          store: failing(tables, (commit) => rolls[commit % rolls.length] === 0),
          clock: CLOCK,
          readOnly: false,
          backup: () => Promise.reject(new Error("not in this test")),
        });
        const answers = await answersOf(manifest, all);
        await manifest.close();
        await compareWithOneByOne(manifest, answers);
        const faults = [];
        for await (const fault of tableFaults(tables)) faults.push(fault);
        deepStrictEqual(faults, []);
        failed += answers.filter(({ outcome }) => outcome === FAILED).length;
      },
    ),
    { numRuns: 60 },
  );
  ok(failed > 0, "no commit failed");
});

Deno.test("the same on disk: what was answered is there after a reopen, and every table agrees", async () => {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-crowd-" });
  try {
    let run = 0;
    const asked = fc.array(ASKED, { minLength: 500, maxLength: 2_000 });
    await fc.assert(
      fc.asyncProperty(asked, async (all) => {
        const directory = `${root}/${run++}`;
        // Nothing is uploading at the end: a reopen would change it.
        const some = all.filter(({ choice }) => choice !== 1 && choice !== 2);
        const manifest = await openManifest({ directory, clock: CLOCK });
        const answers = await answersOf(manifest, some);
        await manifest.close();
        const faults = [];
        for await (const fault of checkManifest(directory)) faults.push(fault);
        deepStrictEqual(faults, []);
        const again = await openManifest({ directory });
        await compareWithOneByOne(again, answers);
        await again.close();
      }),
      { numRuns: 5 },
    );
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
