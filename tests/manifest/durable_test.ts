import { strictEqual } from "node:assert/strict";
import { DiskFaults } from "../faults/disk_faults.ts";
import { makeSample } from "./sample_manifest.ts";

const FILES = 40;

/** In a process of its own, whose calls on the disk are seen. */
async function runChild(which: "synced" | "refused"): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-durable-" });
  try {
    await using faults = await DiskFaults.open();
    await makeSample(`${root}/manifest`, FILES);
    const child = new URL("durable_child.ts", import.meta.url).pathname;
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", child, `${root}/manifest`, which],
      env: { ...faults.env, NO_COLOR: "1" },
      stdout: "null",
      stderr: "piped",
    }).output();
    strictEqual(code, 0, new TextDecoder().decode(stderr));
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

Deno.test("a change that was awaited has been synced after it was written", () =>
  runChild("synced"));

Deno.test("a change is refused when its sync or its write fails, and is not there", () =>
  runChild("refused"));
