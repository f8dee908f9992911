/**
 * Measures the manifest and prints each figure next to what the machine gives: the rate of
 * bare fsyncs, and of bare group commits. Writes build/bench/manifest.json.
 *
 *     deno run -A scripts/bench_manifest.ts [--rows N] [--directory DIR]
 *
 * @module
 */

import { statfs } from "node:fs/promises";
import { parseArgs } from "node:util";
import { type DepotPath, objectKeyOf, parseDepotPath } from "../src/core/names.ts";
import { nextTurn } from "../src/core/turns.ts";
import { openManifest } from "../src/manifest/lmdb_manifest.ts";
import { openMemManifest } from "../src/manifest/mem_manifest.ts";
import { nativeFile } from "../src/posix/native_files.ts";
import { openPosix } from "../src/posix/posix.ts";
import { type BareCommit, bareCommitRate, fsyncRate } from "./bench_disk.ts";
import type {
  LocalStat,
  Manifest,
  ManifestEvent,
  StoredVersion,
} from "../src/manifest/manifest.ts";

const { values: options } = parseArgs({
  options: {
    rows: { type: "string", default: "1000000" },
    directory: { type: "string", default: "build/bench/manifest" },
    // In a process of its own, so that the memory is that of an open manifest.
    lookup: { type: "boolean", default: false },
  },
});

const ROWS = Number(options.rows);
const CALLERS = 64;
/** Rows that are worked on in each measurement. */
const SMALL = 1_000;
const MEASURE_MS = 4_000;

const STAT: LocalStat = {
  sizeBytes: 123_456,
  mtimeNs: 1_700_000_000_123_456_789n,
  ctimeNs: 1_700_000_000_123_456_789n,
  mode: 0o444,
  uid: 1000,
  gid: 1000,
  ino: 123_456_789n,
  dev: 64_768n,
};

/** As submits make them: files of a directory arrive together, directories in any order. */
const FILES_PER_DIRECTORY = 50;

/** 70 bytes. Neighbours in number share a directory, whose place in the order is random. */
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

/** A directory is used as a whole, at some time of the last months. */
function lastAccessAt(index: number): number {
  const directory = Math.floor(index / FILES_PER_DIRECTORY);
  return 1_700_000_000 + (Math.imul(directory, 40_503) >>> 0) % 10_000_000;
}

function storedAt(path: DepotPath, index: number): StoredVersion {
  return {
    key: objectKeyOf(path),
    hash: index.toString(16).padStart(64, "5"),
    sizeBytes: STAT.sizeBytes,
    mtimeNs: STAT.mtimeNs,
    versionId: null,
  };
}

const say = (text: string): void => {
  // deno-lint-ignore no-console -- a benchmark prints
  console.log(text);
};

/** Operations per second of `work`, by `callers` at once, for about `MEASURE_MS`. */
async function rateOf(
  callers: number,
  work: (index: number) => Promise<unknown>,
  limit = Infinity,
): Promise<number> {
  let next = 0;
  const start = performance.now();
  await Promise.all(Array.from({ length: callers }, async () => {
    while (next < limit && performance.now() - start < MEASURE_MS) await work(next++);
  }));
  return next / (performance.now() - start) * 1000;
}

/**
 * What LMDB writes for 64 changes of neighbours, counted: each table that they touch, from
 * its leaf to its root. In a small manifest they are near each other.
 */
const SMALL_COMMIT: BareCommit = { pages: 14, rangePages: 150 };
const LARGE_COMMIT: BareCommit = { pages: 16, rangePages: 16_384 };

function sayBare(rows: number, { pages }: BareCommit, rate: number): void {
  say(
    `bare commit of ${pages} pages, as for ${CALLERS} changes among ${rows} rows: ` +
      `${rate.toFixed(0)}/s, which would be ${(rate * CALLERS).toFixed(0)} changes/s`,
  );
}

const written = (nowS: number): ManifestEvent => ({ kind: "written", stat: STAT, nowS });

interface Rates {
  readonly markDirty: number;
  readonly markClean: number;
}

interface Worked {
  readonly manifest: Manifest;
  readonly indexes: readonly number[];
  readonly callers: number;
}

/** Each of the rows in turn: written, upload-started (not timed), uploaded. */
async function markRound({ manifest, indexes, callers }: Worked): Promise<Rates> {
  const paths = indexes.map(pathAt);
  const count = paths.length;
  const markDirty = await rateOf(callers, (i) => {
    return manifest.apply(paths[i]!, "any", written(1_800_000_000));
  }, count);
  await Promise.all(
    paths.map((path) => manifest.apply(path, "any", { kind: "upload-started" })),
  );
  const markClean = await rateOf(callers, (i) =>
    manifest.apply(paths[i]!, "any", {
      kind: "uploaded",
      stored: storedAt(paths[i]!, indexes[i]!),
      stat: STAT,
      nowMs: 1_800_000_000_000,
    }), count);
  return { markDirty, markClean };
}

