/**
 * The depot's disk gets another device number, as after a reboot; and a copy of its tree has one, too.
 *
 * @module
 */

import { match, notStrictEqual, strictEqual } from "node:assert/strict";
import { Site, until } from "./site.ts";

const IMAGE_BYTES = 64 * 1024 * 1024;

async function run(program: string, ...args: string[]): Promise<string | null> {
  const command = new Deno.Command(program, { args, stdin: "null", stderr: "null" });
  const { success, stdout } = await command.output();
  return success ? new TextDecoder().decode(stdout).trim() : null;
}

/** A loop device of its own for the image; null where none can be had. */
async function attach(
  cleanup: AsyncDisposableStack,
  image: string,
): Promise<string | null> {
  const device = await run("losetup", "--find", "--show", image);
  if (device !== null) {
    cleanup.defer(async () => void await run("losetup", "--detach", device));
  }
  return device;
}

/** The daemon's helpers hold the mount until they see that it has ended. */
function unmount(directory: string): Promise<void> {
  const command = new Deno.Command("umount", { args: [directory], stderr: "null" });
  return until("the depot is free", () => command.outputSync().success);
}

Deno.test("a depot whose disk has another number goes on, and a copy of it is refused", async (t) => {
  await using site = await Site.open();
  await using cleanup = new AsyncDisposableStack();
  const image = `${site.directory}/disk.img`;
  await Deno.writeFile(image, new Uint8Array());
  await Deno.truncate(image, IMAGE_BYTES);
  notStrictEqual(await run("mkfs.ext4", "-q", image), null);
  const [first, second] = [await attach(cleanup, image), await attach(cleanup, image)];
  if (first === null || second === null) {
    const why = "no loop devices can be had";
    return void await t.step({ name: why, ignore: true, fn(): void {} });
  }
  cleanup.defer(async () => void await run("umount", "--lazy", site.depot));

  notStrictEqual(await run("mount", first, site.depot), null);
  await Deno.writeTextFile(`${site.depot}/a,v`, "content");
  await site.start();
  await site.uploaded(1);
  await site.evictAll();
  strictEqual(await site.end("SIGTERM"), 0);
  const before = (await Deno.stat(site.depot)).dev;
  await unmount(site.depot);

  notStrictEqual(await run("mount", second, site.depot), null);
  notStrictEqual((await Deno.stat(site.depot)).dev, before);
  await site.start();
  match(site.log, /another number than before.*before=[0-9]+ now=[0-9]+/);
  const read = await site.program(["cat", `${site.depot}/a,v`], { shim: true });
  strictEqual(read.stdout, "content");
  strictEqual(await site.end("SIGTERM"), 0);
  // Learnt: the next start has nothing to say.
  await Deno.truncate(`${site.directory}/daemon.log`);
  await site.start();
  strictEqual(site.log.includes("another number"), false);
  strictEqual(await site.end("SIGTERM"), 0);

  notStrictEqual(await run("cp", "-a", site.depot, `${site.directory}/copy`), null);
  await unmount(site.depot);
  await Deno.remove(site.depot);
  await Deno.rename(`${site.directory}/copy`, site.depot);
  const config = ["--config", `${site.directory}/config.json`];
  const { code, stderr } = await site.cli("run", ...config);
  strictEqual(code, 78);
  match(stderr, /is on another device \([0-9]+\) than before/);
});
