/**
 * Changes the manifest in `Deno.args[0]` with disk_faults.c preloaded, and looks at what had
 * happened to its file whenever a change was acknowledged. Ends with status 0 if all is right.
 *
 *     durable_child.ts <manifest directory> synced|refused
 *
 * @module
 */

import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { parseDepotPath } from "../../src/core/names.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import type { Manifest } from "../../src/manifest/manifest.ts";
import { type DiskFault, DiskFaults } from "../faults/disk_faults.ts";
import { makeRow, pathOf, statOf, writeFile } from "./sample_manifest.ts";

const NOW_MS = 9_000_000;
const CROWD = 300;

/** A change of each kind. */
const CHANGES: Readonly<Record<string, (manifest: Manifest) => Promise<unknown>>> = {
  "apply()": (manifest) => writeFile(manifest, 1),
  "move()": (manifest) => manifest.move(pathOf(6), pathOf(1_006), NOW_MS),
  "exchange()": (manifest) => manifest.exchange(pathOf(1), pathOf(2)),
  "moveTree()": (manifest) =>
    manifest.moveTree(
      parseDepotPath("depot/main/0"),
      parseDepotPath("depot/other"),
      NOW_MS,
    ),
  "accessed()": (manifest) => manifest.accessed(new Map([[pathOf(1), 2_000_000_000]])),
  "retryNow()": (manifest) => manifest.retryNow(),
  "setMeta()": (manifest) => manifest.setMeta("instance_id", "another"),
  "raiseGenerations()": (manifest) => manifest.raiseGenerations(1_000),
  "orphaned()": (manifest) => {
    const stored = manifest.get(pathOf(2))!.stored ?? manifest.get(pathOf(1))!.stored!;
    return manifest.orphaned(pathOf(2), stored, statOf(2));
  },
  "inPrimary()": async (manifest) => {
    const { path, entry } = manifest.entries("", null, 100)
      .find(({ entry }) => entry.stored !== null)!;
    const flags = { secondaryOnly: true };
    await manifest.apply(path, "any", { kind: "flagged", flags });
    await manifest.inPrimary(entry.stored!);
    strictEqual(manifest.get(path)!.flags.secondaryOnly, false);
  },
  "undelete()": (manifest) => manifest.undelete(pathOf(4), 1),
  "postponeTombstones()": (manifest) => manifest.postponeTombstones(NOW_MS),
  "tombstoneRemoved()": (manifest) =>
    manifest.tombstoneRemoved(manifest.tombstonesDue(2 * NOW_MS, 1)[0]!),
};

/** Since `before`, all that was written is on the disk: the data, then what makes it count. */
function assertDurable(faults: DiskFaults, before: bigint, what: string): void {
  const { written, synced, through } = faults.moments;
  ok(written > before, `${what}: nothing was written`);
  ok(synced > written, `${what}: no sync has followed the write`);
  ok(through > synced, `${what}: the meta page was not written through`);
}

async function assertSynced(manifest: Manifest, faults: DiskFaults): Promise<void> {
  for (const [what, change] of Object.entries(CHANGES)) {
    const before = faults.moments.last;
    await change(manifest);
    assertDurable(faults, before, what);
  }
  // A crowd in groups: each of it finds the sync of its own.
  const before = faults.moments.last;
  const crowd = Array.from({ length: CROWD }, async (_, seed) => {
    await makeRow(manifest, 2_000 + seed);
    const { synced, through } = faults.moments;
    ok(
      synced > before && through > before,
      `row ${seed}: no sync since it was asked for`,
    );
  });
  await Promise.all(crowd);
  assertDurable(faults, before, "a crowd");
}

async function assertRefused(manifest: Manifest, faults: DiskFaults): Promise<void> {
  const data = { path: "/data.mdb", errno: "EIO", times: 1 } as const;
  const failing: readonly DiskFault[] = [{ op: "sync", ...data }, {
    op: "write",
    ...data,
  }];
  for (const fault of failing) {
    const before = manifest.get(pathOf(0))!.generation;
    faults.arm(fault);
    await rejects(writeFile(manifest, 0), {
      name: "ManifestError",
      fault: "unavailable",
      message: /Cannot write the manifest .*nothing was changed/,
    });
    strictEqual(faults.left, 0, `${fault.op} did not fail`);
    strictEqual(manifest.get(pathOf(0))!.generation, before);
    await writeFile(manifest, 0);
    ok(manifest.get(pathOf(0))!.generation > before);
  }
  // Each of a group, or of two, is refused, and none of it is there.
  faults.arm({ op: "sync", ...data, times: Infinity });
  const group = Array.from({ length: 5 }, (_, i) => writeFile(manifest, 3_000 + i));
  for (const { status } of await Promise.allSettled(group)) {
    strictEqual(status, "rejected");
  }
  faults.clear();
  for (let i = 0; i < 5; i++) strictEqual(manifest.get(pathOf(3_000 + i)), null);
  const { kept, counted } = await manifest.recount();
  deepStrictEqual(kept, counted);
}

const [directory, which] = Deno.args as [string, "synced" | "refused"];
const faults = await DiskFaults.inThisProcess();
faults.watch(`${directory}/data.mdb`);
const manifest = await openManifest({ directory });
if (which === "synced") await assertSynced(manifest, faults);
else await assertRefused(manifest, faults);
await manifest.close();
await faults[Symbol.asyncDispose]();
