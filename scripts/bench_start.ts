// deno-lint-ignore-file camelcase no-sync-fn-in-async-fn -- the configuration's names; a benchmark
/**
 * Measures a daemon over a depot of a million evicted files: how long from its start until it
 * answers a program, what it holds in memory once it is idle, and how long a question waits
 * while the startup scan, the recount and the copy of the manifest go on. The daemon is the
 * executable as it is shipped, over real markers and an NFS store in a directory.
 *
 *     deno run -A scripts/bench_start.ts [--rows N] [--starts N] [--directory DIR]
 *
 * Writes build/bench/start.json.
 *
 * @module
 */

import { parseArgs } from "node:util";
import {
  bytePathOf,
  type DepotPath,
  objectKeyOf,
  parseDepotPath,
} from "../src/core/names.ts";
import { openManifest } from "../src/manifest/lmdb_manifest.ts";
import { nativeFile } from "../src/posix/native_files.ts";
import { openPosix, type Posix } from "../src/posix/posix.ts";

const { values: options } = parseArgs({
  options: {
    rows: { type: "string", default: "1000000" },
    starts: { type: "string", default: "5" },
    directory: { type: "string", default: "build/bench/start" },
  },
});

const ROWS = Number(options.rows);
const STARTS = Number(options.starts);
const FILES_PER_DIRECTORY = 50;
/** Between two questions to a daemon that is not there yet, or at work. */
const ASK_EVERY_MS = 5;
const SETTLED_SECS = 10;

const say = (text: string): void => {
  // deno-lint-ignore no-console -- a benchmark prints
  console.log(text);
};

/** 70 bytes. */
function pathAt(index: number): DepotPath {
  const directory = Math.floor(index / FILES_PER_DIRECTORY);
  const scattered = (Math.imul(directory, 2_654_435_761) >>> 0).toString(16)
    .padStart(8, "0");
  const name = String(index).padStart(9, "0");
  return parseDepotPath(
    `depot/main/${
      scattered.slice(0, 2)
    }/content/${scattered}/texture_map_01/t_${name}_diffuse_v2,v`,
  );
}

/** The markers of `count` evicted files, and their rows. */
async function makeDepot(depot: string, posix: Posix): Promise<void> {
  const manifest = await openManifest({ directory: `${depot}/.p4cache/manifest` });
  const root = bytePathOf(depot);
  const mtimeNs = 1_700_000_000_123_456_789n;
  const sizeBytes = 123_456;
  let made: Promise<unknown>[] = [];
  for (let index = 0; index < ROWS; index++) {
    const path = pathAt(index);
    const file = `${root}/${path}`;
    if (index % FILES_PER_DIRECTORY === 0) {
      Deno.mkdirSync(file.replace(/\/[^/]*$/, ""), { recursive: true });
    }
    posix.makeMarker(file as never, { mode: 0o444, uid: 0, gid: 0, mtimeNs, sizeBytes });
    const { ctimeNs, ino, dev } = posix.lstat(file as never)!;
    made.push(manifest.apply(path, "absent", {
      kind: "adopted",
      stored: {
        key: objectKeyOf(path),
        hash: index.toString(16).padStart(64, "5"),
        sizeBytes,
        mtimeNs,
        versionId: null,
      },
      stat: { sizeBytes, mtimeNs, ctimeNs, mode: 0o444, uid: 0, gid: 0, ino, dev },
      resident: false,
      flags: {},
      nowS: 1_700_000_000 + index % 10_000_000,
    }));
    if (made.length < 20_000) continue;
    await Promise.all(made);
    made = [];
  }
  await Promise.all(made);
  await manifest.close();
}

interface Running {
  readonly child: Deno.ChildProcess;
  readonly startedMs: number;
}

