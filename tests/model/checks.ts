/**
 * What must hold: after every operation, and when the world has come to rest.
 *
 * @module
 */

import { parseDepotPath } from "../../src/core/names.ts";
import { RestoreError } from "../../src/engine/restore_error.ts";
import { upload } from "../../src/engine/upload.ts";
import type { PathAndEntry } from "../../src/manifest/manifest.ts";
import type { Random } from "../verify/random.ts";
import { type Life, ROOT } from "./life.ts";
import { contentOfHash, ModelFailure } from "./reference.ts";
import type { World } from "./world.ts";

/** Every acknowledged content is somewhere, and no name shows other bytes. */
export function checkNow(world: World): void {
  const rows = rowsOf(world);
  for (const { path, entry } of rows) {
    if (entry.stored === null) continue;
    const { key, hash } = entry.stored;
    if (world.objects.get(key) === hash || world.demoted.get(key) === hash) continue;
    throw new ModelFailure(
      "lost",
      `no store has ${key}, which the row of ${path} names`,
    );
  }
  world.checkUntold();
  const stored = new Map(
    rows.map(({ path, entry }) =>
      [path as string, contentOfHash(entry.stored?.hash ?? null)] as const
    ),
  );
  for (const path of world.reference.paths) {
    if (!world.busy.has(path)) checkPath(world, path, stored);
  }
}

function checkPath(
  world: World,
  path: string,
  stored: ReadonlyMap<string, number | null>,
): void {
  const { contents, absentOk } = world.reference.of(path);
  const inode = world.disk.find(`${ROOT}/${path}`);
  if (inode?.kind === "file") return world.checkBytes(path, inode.bytes);
  if (absentOk || contents.length === 0) return;
  const copies = world.hasMoves ? [...stored.values()] : [stored.get(path) ?? null];
  if (copies.some((copy) => copy !== null && contents.includes(copy))) return;
  if (world.isAside(contents)) return;
  throw new ModelFailure(
    "lost",
    `${path} has content ${contents}; on the disk is ${
      inode?.kind ?? "nothing"
    }, and its ` +
      `row names content ${copies}`,
  );
}

function rowsOf(world: World): PathAndEntry[] {
  const manifest = world.life?.manifest ?? world.readTables();
  return manifest.entries("", null, 1_000);
}

/** Faults end, everybody comes to rest, and everything that was acknowledged reads back. */
export async function checkAtRest(world: World, random: Random): Promise<void> {
  world.clearFaults();
  await world.rest(random);
  if (world.life === null) await world.start(true, random);
  world.deliverAll();
  await world.rest(random);
  await drain(world, world.life!, random);
  world.checkOlderWritten();
  await readAll(world, random);
  // While the markers are there that nobody knows, and again without.
  await sweep(world, random);
  await wipe(world, random);
  await sweep(world, random);
  await readAll(world, random);
}

async function sweep(world: World, random: Random): Promise<void> {
  await world.scheduler.advance(world.graceMs + 1_000);
  for (let pass = 0; pass < 3; pass++) {
    await world.finish(world.life!.sweeper.runPass(), random);
  }
  checkNow(world);
}

/** With all faults gone, nothing stays dirty but what waits for a person. */
async function drain(world: World, life: Life, random: Random): Promise<void> {
  for (let round = 0; round < 4; round++) {
    await world.scheduler.advance(10_000);
    await world.rest(random);
    await world.finish(life.deletes.takeOverNew(), random);
    await world.finish(
      life.engine.scan({ source: "scan", trusts: "newer" }),
      random,
    );
    await world.finish(life.manifest.retryNow(), random);
    for (const { path } of life.manifest.dirtyDue(world.scheduler.nowMs, 1_000)) {
      await world.finish(upload(life.context, path), random);
    }
  }
  const left = rowsOf(world).filter(({ entry }) =>
    entry.state !== "clean" && !entry.flags.conflict && !entry.flags.foreign
  );
  if (left.length > 0) {
    throw new ModelFailure(
      "bug",
      `never uploaded: ${left.map(({ path, entry }) => `${path} (${entry.state})`)}`,
    );
  }
  checkNow(world);
}

async function readAll(world: World, random: Random): Promise<void> {
  for (const path of world.reference.paths) {
    const { contents, absentOk, brokenOk } = world.reference.of(path);
    try {
      await world.finish(world.life!.engine.restore(parseDepotPath(path)), random);
    } catch (error) {
      if (!(error instanceof RestoreError)) throw error;
      const isRight = error.fault === "NOTFOUND" ? absentOk : brokenOk;
      if (isRight) continue;
      throw new ModelFailure(
        "lost",
        `at rest, ${path} has content ${contents}, and the engine says ${error.fault}: ` +
          error.message,
      );
    }
    const inode = world.disk.find(`${ROOT}/${path}`);
    if (inode?.kind !== "file") {
      throw new ModelFailure("lost", `${path} is not there after its restore`);
    }
    world.checkBytes(path, inode.bytes);
    if (contents.length === 0 && !brokenOk) {
      throw new ModelFailure("wrong", `${path} was deleted, and is there again`);
    }
  }
}

/** The depot is gone: the store alone must do. What waits for a person stays local. */
async function wipe(world: World, random: Random): Promise<void> {
  const kept = new Set(
    rowsOf(world).filter(({ entry }) => entry.flags.conflict || entry.flags.foreign)
      .map(({ path }) => path as string),
  );
  for (const { path, inode } of world.disk.below(ROOT)) {
    if (inode.kind === "directory" || path.startsWith(".p4cache") || kept.has(path)) {
      continue;
    }
    world.disk.unlink("unlink", `${ROOT}/${path}`);
  }
  world.crash(false);
  await world.start(true, random);
  await world.rest(random);
  await readAll(world, random);
}
