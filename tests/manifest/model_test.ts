import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import { InvariantError } from "../../src/core/assert.ts";
import { type DepotPath, objectKeyOf, parseDepotPath } from "../../src/core/names.ts";
import { checkManifest } from "../../src/manifest/check_manifest.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import type { LocalStat, Manifest, ManifestEvent } from "../../src/manifest/manifest.ts";
import { openMemManifest } from "../../src/manifest/mem_manifest.ts";
import { isEvictable } from "../../src/manifest/transitions.ts";
import { nativeFile } from "../../src/posix/native_files.ts";
import { openPosix } from "../../src/posix/posix.ts";
import { ManifestModel } from "./manifest_model.ts";

const PATHS = ["a,v", "d/a,v", "d/b,v", "d/sub/\xe9,v", "e/z,v"].map(parseDepotPath);

type Step =
  | {
    readonly do: "event";
    readonly path: number;
    readonly choice: number;
    readonly isWild: boolean;
  }
  | { readonly do: "move"; readonly path: number; readonly to: number }
  | { readonly do: "undelete" | "touch" | "stale" | "inPrimary"; readonly path: number }
  | { readonly do: "reopen" | "retryNow" };

const KINDS: ManifestEvent["kind"][] = [
  "written",
  "upload-started",
  "uploaded",
  "upload-failed",
  "evicted",
  "restored",
  "adopted",
  "deleted",
  "vanished",
  "attributes",
  "flagged",
];

const PATH_INDEX = fc.nat(PATHS.length - 1);

const STEP: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 30,
    arbitrary: fc.record({
      do: fc.constant("event" as const),
      path: PATH_INDEX,
      choice: fc.nat(1_000),
      isWild: fc.integer({ min: 0, max: 9 }).map((roll) => roll === 0),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("move" as const),
      path: PATH_INDEX,
      to: PATH_INDEX,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom(
        "undelete" as const,
        "touch" as const,
        "stale" as const,
        "inPrimary" as const,
      ),
      path: PATH_INDEX,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constantFrom("reopen" as const, "retryNow" as const),
    }),
  },
);

function statOf(step: number): LocalStat {
  return {
    sizeBytes: step * 10,
    mtimeNs: BigInt(step),
    ctimeNs: BigInt(step),
    mode: 0o444,
    uid: 1,
    gid: 1,
    ino: BigInt(step),
    dev: 1n,
  };
}

/** Few keys, so that content comes back and objects are shared. */
function eventOf(
  kind: ManifestEvent["kind"],
  path: DepotPath,
  step: number,
): ManifestEvent {
  const stat = statOf(step);
  const nowS = 1_000 + step;
  const own = /^[ -~]*$/.test(path) ? path : encodeURIComponent(path);
  const key = ["shared,v", own, `${own}.p4cv-0123456789abcdef`, "a,v"][step % 4]!;
  const stored = {
    key: objectKeyOf(key),
    hash: "ab".repeat(32),
    sizeBytes: stat.sizeBytes,
    mtimeNs: stat.mtimeNs,
    versionId: null,
  };
  const flag = step % 5 < 2 ? "conflict" : step % 5 < 3 ? "borrowed" : "secondaryOnly";
  const flags = { [flag]: step % 3 === 0 };
  switch (kind) {
    case "written":
      return { kind, stat, nowS };
    case "upload-started":
      return { kind };
    case "uploaded":
      return { kind, stat, stored, nowMs: nowS * 1000 };
    case "upload-failed":
      return { kind, retryAtMs: step % 2 === 0 ? null : 5_000_000 + step };
    case "evicted":
      return { kind, marker: stat };
    case "restored":
      return { kind, stat, nowS };
    case "adopted":
      return { kind, stored, stat, resident: step % 2 === 0, flags, nowS };
    case "deleted":
      return { kind, nowMs: nowS * 1000, whiteout: step % 2 === 0 };
    case "vanished":
      return { kind, nowS };
    case "attributes":
      return { kind, stat };
    case "flagged":
      return { kind, flags };
  }
}

/** What the transitions themselves refuse beyond their table. */
function isRefused(model: ManifestModel, path: DepotPath, event: ManifestEvent): boolean {
  const entry = model.rows.get(path)?.entry;
  if (!model.legalKinds(path).includes(event.kind)) return true;
  if (event.kind === "evicted") return !isEvictable(entry!);
  return event.kind === "upload-started" &&
    (entry!.flags.conflict || entry!.flags.foreign);
}

