/**
 * Measures a scan of a whole depot, the comparison with the manifest included, beside
 * `find -printf`, which looks at the same files and prints what it saw.
 *
 *     deno run -A scripts/bench_scan.ts [--files N] [--rounds N]
 *
 * Every file has its row, as in a depot at rest. The caches are warm: each way reads the
 * same tree in turn, and the medians are compared. The last line is
 * `bench-scan: files=N find_s=N walk_x=N scan_x=N anonymous_mb=N`, where `_x` is the time over
 * that of find, and the memory what the process holds after the scans besides files.
 *
 * @module
 */

// deno-lint-ignore-file no-console -- a program that reports to a person

import { parseArgs } from "node:util";
import { SYSTEM_CLOCK } from "../src/core/clock.ts";
import { KeyedLock } from "../src/core/keyed_lock.ts";
import { type BytePath, bytePathOf } from "../src/core/names.ts";
import type { EngineContext } from "../src/engine/engine_context.ts";
import { scanDepot } from "../src/engine/scan.ts";
import { Departures } from "../src/engine/departures.ts";
import { ArchivedObjects } from "../src/engine/archived_objects.ts";
import { DoubtfulKeys } from "../src/engine/doubtful_keys.ts";
import { ToldUploads } from "../src/engine/told_uploads.ts";
import { PutBackMarkers } from "../src/engine/put_back.ts";
import { UnknownMarkers } from "../src/engine/unknown_markers.ts";
import { openManifest } from "../src/manifest/lmdb_manifest.ts";
import { createMemoryLogger } from "../src/obs/logger.ts";
import { createMetrics } from "../src/obs/metrics.ts";
import { nativeFile } from "../src/posix/native_files.ts";
import { openPosix, type Posix } from "../src/posix/posix.ts";
import { openMemBackend } from "../src/storage/mem/mem_backend.ts";
import { SETTINGS } from "../tests/support/engine_fixture.ts";

const { values } = parseArgs({
  options: {
    files: { type: "string", default: "1000000" },
    rounds: { type: "string", default: "3" },
  },
});
const FILES = Number(values.files);
const ROUNDS = Number(values.rounds);
const FILES_PER_DIRECTORY = 50;

const REASON = { source: "scan", trusts: "newer" } as const;

/** Empty files: their content is not looked at. Names of some 60 bytes, as p4d's are. */
function makeFiles(root: string): void {
  for (let i = 0; i < FILES; i++) {
    const number = Math.floor(i / FILES_PER_DIRECTORY);
    const directory = `${root}/depot/main/${number % 256}/content/textures_${number}`;
    if (i % FILES_PER_DIRECTORY === 0) Deno.mkdirSync(directory, { recursive: true });
    Deno.openSync(`${directory}/t_${i}_diffuse_v2,v`, { createNew: true, write: true })
      .close();
  }
}

async function findOnce(root: string): Promise<void> {
  const { success } = await new Deno.Command("find", {
    args: [root, "-printf", "%p %y %s %T@ %C@ %A@ %m %U %G %i %D %n\\n"],
    stdout: "null",
  }).output();
  if (!success) throw new Error("find failed");
}

async function walkOnce(posix: Posix, root: BytePath): Promise<void> {
  const walk = posix.openWalk(root, { skip: [".p4cache"] });
  while ((await walk.nextBatch()).length > 0);
  await walk.close();
}

async function secondsOf(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return (performance.now() - startedMs) / 1000;
}

function medianOf(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]!;
}

function anonymousMb(): number {
  const status = Deno.readTextFileSync("/proc/self/status");
  return Math.round(Number(/RssAnon:\s+(\d+)/.exec(status)![1]) / 1024);
}

await using cleanup = new AsyncDisposableStack();
const root = await Deno.realPath(await Deno.makeTempDir({ prefix: "p4cache-scan-" }));
cleanup.defer(() => Deno.remove(root, { recursive: true }));
await Deno.mkdir(`${root}/.p4cache`);
const posix = cleanup.use(openPosix(nativeFile("libp4posix.so")));
const manifest = await openManifest({ directory: `${root}/.p4cache/manifest` });
cleanup.defer(() => manifest.close());
const at = bytePathOf(root);
const context: EngineContext = {
  root: at,
  device: posix.lstat(at)!.dev,
  posix,
  manifest,
  primary: openMemBackend(),
  secondary: null,
  readStores: [],
  settings: () => SETTINGS,
  locks: new KeyedLock(),
  evictions: new KeyedLock(),
  putBack: new PutBackMarkers(),
  unknownMarkers: new UnknownMarkers(),
  scans: { isWhole: () => true, areRenamesTold: () => true, request: () => {} },
  archived: new ArchivedObjects(),
  doubtfulKeys: new DoubtfulKeys(),
  clock: SYSTEM_CLOCK,
  departures: new Departures(),
  eventsUntilNow: () => Promise.resolve(true),
  unwatched: () => null,
  applyDeletesBelow: () => Promise.resolve(),
  newId: () => crypto.randomUUID(),
  log: createMemoryLogger(),
  metrics: createMetrics(),
  failedOps: { append: (): void => {} },
  failedUploads: { append: (): void => {} },
  toldUploads: new ToldUploads(),
  refuseUpload: () => null,
  signal: new AbortController().signal,
};
console.log(`making ${FILES} files below ${root}`);
makeFiles(root);
const adoptedS = await secondsOf(() => scanDepot(context, REASON));
console.log(`first scan, each file new: ${adoptedS.toFixed(1)} s`);

const times = { find: [], walk: [], scan: [] } as Record<string, number[]>;
for (let round = 0; round < ROUNDS; round++) {
  times.find!.push(await secondsOf(() => findOnce(root)));
  times.walk!.push(await secondsOf(() => walkOnce(posix, at)));
  times.scan!.push(
    await secondsOf(async () => {
      const report = await scanDepot(context, REASON);
      const changes = Object.keys(report.actions).length;
      if (report.filesSeen !== FILES || changes > 0) {
        throw new Error(`the scan saw ${report.filesSeen} files, and ${changes} changes`);
      }
    }),
  );
}
const findS = medianOf(times.find!);
const over = (name: string): string => (medianOf(times[name]!) / findS).toFixed(2);
console.log(
  `bench-scan: files=${FILES} find_s=${findS.toFixed(2)} walk_x=${over("walk")} ` +
    `scan_x=${over("scan")} anonymous_mb=${anonymousMb()}`,
);
