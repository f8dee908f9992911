/**
 * A manifest on disk with something in every table, for the tests of its files.
 *
 * @module
 */

import { type DepotPath, objectKeyOf, parseDepotPath } from "../../src/core/names.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import type { LocalStat, Manifest } from "../../src/manifest/manifest.ts";

export function statOf(seed: number): LocalStat {
  return {
    sizeBytes: 100 + seed,
    mtimeNs: BigInt(seed) * 1_000n,
    ctimeNs: BigInt(seed),
    mode: 0o444,
    uid: 1,
    gid: 2,
    ino: BigInt(seed + 10),
    dev: 3n,
  };
}

export function pathOf(seed: number): DepotPath {
  return parseDepotPath(`depot/main/${seed % 7}/directory/of/files/file_${seed},v`);
}

export async function writeFile(manifest: Manifest, seed: number): Promise<void> {
  const stat = statOf(seed);
  await manifest.apply(pathOf(seed), "any", { kind: "written", stat, nowS: 1000 + seed });
}

async function store(manifest: Manifest, seed: number, suffix = ""): Promise<void> {
  const path = pathOf(seed);
  const stat = statOf(seed);
  const hash = seed.toString(16).padStart(64, "0");
  const key = objectKeyOf(`${path}${suffix}`);
  await writeFile(manifest, seed);
  await manifest.apply(path, "any", { kind: "upload-started" });
  await manifest.apply(path, "any", {
    kind: "uploaded",
    stored: {
      key,
      hash,
      sizeBytes: stat.sizeBytes,
      mtimeNs: stat.mtimeNs,
      versionId: null,
    },
    stat,
    nowMs: 2_000_000 + seed,
  });
}

/** A file in the state that its number says. */
export async function makeRow(manifest: Manifest, seed: number): Promise<void> {
  const path = pathOf(seed);
  switch (seed % 8) {
    case 0:
      return await writeFile(manifest, seed);
    case 1:
      await writeFile(manifest, seed);
      await manifest.apply(path, "any", { kind: "upload-started" });
      await manifest.apply(path, "any", {
        kind: "upload-failed",
        retryAtMs: 9_000_000 + seed,
      });
      return;
    case 2:
      await store(manifest, seed);
      await manifest.apply(path, "any", { kind: "evicted", marker: statOf(seed) });
      return;
    case 3:
      await store(manifest, seed);
      await store(manifest, seed, ".p4cv-0123456789abcdef");
      return;
    case 4:
      await store(manifest, seed);
      await manifest.apply(path, "any", {
        kind: "deleted",
        nowMs: 3_000_000,
        whiteout: false,
      });
      return;
    case 5:
      await store(manifest, seed, ".moved");
      await manifest.apply(path, "any", { kind: "flagged", flags: { conflict: true } });
      return;
    default:
      return await store(manifest, seed);
  }
}

/** Makes the manifest `directory` with `count` files in all states, and closes it. */
export async function makeSample(directory: string, count: number): Promise<void> {
  const manifest = await openManifest({ directory });
  await manifest.setMeta("instance_id", "sample");
  const seeds = Array.from({ length: count }, (_, seed) => seed);
  await Promise.all(seeds.map((seed) => makeRow(manifest, seed)));
  await manifest.close();
}