function medianOf(samples: readonly Rates[]): Rates {
  const median = (name: keyof Rates): number => {
    const sorted = samples.map((sample) => sample[name]).sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)]!;
  };
  return { markDirty: median("markDirty"), markClean: median("markClean") };
}

async function markRates(worked: Worked): Promise<Rates> {
  const samples: Rates[] = [];
  const start = performance.now();
  while (performance.now() - start < MEASURE_MS) samples.push(await markRound(worked));
  return medianOf(samples);
}

interface Compared {
  readonly small: Rates;
  readonly large: Rates;
  /** The least of the two rates, large over small. */
  readonly ratio: number;
}

/**
 * The rows of one submit, in a manifest of a thousand rows of its own and among all of `large`, in
 * turns: what else the machine does meets both.
 */
async function compareWithSmall(
  large: Manifest,
  directory: string,
): Promise<Compared> {
  const small = await openManifest({ directory: `${directory}/small` });
  await fill(small, 0, SMALL);
  const rows = Array.from({ length: SMALL }, (_, i) => i);
  const middle = rows.map((index) => (ROWS >> 1) + index);
  const samples: { small: Rates[]; large: Rates[] } = { small: [], large: [] };
  const start = performance.now();
  while (performance.now() - start < 3 * MEASURE_MS) {
    const callers = CALLERS;
    samples.small.push(await markRound({ manifest: small, indexes: rows, callers }));
    samples.large.push(await markRound({ manifest: large, indexes: middle, callers }));
  }
  await small.close();
  const [ofSmall, ofLarge] = [medianOf(samples.small), medianOf(samples.large)];
  const ratio = Math.min(
    ofLarge.markDirty / ofSmall.markDirty,
    ofLarge.markClean / ofSmall.markClean,
  );
  return { small: ofSmall, large: ofLarge, ratio };
}

async function fill(manifest: Manifest, from: number, to: number): Promise<void> {
  const step = 20_000;
  for (let start = from; start < to; start += step) {
    const batch: Promise<unknown>[] = [];
    for (let index = start; index < Math.min(to, start + step); index++) {
      const path = pathAt(index);
      batch.push(manifest.apply(path, "absent", {
        kind: "adopted",
        stored: storedAt(path, index),
        stat: STAT,
        resident: true,
        flags: {},
        nowS: lastAccessAt(index),
      }));
    }
    await Promise.all(batch);
  }
}

/** The next batch is read while the one before is committed. */
async function popRate(manifest: Manifest, count: number): Promise<number> {
  let popped = 0;
  const start = performance.now();
  let batch = manifest.leastRecentlyUsed(500);
  while (popped < count) {
    const evicted = Promise.all(
      batch.map(({ path, entry }) =>
        manifest.apply(path, entry.generation, { kind: "evicted", marker: STAT })
      ),
    );
    popped += batch.length;
    // The group is composed in the next turn, and its writing begins in the one after.
    await nextTurn();
    await nextTurn();
    batch = manifest.leastRecentlyUsed(500, batch.at(-1)!);
    await evicted;
  }
  return popped / (performance.now() - start) * 1000;
}

/**
 * Microseconds of one change where commits cost nothing: the least of many rounds, which
 * other work on the machine hardly touches.
 */
async function changeWithoutDiskUs(): Promise<number> {
  const manifest = await openMemManifest();
  await fill(manifest, 0, SMALL);
  const paths = Array.from({ length: 256 }, (_, i) => pathAt(i));
  let least = Infinity;
  for (let round = 0; round < 400; round++) {
    const start = performance.now();
    await Promise.all(paths.map((path) => manifest.apply(path, "any", written(round))));
    least = Math.min(least, performance.now() - start);
  }
  await manifest.close();
  return least * 1000 / paths.length;
}

interface Lookup {
  readonly p50Us: number;
  readonly p99Us: number;
  /** The p50 of the quietest and of the busiest round: what others do with the processor. */
  readonly roundsP50Us: readonly [least: number, most: number];
}

const LOOKUP_ROUNDS = 15;

