/**
 * How much memory the daemon takes for 16 restores of 1 GiB at a time: the bundle on its
 * runtime, behind the gate and the shim, with nginx as a store of S3.
 *
 * @module
 */

import { Site } from "../../tests/e2e/site.ts";

const MIB = 1_048_576;

export interface DaemonMemory {
  readonly idleMib: number;
  readonly peakMib: number;
  /** Of files, which the kernel may drop: the executable, the manifest. At the end. */
  readonly fileMib: number;
  readonly seconds: number;
}

/** @param names Of objects in bucket `b` of the store at `endpoint`. */
export async function measureDaemonMemory(
  endpoint: string,
  names: readonly string[],
): Promise<DaemonMemory> {
  await using site = await Site.open({
    config: {
      primary: {
        type: "s3",
        endpoint,
        endpoint_pin: true,
        bucket: "b",
        access_key: "a",
        secret_key: "b",
      },
      read_only: true,
      restore_threads: names.length,
    },
  });
  await site.start();
  const lock = await Deno.readTextFile(`${site.depot}/.p4cache/daemon.lock`);
  const process = `/proc/${lock.match(/\d+/)![0]}`;
  const idleMib = await memoryMib(process, "VmRSS");
  // Forgets the peak of the start.
  await Deno.writeTextFile(`${process}/clear_refs`, "5");
  const start = performance.now();
  const opened = await Promise.all(
    names.map((name) =>
      // An open that succeeds is a file that is whole and flushed.
      site.program(["head", "-c", "1", `${site.depot}/${name}`], { shim: true })
    ),
  );
  const seconds = (performance.now() - start) / 1_000;
  const failed = opened.find(({ code }) => code !== 0);
  if (failed !== undefined) {
    throw new Error(`a restore failed: ${failed.stderr}${site.log}`);
  }
  const peakMib = await memoryMib(process, "VmHWM");
  return { idleMib, peakMib, fileMib: await memoryMib(process, "RssFile"), seconds };
}

async function memoryMib(process: string, field: string): Promise<number> {
  const status = await Deno.readTextFile(`${process}/status`);
  return Number(status.match(new RegExp(`${field}:\\s+(\\d+) kB`))![1]) * 1_024 / MIB;
}
