// deno-lint-ignore-file no-console -- a benchmark's output is its result
/**
 * What single opens of one user cost while another user's processes open everything, as
 * `p4 verify` does: `deno run -A scripts/bench_fairness.ts --opens 100000`. The real daemon,
 * shim and gate; every open is of an evicted file. Compares with the same opens on the idle
 * system, in one run.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { Site, until } from "../tests/e2e/site.ts";

const { values } = parseArgs({
  options: {
    opens: { type: "string", default: "100000" },
    processes: { type: "string", default: "16" },
    samples: { type: "string", default: "500" },
  },
});
const OPENS = Number(values.opens);
const PROCESSES = Number(values.processes);
const SAMPLES = Number(values.samples);
const FILE_BYTES = 4_096;
const USER = 12_345;
const OPENER = new URL("../tests/e2e/opener.py", import.meta.url).pathname;

async function makeFiles(site: Site, kind: string, count: number): Promise<string[]> {
  const content = new Uint8Array(FILE_BYTES);
  const names: string[] = [];
  for (let i = 0; i < count; i++) {
    const directory = `${site.depot}/${kind}/${Math.floor(i / 500)},d`;
    if (i % 500 === 0) await Deno.mkdir(directory, { recursive: true });
    const name = `${directory}/1.${i}`;
    new DataView(content.buffer).setUint32(0, i);
    await Deno.writeFile(name, content, { mode: 0o644 });
    names.push(name);
  }
  return names;
}

/** A program that opens files once it is let go. */
class Opener {
  readonly #process: Deno.ChildProcess;
  readonly #go: string;

  private constructor(process: Deno.ChildProcess, go: string) {
    this.#process = process;
    this.#go = go;
  }

  static async start(
    site: Site,
    names: readonly string[],
    { uid, pauseMs }: { readonly uid: number; readonly pauseMs: number },
  ): Promise<Opener> {
    const list = await Deno.makeTempFile({ dir: site.directory });
    await Deno.writeTextFile(list, names.join("\n"));
    await Deno.chmod(list, 0o644);
    const lib = `${site.directory}/libp4shim.so`;
    const command = ["env", `LD_PRELOAD=${lib}`, `P4CACHE_DEPOT=${site.depot}`];
    command.push("python3", `${site.directory}/opener.py`, list, `${list}.go`);
    const process = new Deno.Command("setpriv", {
      args: ["--reuid", `${uid}`, "--clear-groups", "--", ...command, String(pauseMs)],
      stdout: "piped",
    }).spawn();
    return new Opener(process, `${list}.go`);
  }

  /** Each open's time, in microseconds. */
  async run(): Promise<number[]> {
    await Deno.writeTextFile(this.#go, "");
    const { code, stdout } = await this.#process.output();
    if (code !== 0) throw new Error(`an opener ended with ${code}`);
    return new TextDecoder().decode(stdout).trim().split("\n").slice(1).map(Number);
  }
}

function quantile(times: readonly number[], q: number): number {
  const sorted = times.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))]!;
}

function report(what: string, times: readonly number[]): void {
  const us = (q: number): string => String(quantile(times, q)).padStart(8);
  console.log(
    `${what.padEnd(34)} ${String(times.length).padStart(7)} opens  p50 ${us(0.5)}  ` +
      `p95 ${us(0.95)}  p99 ${us(0.99)}  max ${us(1)} us`,
  );
}

function openersOf(site: Site, names: readonly string[]): Promise<Opener[]> {
  const size = Math.ceil(names.length / PROCESSES);
  const parts = Array.from(
    { length: PROCESSES },
    (_, i) => names.slice(i * size, (i + 1) * size),
  );
  return Promise.all(
    parts.map((part) => Opener.start(site, part, { uid: 0, pauseMs: 0 })),
  );
}

await using site = await Site.open({
  config: { shim_allowed_uids: [USER], shim_socket_mode: "0666", upload_threads: 16 },
});
await Deno.chmod(site.directory, 0o755);
await site.copyIn(new URL("../build/libp4shim.so", import.meta.url).pathname);
await site.copyIn(OPENER);
await site.start();
console.log(`${OPENS} files to be opened by ${PROCESSES} processes of one user`);
const stormNames = await makeFiles(site, "storm", OPENS);
const idleNames = await makeFiles(site, "idle", SAMPLES);
const busyNames = await makeFiles(site, "busy", SAMPLES);
const count = OPENS + 2 * SAMPLES;
await until(
  "everything is uploaded",
  () => site.metric('p4cache_files{state="clean"}') === count,
  3_600_000,
);
await site.configure({ max_cache_bytes: 1, low_watermark_bytes: 0 });
await until("everything is evicted", () => site.residents() === 0, 3_600_000);
// What is restored stays, so that nothing else than restores goes on.
await site.configure({ max_cache_bytes: 0, low_watermark_bytes: null });

const single = { uid: USER, pauseMs: 10 };
const idleOpener = await Opener.start(site, idleNames, single);
const busyOpener = await Opener.start(site, busyNames, single);
const stormOpeners = await openersOf(site, stormNames);
// The programs' start is over.
await new Promise((resolve) => setTimeout(resolve, 5_000));
const idle = await idleOpener.run();
const startedMs = performance.now();
const storming = Promise.all(stormOpeners.map((opener) => opener.run()));
const busy = await busyOpener.run();
const singlesMs = performance.now() - startedMs;
const stormTimes = (await storming).flat();
const stormMs = performance.now() - startedMs;
report("single opens, idle", idle);
report("single opens beside the storm", busy);
report("opens of the storm", stormTimes);
if (stormMs < singlesMs) console.log("the storm ended first: use more --opens");
const rate = OPENS / (stormMs / 1000);
const [p50, p95, p99] = [0.5, 0.95, 0.99].map((q) =>
  quantile(busy, q) / quantile(idle, q)
);
console.log(
  `fairness: opens=${OPENS} rate=${rate.toFixed(0)}/s p50_ratio=${p50!.toFixed(2)} ` +
    `p95_ratio=${p95!.toFixed(2)} p99_ratio=${p99!.toFixed(2)} (target p99_ratio 2.00)`,
);