function lookupTimes(manifest: Manifest, rows: number): Lookup {
  const rounds = Array.from({ length: LOOKUP_ROUNDS }, () => lookupRound(manifest, rows));
  const medians = rounds.map((times) => times[times.length >> 1]!).sort((a, b) => a - b);
  const times = rounds.flat().sort((a, b) => a - b);
  return {
    p50Us: times[times.length >> 1]!,
    p99Us: times[times.length * 99 / 100 | 0]!,
    roundsP50Us: [medians[0]!, medians.at(-1)!],
  };
}

/** Microseconds of a lookup, sorted; each is the mean of some that follow each other. */
function lookupRound(manifest: Manifest, rows: number): number[] {
  const times: number[] = [];
  const perSample = 20;
  for (let sample = 0; sample < 3_000; sample++) {
    const paths = Array.from(
      { length: perSample },
      (_, i) => pathAt((sample * perSample + i) * 40_503 % rows),
    );
    const start = performance.now();
    for (const path of paths) {
      if (manifest.get(path) === null) throw new Error(`no row at ${path}`);
    }
    times.push((performance.now() - start) * 1000 / perSample);
  }
  return times.sort((a, b) => a - b);
}

/** The longest time that the event loop was held while `work` ran. */
async function longestHoldMs(work: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    longest = Math.max(longest, now - last - 1);
    last = now;
  }, 1);
  await work();
  clearInterval(timer);
  return longest;
}

async function anonymousMemoryMb(): Promise<number> {
  const status = await Deno.readTextFile("/proc/self/status");
  return Number(/RssAnon:\s+(\d+) kB/.exec(status)![1]) / 1024;
}

/** Where files are in memory, and a commit costs what we and LMDB compute. */
const MEMORY_DIRECTORY = "/dev/shm";
const MEMORY_BYTES_NEEDED = 1_500_000_000;
const NO_ROOM = { bavail: 0, bsize: 0 };

