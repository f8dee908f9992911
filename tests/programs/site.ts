/**
 * Where a program works: a plain directory, or a depot under the shim, the real daemon and a
 * chaos actor that evicts whatever may go, all the time. Between two steps of a program
 * everything is evicted, so that each step meets each file of the step before cold.
 *
 * The daemon's wall clock runs {@linkcode CLOCK_FACTOR} times as fast (libfaketime): no file is
 * evicted in the first five seconds after it was written or restored, and programs that make
 * and use thousands of files would be through by then.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { Rig, sleep } from "../crash/rig.ts";

const BUILD = new URL("../../build/", import.meta.url).pathname;
const HERE = new URL("./", import.meta.url).pathname;
const FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
const CLOCK_FACTOR = 5;
const STEP_MS_MAX = 900_000;

export interface SiteReport {
  evicted: number;
  restored: number;
}

export interface Site extends AsyncDisposable {
  /** Runs a shell script in `directory` and returns all that it prints, and its status. */
  run(script: string, env?: Readonly<Record<string, string>>): Promise<string>;
  /** What the tree holds: names, types, modes, links and hashes. */
  tree(): Promise<string>;
  /** Evicts everything that may ever be evicted. */
  barrier(): Promise<void>;
  /** What the chaos actor and the programs did so far; null for a plain directory. */
  report(): SiteReport | null;
  /** What the daemon warned of. */
  warnings(): string[];
}

/** For scripts: $DEPOT, $OUT beside it, $HERE with the scripts of the tests. */
function environmentOf(directory: string): Record<string, string> {
  return {
    PATH: Deno.env.get("PATH")!,
    DEPOT: `${directory}/depot`,
    OUT: `${directory}/out`,
    HOME: `${directory}/out`,
    TMPDIR: `${directory}/out`,
    HERE,
    TZ: "UTC",
    LC_ALL: "C.UTF-8",
    LOGNAME: "root",
    PYTHONDONTWRITEBYTECODE: "1",
    GIT_CONFIG_NOSYSTEM: "1",
  };
}

async function runIn(
  directory: string,
  script: string,
  env: Readonly<Record<string, string>>,
): Promise<string> {
  const { code, signal, stdout } = await new Deno.Command("sh", {
    args: ["-c", `exec 2>&1; ${script}`],
    cwd: `${directory}/out`,
    env: { ...environmentOf(directory), ...env },
    clearEnv: true,
    stdin: "null",
    stdout: "piped",
    signal: AbortSignal.timeout(STEP_MS_MAX),
  }).output();
  const text = Buffer.from(stdout).toString("latin1").replaceAll(directory, "TOP");
  return `${text}exit=${signal ?? code}\n`;
}

export async function openPlain(): Promise<Site> {
  const made = await Deno.makeTempDir({ prefix: "p4cache-crash-" }); // as long as a Rig's
  const directory = await Deno.realPath(made);
  for (const name of ["depot", "out"]) await Deno.mkdir(`${directory}/${name}`);
  const run: Site["run"] = (script, env = {}) => runIn(directory, script, env);
  return {
    run,
    tree: () => run("exec /usr/bin/python3 $HERE/tree.py $DEPOT"),
    barrier: () => Promise.resolve(),
    report: () => null,
    warnings: () => [],
    [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
  };
}

interface Evicted {
  readonly files: number;
  readonly evictedFiles: number;
  readonly alreadyFiles: number;
  readonly keptDirty: number;
  readonly keptUndecided: number;
  readonly keptYoung: number;
  readonly keptBusy: number;
}

export async function openDepot(): Promise<Site> {
  const rig = await Rig.open({
    config: { manage: "all" },
    env: {
      LD_PRELOAD: FAKETIME,
      FAKETIME: `+0 x${CLOCK_FACTOR}`,
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
    },
  });
  await Deno.mkdir(`${rig.directory}/out`);
  if (await rig.start() === "gone") throw new Error(`the daemon ended: ${rig.stderr}`);
  const ended = new AbortController();
  const report: SiteReport = { evicted: 0, restored: 0 };
  const evict = async (): Promise<Evicted> => {
    const result = await control(rig, { op: "evict", selection: "", dryRun: false });
    report.evicted += (result as Evicted).evictedFiles;
    return result as Evicted;
  };
  const chaos = (async (): Promise<void> => {
    while (!ended.signal.aborted) {
      await evict();
      await sleep(5);
    }
  })();
  chaos.catch(() => {}); // told by the barrier or at the end
  const run: Site["run"] = (script, env = {}) =>
    runIn(rig.directory, script, {
      LD_PRELOAD: `${BUILD}libp4shim.so`,
      P4CACHE_DEPOT: rig.depot,
      P4CACHE_MANAGE: "all",
      ...env,
    });
  return {
    run,
    tree: () => run("exec /usr/bin/python3 $HERE/tree.py $DEPOT"),
    barrier: () => evictAll(rig, evict),
    report: () => ({ ...report, restored: restoresOf(rig) }),
    warnings: () => rig.log.split("\n").filter((it) => /Z (WARN|ERROR)/.test(it)),
    [Symbol.asyncDispose]: async () => {
      ended.abort();
      await chaos;
      await rig[Symbol.asyncDispose]();
    },
  };
}

function restoresOf(rig: Rig): number {
  const restored = rig.metric('p4cache_restores_total{result="success"}');
  return Number.isNaN(restored) ? 0 : restored;
}

/** Until no file is left that may go: what stays has two links, or is open for writing. */
async function evictAll(rig: Rig, evict: () => Promise<Evicted>): Promise<void> {
  const deadlineMs = performance.now() + STEP_MS_MAX;
  for (;;) {
    const drained = await control(rig, { op: "drain", wait: true }) as {
      undecidedFiles: number;
    };
    if (drained.undecidedFiles > 0) {
      throw new Error(`${drained.undecidedFiles} files wait for a decision:\n${rig.log}`);
    }
    const { keptDirty, keptYoung, evictedFiles } = await evict();
    if (keptDirty === 0 && keptYoung === 0 && evictedFiles === 0) return;
    if (performance.now() > deadlineMs) throw new Error("not everything was evicted");
    await sleep(20);
  }
}

/** One operator's command, as docs/protocol.md has it. */
async function control(rig: Rig, request: Record<string, unknown>): Promise<unknown> {
  const connection = await Deno.connect({
    transport: "unix",
    path: `${rig.depot}/.p4cache/shim.sock`,
  });
  const line = `P4CACHE/1 CONTROL ${JSON.stringify(request)}\n`;
  await connection.write(new TextEncoder().encode(line));
  const text = await new Response(connection.readable).text();
  const last = text.trimEnd().split("\n").at(-1)!;
  if (!last.startsWith("OK ")) throw new Error(`the daemon said: ${last}`);
  return JSON.parse(last.slice(3));
}
