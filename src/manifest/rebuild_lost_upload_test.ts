/**
 * What a rebuild makes of an object at the key of an upload whose end nobody heard.
 *
 * @module
 */

import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { type DepotPath, firstKeyFor, parseDepotPath } from "../core/names.ts";
import type { FileEntry, LocalStat } from "./manifest.ts";
import { openMemManifest } from "./mem_manifest.ts";
import { rebuildManifest } from "./rebuild.ts";
import type { RebuildObject } from "./rebuild_sides.ts";

const [A, D, E] = ["d/a,v", "d", "e"].map(parseDepotPath) as [
  DepotPath,
  DepotPath,
  DepotPath,
];
const firstKey = (path: DepotPath): ReturnType<typeof firstKeyFor> =>
  firstKeyFor(path, () => "");
const HOUR_MS = 3_600_000;

const LOST: LocalStat = {
  sizeBytes: 11,
  mtimeNs: 1_000n,
  ctimeNs: 1n,
  mode: 0o444,
  uid: 1,
  gid: 2,
  ino: 101n,
  dev: 1n,
};

/**
 * The copy knows that `d`, with a file that was never stored, was renamed to `e`; the disk is lost.
 * What the rebuild makes of the object at the key of `d/a,v`: its row, and what the sweeper takes.
 */
async function rebuilt(
  { sizeBytes, mtimeNs }: { readonly sizeBytes: number; readonly mtimeNs: bigint },
): Promise<{ row: FileEntry | null; due: readonly string[] }> {
  const manifest = await openMemManifest();
  await manifest.apply(A, "absent", { kind: "written", stat: LOST, nowS: 1 });
  await manifest.moveTree(D, E, 1_500, { firstKey });
  const buriedAtMs = manifest.tombstonesOf(A)[0]!.atMs;
  const listed: RebuildObject = {
    ...{ key: firstKey(A), sizeBytes, storedAtMs: buriedAtMs + 1_000, versionId: null },
    metadata: {
      ...{ hash: "2".padStart(64, "0"), mtimeNs, mode: 0o444, uid: 1, gid: 2 },
      ...{ path: null, generation: 9 },
    },
  };
  await rebuildManifest({
    manifest,
    manage: "archives",
    owner: { uid: 1, gid: 1 },
    nowMs: () => buriedAtMs + 24 * HOUR_MS,
    secondary: null,
    depot: {
      look: () => Promise.resolve(null),
      async *walk(): AsyncGenerator<never> {},
    },
    store: {
      async *list(): AsyncGenerator<RebuildObject> {
        yield await Promise.resolve({ ...listed, metadata: null });
      },
      head: (key) => Promise.resolve(key === listed.key ? listed : null),
    },
    onProgress: () => {},
  });
  const due = manifest.tombstonesDue(buriedAtMs + 48 * HOUR_MS, 10);
  return { row: manifest.get(A), due: due.map(({ stored }) => stored.key) };
}

Deno.test("the object of a lost upload is an old version's", async () => {
  const { sizeBytes, mtimeNs } = LOST;
  const { row, due } = await rebuilt({ sizeBytes, mtimeNs });
  deepStrictEqual([row, due], [null, [firstKey(A)]]);
});

Deno.test("a file that was made since and stored under the free key has its row, and its object stays", async () => {
  const { sizeBytes, mtimeNs } = LOST;
  const others = [
    { sizeBytes: sizeBytes + 1, mtimeNs },
    { sizeBytes, mtimeNs: mtimeNs + 1n },
  ];
  for (const other of others) {
    const { row, due } = await rebuilt(other);
    strictEqual(row?.stored?.key, firstKey(A));
    deepStrictEqual(due, []);
  }
});