/** The comparison where there is no disk; null: no room. */
async function compareWithoutDisk(): Promise<Compared | null> {
  const { bavail, bsize } = await statfs(MEMORY_DIRECTORY).catch(() => NO_ROOM);
  if (bavail * bsize < MEMORY_BYTES_NEEDED) return null;
  const directory = await Deno.makeTempDir({ dir: MEMORY_DIRECTORY });
  try {
    const manifest = await openManifest({ directory: `${directory}/m` });
    await fill(manifest, 0, ROWS);
    const compared = await compareWithSmall(manifest, directory);
    await manifest.close();
    return compared;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function usedBytes(path: string): Promise<number> {
  return ((await Deno.stat(path)).blocks ?? 0) * 512;
}

const directory = options.directory;
if (options.lookup) {
  // As the daemon does it.
  const native = openPosix(nativeFile("libp4posix.so"));
  const openStart = performance.now();
  const opened = await openManifest({ directory: `${directory}/m`, native });
  const openMs = performance.now() - openStart;
  const lookup = lookupTimes(opened, ROWS);
  const memoryMb = await anonymousMemoryMb();
  say(JSON.stringify({ openMs, lookup, memoryMb }));
  await opened.close();
  Deno.exit(0);
}
await Deno.mkdir(directory, { recursive: true });
await Deno.remove(`${directory}/m`, { recursive: true }).catch(() => {});
const memoryBefore = await anonymousMemoryMb();
const fsyncs = await fsyncRate(directory);
say(`bare fdatasync of 8 KiB: ${fsyncs.toFixed(0)}/s (${(1000 / fsyncs).toFixed(2)} ms)`);

const withoutDiskUs = await changeWithoutDiskUs();
say(`one change without a disk: ${withoutDiskUs.toFixed(1)} us`);
let manifest = await openManifest({ directory: `${directory}/m` });
await fill(manifest, 0, SMALL);
const one = await rateOf(1, (i) => manifest.apply(pathAt(i % SMALL), "any", written(i)));
say(`one caller, one fsync each: mark_dirty ${one.toFixed(0)}/s`);
const bareSmall = await bareCommitRate(directory, SMALL_COMMIT);
sayBare(SMALL, SMALL_COMMIT, bareSmall);
const firstRows = Array.from({ length: SMALL }, (_, i) => i);
const small = await markRates({ manifest, indexes: firstRows, callers: CALLERS });
const single = await markRates({
  manifest,
  indexes: firstRows.slice(0, 400),
  callers: 1,
});
say(`1 K rows, ${CALLERS} callers: ${JSON.stringify(small)}`);

const fillStart = performance.now();
await fill(manifest, SMALL, ROWS);
const fillRate = (ROWS - SMALL) / (performance.now() - fillStart) * 1000;
say(`filled to ${ROWS} rows at ${fillRate.toFixed(0)}/s`);
const diskBytes = await usedBytes(`${directory}/m/data.mdb`);
await manifest.close();

const child = await new Deno.Command(Deno.execPath(), {
  args: [
    "run",
    "-A",
    import.meta.filename!,
    "--directory",
    directory,
    "--rows",
    String(ROWS),
    "--lookup",
  ],
}).output();
const { openMs, lookup, memoryMb } = JSON.parse(new TextDecoder().decode(child.stdout));
manifest = await openManifest({ directory: `${directory}/m` });
const bareLarge = await bareCommitRate(directory, LARGE_COMMIT);
sayBare(ROWS, LARGE_COMMIT, bareLarge);
const compared = await compareWithSmall(manifest, directory);
say(
  `${ROWS} rows, ${CALLERS} callers, one submit, in turns with ${SMALL} rows: ` +
    JSON.stringify(compared),
);
const apart = Array.from({ length: SMALL }, (_, i) => Math.floor(i * ROWS / SMALL));
const scattered = await markRates({ manifest, indexes: apart, callers: CALLERS });
say(`the same, each row in another directory: ${JSON.stringify(scattered)}`);
const firstUnchanged = ROWS >> 2;
const unchanged = await rateOf(CALLERS, (i) => {
  return manifest.apply(pathAt(firstUnchanged + i), "any", written(1_800_000_000));
}, ROWS >> 2);
say(`mark_dirty of rows that were not changed before: ${unchanged.toFixed(0)}/s`);
const hold = await longestHoldMs(() =>
  rateOf(
    1_000,
    (i) => manifest.apply(pathAt(i * 37 % ROWS), "any", written(1_900_000_000)),
  )
);
const pop = await popRate(manifest, Math.min(50_000, ROWS >> 2));
await manifest.close();
await Deno.remove(directory, { recursive: true });

const flatBare = bareLarge / bareSmall;
const withoutDisk = await compareWithoutDisk();
say(
  `${ROWS} rows over ${SMALL}: ${
    compared.ratio.toFixed(2)
  } on this disk; bare commits of ` +
    `as many pages ${flatBare.toFixed(2)}; without a disk ` +
    (withoutDisk?.ratio.toFixed(2) ?? `not measured: no room in ${MEMORY_DIRECTORY}`),
);
const result = {
  rows: ROWS,
  fsyncsPerSecond: fsyncs,
  bareCommitsSmall: bareSmall,
  bareCommitsLarge: bareLarge,
  changeWithoutDiskUs: withoutDiskUs,
  markDirty64: small.markDirty,
  markClean64: small.markClean,
  markDirty1: single.markDirty,
  markClean1: single.markClean,
  markDirty64Large: compared.large.markDirty,
  markClean64Large: compared.large.markClean,
  markDirty64Scattered: scattered.markDirty,
  markClean64Scattered: scattered.markClean,
  markDirty64Unchanged: unchanged,
  flatLargeOverSmall: compared.ratio,
  flatLargeOverSmallBare: flatBare,
  flatLargeOverSmallInMemory: withoutDisk?.ratio ?? null,
  fillPerSecond: fillRate,
  popLru: pop,
  lookup,
  openMs,
  longestHoldMs: hold,
  diskMb: diskBytes / 1e6,
  anonymousMemoryMb: memoryMb,
  anonymousMemoryBeforeMb: memoryBefore,
};
await Deno.mkdir("build/bench", { recursive: true });
await Deno.writeTextFile(
  "build/bench/manifest.json",
  `${JSON.stringify(result, null, 2)}\n`,
);
say(
  `lookup p50 ${lookup.p50Us.toFixed(1)} us (rounds ${
    lookup.roundsP50Us.map((us: number) => us.toFixed(1)).join(" to ")
  }) p99 ${lookup.p99Us.toFixed(1)} us; open ` +
    `${openMs.toFixed(0)} ms; event loop held ${hold.toFixed(1)} ms at most; disk ` +
    `${(diskBytes / 1e6).toFixed(0)} MB; anonymous memory ${memoryMb.toFixed(0)} MB ` +
    `(${memoryBefore.toFixed(0)} before)`,
);
say(
  `manifest: mark_dirty_64=${small.markDirty.toFixed(0)}/s ` +
    `mark_clean_64=${small.markClean.toFixed(0)}/s ` +
    `mark_clean_1=${single.markClean.toFixed(0)}/s pop_lru=${pop.toFixed(0)}/s ` +
    `flat_1m_over_1k=${compared.ratio.toFixed(2)}`,
);