async function takeStep(
  step: Step,
  index: number,
  { model, manifest, reopen }: {
    model: ManifestModel;
    manifest: Manifest;
    reopen: () => Promise<Manifest>;
  },
): Promise<Manifest> {
  switch (step.do) {
    case "event": {
      const path = PATHS[step.path]!;
      // Mostly what is legal now: otherwise long lives of rows would hardly occur.
      const kinds = step.isWild ? KINDS : model.legalKinds(path);
      const event = eventOf(kinds[step.choice % kinds.length]!, path, index);
      if (isRefused(model, path, event)) {
        await rejects(manifest.apply(path, "any", event), InvariantError);
        return manifest;
      }
      const expected = model.rows.get(path)?.entry.generation ?? "absent";
      model.apply(path, event);
      const { outcome } = await manifest.apply(path, expected, event);
      strictEqual(outcome === "stale", false);
      return manifest;
    }
    case "stale": {
      const path = PATHS[step.path]!;
      const before = manifest.get(path);
      const wrong = before === null ? 1 : before.generation + 1;
      const event = eventOf("written", path, index);
      deepStrictEqual(await manifest.apply(path, wrong, event), {
        outcome: "stale",
        entry: before,
      });
      return manifest;
    }
    case "move": {
      const nowMs = (1_000 + index) * 1000;
      model.move(PATHS[step.path]!, PATHS[step.to]!, nowMs);
      await manifest.move(PATHS[step.path]!, PATHS[step.to]!, nowMs);
      return manifest;
    }
    case "undelete":
      model.undelete(PATHS[step.path]!, 1_000 + index);
      await manifest.undelete(PATHS[step.path]!, 1_000 + index);
      return manifest;
    case "inPrimary": {
      const path = PATHS[step.path]!;
      const stored = model.rows.get(path)?.entry.stored ??
        model.tombstones.findLast((one) => one.path === path)?.stored;
      if (stored === undefined) return manifest;
      model.inPrimary(stored);
      await manifest.inPrimary(stored);
      return manifest;
    }
    case "touch": {
      const path = PATHS[step.path]!;
      const row = model.rows.get(path);
      const lastAccessS = 990 + (index * 7) % 50;
      if (row !== undefined && row.entry.lastAccessS < lastAccessS) {
        row.entry = { ...row.entry, lastAccessS };
      }
      await manifest.accessed(new Map([[path, lastAccessS]]));
      return manifest;
    }
    case "retryNow":
      for (const path of model.waitingPaths()) model.rows.get(path)!.retryAtMs = null;
      await manifest.retryNow();
      return manifest;
    case "reopen":
      return await reopen();
  }
}

function compare(model: ManifestModel, manifest: Manifest): void {
  const pathsOf = (some: { path: DepotPath }[]): DepotPath[] =>
    some.map(({ path }) => path);
  deepStrictEqual(manifest.counters(), model.counters());
  for (const path of PATHS) {
    const expected = model.rows.get(path)?.entry ?? null;
    const found = manifest.get(path);
    strictEqual(found?.generation, expected?.generation, path);
    strictEqual(found?.state, expected?.state, path);
    strictEqual(found?.resident, expected?.resident, path);
    deepStrictEqual(found?.stored, expected?.stored, path);
    deepStrictEqual(found?.flags, expected?.flags, path);
    deepStrictEqual(
      manifest.tombstonesOf(path)
        .map(({ stored, reason, secondaryOnly }) => [stored.key, reason, secondaryOnly]),
      model.tombstones.filter((one) => one.path === path)
        .map(({ stored, reason, flags }) => [stored.key, reason, flags.secondaryOnly]),
    );
  }
  deepStrictEqual(
    pathsOf(manifest.entries("", null, 100)),
    [...model.rows.keys()].sort(),
  );
  deepStrictEqual(pathsOf(manifest.dirtyDue(0, 100)), model.dirtyPaths());
  strictEqual(manifest.retryCount(), model.waitingPaths().length);
  const due = new Set(pathsOf(manifest.dirtyDue(Number.MAX_SAFE_INTEGER - 1, 100)));
  deepStrictEqual(due, new Set([...model.dirtyPaths(), ...model.waitingPaths()]));
  deepStrictEqual(pathsOf(manifest.leastRecentlyUsed(100)), model.lruPaths());
  strictEqual(manifest.oldestDirtyAtMs(), model.oldestDirtyAtMs());
  deepStrictEqual(
    manifest.tombstonesDue(Number.MAX_SAFE_INTEGER - 1, 100).map(({ stored }) =>
      stored.key
    )
      .sort(),
    model.dueKeys(),
  );
}

Deno.test("a manifest in memory does what the model does", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(STEP, { maxLength: 120, size: "max" }), async (steps) => {
      const model = new ManifestModel();
      const manifest = await openMemManifest();
      for (const [index, step] of steps.entries()) {
        const reopen = (): Promise<Manifest> => Promise.resolve(manifest);
        await takeStep(step, index, { model, manifest, reopen });
        compare(model, manifest);
      }
      const { kept, counted } = await manifest.recount();
      deepStrictEqual(counted, kept);
    }),
    { numRuns: 300 },
  );
});

Deno.test("a manifest on disk does what the model does, and survives a reopen", async () => {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-model-" });
  using native = openPosix(nativeFile("libp4posix.so"));
  let run = 0;
  try {
    await fc.assert(
      fc.asyncProperty(fc.array(STEP, { maxLength: 60, size: "max" }), async (steps) => {
        const directory = `${root}/${run++}`;
        const model = new ManifestModel();
        let manifest = await openManifest({ directory, native });
        const reopen = async (): Promise<Manifest> => {
          await manifest.close();
          for (const row of model.rows.values()) {
            if (row.entry.state !== "uploading") continue;
            const generation = model.nextGeneration(row);
            row.entry = { ...row.entry, state: "dirty", generation };
          }
          return await openManifest({ directory, native });
        };
        for (const [index, step] of steps.entries()) {
          manifest = await takeStep(step, index, { model, manifest, reopen });
          compare(model, manifest);
        }
        await manifest.close();
        const faults = [];
        for await (const fault of checkManifest(directory)) faults.push(fault);
        deepStrictEqual(faults, []);
        await Deno.remove(directory, { recursive: true });
      }),
      { numRuns: 40 },
    );
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
