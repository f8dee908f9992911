import { match, strictEqual } from "node:assert/strict";
import { DISK_BYTES, fillDisk, MIB } from "../manifest/full_disk.ts";
import { Site } from "../e2e/site.ts";

/** Not one that says that a start again changes nothing. */
const INCOMPLETE = 3;

Deno.test("a start whose migration meets a full disk ends with a status that is tried again", async (t) => {
  await using site = await Site.open();
  const state = `${site.depot}/.p4cache`;
  await Deno.mkdir(state, { mode: 0o700 });
  const { success } = await new Deno.Command("mount", {
    args: ["-t", "tmpfs", "-o", `size=${DISK_BYTES},mode=700`, "tmpfs", state],
    stderr: "null",
  }).output();
  const name = "on a small disk, which root alone can mount";
  await t.step({ name, ignore: !success, fn: refused });
  if (success) await new Deno.Command("umount", { args: ["--lazy", state] }).output();

  async function refused(): Promise<void> {
    await Deno.writeTextFile(`${state}/daemon.lock`, "123456\n");
    await fillDisk(`${state}/manifest`, MIB);
    const config = ["--config", `${site.directory}/config.json`];
    // The second one has no reserve left, and goes on with a manifest that is half brought over.
    for (let start = 0; start < 2; start++) {
      const { code, stderr } = await site.cli("run", ...config);
      strictEqual(code, INCOMPLETE, stderr);
      match(
        stderr,
        /the disk is full.* Make room on the depot's disk, and the next start/,
      );
    }
    const { code, stderr } = await site.cli("manifest-summary", ...config);
    strictEqual(code, INCOMPLETE, stderr);
    match(stderr, /on its way from schema 3 to 4; start the daemon/);
  }
});
