import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import { DISK_BYTES, fillDisk, MIB, ROWS } from "./full_disk.ts";
import { expectNoFaults } from "./older_manifests.ts";

function onSmallDisk(
  name: string,
  run: (directory: string) => Promise<void>,
): void {
  Deno.test(name, async (t) => {
    const root = await Deno.makeTempDir({ prefix: "p4-cache-manifest-full-" });
    const { success } = await new Deno.Command("mount", {
      args: ["-t", "tmpfs", "-o", `size=${DISK_BYTES}`, "tmpfs", root],
      stderr: "null",
    }).output();
    const ignore = !success;
    await t.step({
      name: "on a small disk, which root alone can mount",
      ignore,
      fn: test,
    });
    if (success) await new Deno.Command("umount", { args: ["--lazy", root] }).output();
    await Deno.remove(root);

    function test(): Promise<void> {
      return run(`${root}/manifest`);
    }
  });
}

const UNWATCHED = {
  onFault: (error: unknown): void => {
    throw error;
  },
};

onSmallDisk(
  "an upgrade on a full disk goes on in the room that was kept for the manifest",
  async (directory) => {
    await fillDisk(directory, 6 * MIB);
    const told: string[] = [];
    const manifest = await openManifest({
      directory,
      reserve: {
        sizeBytes: 6 * MIB,
        onChange: (state) => void told.push(state),
        ...UNWATCHED,
      },
    });
    strictEqual(manifest.entries("", null, 10_000).length, ROWS);
    await manifest.close();
    deepStrictEqual(told, ["kept", "used"]);
    await expectNoFaults(directory);
  },
);

onSmallDisk(
  "an upgrade that needs more room than was kept says that the disk is full, and goes on when it is not",
  async (directory) => {
    await fillDisk(directory, MIB);
    const reserve = { sizeBytes: MIB, onChange: (): void => {}, ...UNWATCHED };
    await rejects(openManifest({ directory, reserve }), { fault: "full" });
    // The room is gone by now.
    await rejects(openManifest({ directory, reserve }), { fault: "full" });
    await rejects(openManifest({ directory, readOnly: true }), {
      fault: "older",
      message: /on its way from schema 3 to 4/,
    });
    await Deno.remove(`${directory}.filler`);
    const manifest = await openManifest({ directory, reserve });
    strictEqual(manifest.entries("", null, 10_000).length, ROWS);
    await manifest.close();
    await expectNoFaults(directory);
  },
);