function startDaemon(directory: string): Running {
  const startedMs = performance.now();
  const child = new Deno.Command("build/p4-cache", {
    args: ["run", "--config", `${directory}/config.json`],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  return { child, startedMs };
}

/** Asks the daemon for the state of a file; null while nobody answers. */
async function ask(socket: string, path: DepotPath): Promise<string | null> {
  try {
    using connection = await Deno.connect({ transport: "unix", path: socket });
    await connection.write(new TextEncoder().encode(`P4CACHE/1 STAT ${path}\n`));
    const buffer = new Uint8Array(512);
    const read = await connection.read(buffer);
    return read === null ? null : new TextDecoder().decode(buffer.subarray(0, read));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    if (error instanceof Deno.errors.ConnectionRefused) return null;
    if (error instanceof Deno.errors.ConnectionReset) return null;
    throw error;
  }
}

const pause = (ms: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, ms));

/** Milliseconds from the start of the process to the first answer. */
async function untilServing(
  { child, startedMs }: Running,
  socket: string,
): Promise<number> {
  let hasEnded = false;
  void child.status.then(() => hasEnded = true);
  for (let asked = 0; !hasEnded; asked++) {
    const answer = await ask(socket, pathAt(asked * 7_919 % ROWS));
    if (answer?.startsWith("OK 123456 ")) return performance.now() - startedMs;
    if (answer !== null) throw new Error(`STAT was answered: ${answer}`);
    await pause(ASK_EVERY_MS);
  }
  throw new Error(`the daemon ended; see ${options.directory}/daemon.log`);
}

/** The longest that a question waited until `isDone`. */
async function longestWait(socket: string, isDone: () => boolean): Promise<number> {
  let longest = 0;
  for (let asked = 0; !isDone(); asked++) {
    const start = performance.now();
    await ask(socket, pathAt(asked * 7_919 % ROWS));
    longest = Math.max(longest, performance.now() - start);
    await pause(ASK_EVERY_MS);
  }
  return longest;
}

function anonymousMb(pid: number): number {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  return Number(/RssAnon:\s+(\d+) kB/.exec(status)![1]) / 1024;
}

async function stop({ child }: Running): Promise<void> {
  child.kill("SIGTERM");
  const { code } = await child.status;
  if (code !== 0) throw new Error(`the daemon ended with ${code}`);
}

const directory = await (async (): Promise<string> => {
  await Deno.mkdir(options.directory, { recursive: true });
  return await Deno.realPath(options.directory);
})();
const depot = `${directory}/depot`;
const socket = `${depot}/.p4cache/shim.sock`;
const log = `${directory}/daemon.log`;
const logSays = (text: string): boolean => Deno.readTextFileSync(log).includes(text);
const config = {
  depot_path: depot,
  primary: { type: "nfs", path: `${directory}/store`, initialize: true },
  min_free_bytes: 0,
  log_file: log,
};
await Deno.mkdir(depot, { recursive: true });
await Deno.mkdir(`${directory}/store`, { recursive: true });
await Deno.writeTextFile(`${directory}/config.json`, JSON.stringify(config));

const isNew = !(await Deno.readTextFile(log).catch(() => "")).includes("scanned");
if (isNew) {
  const first = startDaemon(directory);
  while (!(await Deno.readTextFile(log).catch(() => "")).includes("scanned")) {
    await pause(50);
  }
  await stop(first);
  using posix = openPosix(nativeFile("libp4posix.so"));
  await makeDepot(depot, posix);
  say(`made ${ROWS} evicted files`);
}

const serving: number[] = [];
for (let i = 0; i < STARTS; i++) {
  const daemon = startDaemon(directory);
  serving.push(await untilServing(daemon, socket));
  await stop(daemon);
}
serving.sort((a, b) => a - b);
await Deno.remove(`${depot}/.p4cache/manifest-copies`, { recursive: true })
  .catch(() => {});
await Deno.writeTextFile(log, "");
const daemon = startDaemon(directory);
await untilServing(daemon, socket);
const waitMs = await longestWait(
  socket,
  () => logSays("scanned the depot") && logSays("copied the manifest"),
);
await pause(SETTLED_SECS * 1000);
const idleMb = anonymousMb(daemon.child.pid);
await stop(daemon);
const result = {
  rows: ROWS,
  servingMs: serving,
  servingMedianMs: serving[serving.length >> 1],
  longestWaitMs: waitMs,
  idleAnonymousMb: idleMb,
};
await Deno.mkdir("build/bench", { recursive: true });
await Deno.writeTextFile(
  "build/bench/start.json",
  `${JSON.stringify(result, null, 2)}\n`,
);
say(
  `start: serving_p50=${serving[serving.length >> 1]!.toFixed(0)}ms ` +
    `serving_max=${serving.at(-1)!.toFixed(0)}ms ` +
    `longest_wait_at_work=${waitMs.toFixed(1)}ms idle_anon=${idleMb.toFixed(0)}MB`,
);
