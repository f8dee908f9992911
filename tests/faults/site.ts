/**
 * What the scenarios share: a daemon with some files in the store and a workload to write
 * more with, disks that fill up, and the proof at the end.
 *
 * @module
 */

import { strictEqual } from "node:assert/strict";
import type { Random } from "../crash/random.ts";
import { Rig, type RigOptions, sleep, until } from "../crash/rig.ts";
import { Workload } from "../crash/workload.ts";

/** A fault, from its beginning to its end. */
export type Scenario = (site: Sites) => Promise<void>;

export type ScenarioBody = (rig: Rig, workload: Workload) => Promise<void>;

export const FAILED_UPLOADS = 'p4cache_uploads_total{result="failure"}';

/** Where the scenarios of a run get their daemons, and what was found in all of them. */
export class Sites {
  files = 0;
  lost = 0;
  wrong = 0;
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  /**
   * `scenario` begins when a daemon has uploaded some files, and has ended its fault when it
   * returns. Then everything must drain by itself, every file read back, and once more from
   * the store alone.
   */
  async run(options: RigOptions, scenario: ScenarioBody): Promise<void> {
    await using rig = await Rig.open(options);
    strictEqual(await rig.start(), "ready", rig.log);
    const workload = new Workload(rig, this.#random, { sizeMax: 200_000 });
    try {
      for (let i = 0; i < 20; i++) await workload.writeNew();
      await rig.drained();
      await scenario(rig, workload);
      await rig.settled();
      await workload.checkAll();
      strictEqual((await rig.end("SIGTERM")).code, 0);
      await rig.wipeDepot();
      strictEqual(await rig.start(), "ready", rig.log);
      await workload.checkAll();
    } finally {
      await workload.close();
    }
    this.files += workload.names.length;
    this.lost += workload.count("lost");
    this.wrong += workload.count("wrong");
  }
}

export async function mountTmpfs(
  cleanup: AsyncDisposableStack,
  sizeMiB: number,
): Promise<string> {
  const directory = await Deno.makeTempDir({ prefix: "p4cache-faults-" });
  cleanup.defer(() => Deno.remove(directory));
  await command("mount", "-t", "tmpfs", "-o", `size=${sizeMiB}m`, "tmpfs", directory);
  cleanup.defer(() => command("umount", "--lazy", directory));
  return directory;
}

export async function command(...[program, ...args]: string[]): Promise<void> {
  const { code, stderr } = await new Deno.Command(program!, { args }).output();
  if (code !== 0) {
    throw new Error(`${program} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  }
}

/** Fills a file system to the last byte. */
export async function fill(ballast: string): Promise<void> {
  using file = await Deno.open(ballast, { create: true, write: true });
  for (let size = 65_536; size >= 1;) {
    try {
      await file.write(new Uint8Array(size));
    } catch {
      size = Math.floor(size / 2);
    }
  }
}

export async function evictEverything(rig: Rig): Promise<void> {
  await rig.reload({ max_cache_bytes: 1, low_watermark_bytes: 0 });
  await until(
    "everything is evicted",
    () => [...rig.names()].every(({ isMarker }) => isMarker),
  );
}

/** Work goes on for `ms`, whatever becomes of it. */
export async function workFor(workload: Workload, ms: number): Promise<void> {
  workload.start();
  await sleep(ms);
  workload.throwIfFailed();
  await workload.stop();
}
