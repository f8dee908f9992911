/**
 * What `manifest-summary` tells: one pass over the rows in bounded memory, and the table
 * for people. The object is the documented JSON (docs/formats.md).
 *
 * @module
 */

import { displayPath } from "../core/names.ts";
import { formatBytes } from "../core/units.ts";
import type {
  FileEntry,
  FileState,
  Manifest,
  ManifestCounters,
  ManifestSnapshot,
  PathAndEntry,
  Retry,
} from "./manifest.ts";
import { allRetries, allRows } from "./snapshot.ts";

export interface Amount {
  files: number;
  bytes: number;
}

export interface DirectoryAmount {
  /** Printable; bytes that are not UTF-8 as `\xNN`. */
  readonly path: string;
  files: number;
  bytes: number;
  residentBytes: number;
  dirtyFiles: number;
}

export interface ManifestSummary {
  readonly format: "p4-cache-manifest-summary";
  readonly version: 1;
  readonly schemaVersion: number;
  readonly rowVersion: string;
  readonly instanceId: string | null;
  readonly total: Amount;
  readonly byState: Readonly<Record<FileState, Amount>>;
  readonly resident: Amount;
  readonly evicted: Amount;
  readonly flags: Readonly<Record<keyof FileEntry["flags"], number>>;
  /** Clean rows without a content hash, which are never evicted. */
  readonly unhashed: number;
  /** The greatest directories at the chosen depth. */
  readonly directories: readonly DirectoryAmount[];
  readonly dirtyQueue: {
    readonly files: number;
    readonly bytes: number;
    readonly oldestAgeSecs: number | null;
  };
  readonly retries: {
    readonly waiting: number;
    /** The first few, the earliest first. */
    readonly next: readonly { readonly path: string; readonly inSecs: number }[];
  };
  /** Resident clean files by the age of their last access. */
  readonly lru: readonly (Amount & { readonly upToSecs: number | null })[];
  readonly tombstones: number;
  readonly conflicts: number;
  /** Whether the counters that the daemon keeps are those that were counted here. */
  readonly countersAgree: boolean;
}

export interface SummaryOptions {
  readonly nowMs: number;
  /** How many directories to show. */
  readonly top: number;
  /** How many leading components make a directory; at least 1. */
  readonly depth: number;
}

const HOUR = 3_600;
const DAY = 24 * HOUR;

/** Upper bounds of the age classes; the last one has none. */
const AGES_SECS: readonly (number | null)[] = [
  HOUR,
  DAY,
  7 * DAY,
  30 * DAY,
  90 * DAY,
  365 * DAY,
  null,
];

const RETRIES_SHOWN = 5;

/** Reads every row, all of one moment; yields to other work between some and the next. */
export async function summarizeManifest(
  manifest: Manifest,
  options: SummaryOptions,
): Promise<ManifestSummary> {
  const tally = new Tally(options);
  const snapshot = manifest.snapshot();
  let kept: Kept;
  try {
    kept = keptIn(snapshot);
    for await (const page of allRows(snapshot)) {
      for (const row of page) tally.add(row);
    }
    for await (const page of allRetries(snapshot)) tally.addRetries(page);
  } finally {
    snapshot.done();
  }
  return summaryOf(kept, tally, options);
}

/** What the manifest says of itself. */
interface Kept extends ReturnType<Manifest["format"]> {
  readonly instanceId: string | null;
  readonly counters: ManifestCounters;
  readonly oldestMs: number | null;
}

function keptIn(snapshot: ManifestSnapshot): Kept {
  return {
    ...snapshot.format(),
    instanceId: snapshot.meta("instance_id"),
    counters: snapshot.counters(),
    oldestMs: snapshot.oldestDirtyAtMs(),
  };
}

function summaryOf(
  { schemaVersion, rowVersion, instanceId, counters, oldestMs }: Kept,
  tally: Tally,
  { nowMs, top }: SummaryOptions,
): ManifestSummary {
  const { byState, resident } = tally;
  const total = sumOf([byState.clean, byState.dirty, byState.uploading]);
  return {
    format: "p4-cache-manifest-summary",
    version: 1,
    schemaVersion,
    rowVersion,
    instanceId,
    total,
    byState,
    resident,
    evicted: { files: total.files - resident.files, bytes: total.bytes - resident.bytes },
    flags: tally.flags,
    unhashed: tally.unhashed,
    directories: tally.greatestDirectories(top),
    dirtyQueue: {
      ...sumOf([byState.dirty, byState.uploading]),
      oldestAgeSecs: oldestMs === null ? null : ageSecs(nowMs, oldestMs),
    },
    retries: {
      waiting: tally.retries,
      next: tally.nextRetries.map(({ path, atMs }) => ({
        path: displayPath(path),
        inSecs: Math.max(0, Math.ceil((atMs - nowMs) / 1000)),
      })),
    },
    lru: AGES_SECS.map((upToSecs, index) => ({ upToSecs, ...tally.ages[index]! })),
    tombstones: counters.tombstones,
    conflicts: counters.conflicts,
    countersAgree: counters.cleanFiles === byState.clean.files &&
      counters.dirtyFiles === byState.dirty.files &&
      counters.uploadingFiles === byState.uploading.files &&
      counters.residentFiles === resident.files &&
      counters.residentBytes === resident.bytes && counters.totalBytes === total.bytes,
  };
}

function sumOf(amounts: readonly Amount[]): Amount {
  return {
    files: amounts.reduce((sum, { files }) => sum + files, 0),
    bytes: amounts.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

function ageSecs(nowMs: number, thenMs: number): number {
  return Math.max(0, Math.floor((nowMs - thenMs) / 1000));
}

class Tally {
  readonly byState: Record<FileState, Amount> = {
    clean: { files: 0, bytes: 0 },
    dirty: { files: 0, bytes: 0 },
    uploading: { files: 0, bytes: 0 },
  };
  readonly resident: Amount = { files: 0, bytes: 0 };
  readonly flags = {
    foreign: 0,
    conflict: 0,
    borrowed: 0,
    secondaryOnly: 0,
    pinned: 0,
    readOnce: 0,
  };
  readonly ages: Amount[] = AGES_SECS.map(() => ({ files: 0, bytes: 0 }));
  unhashed = 0;
  retries = 0;
  readonly nextRetries: Retry[] = [];
  readonly #directories = new Map<string, DirectoryAmount>();
  readonly #options: SummaryOptions;

  constructor(options: SummaryOptions) {
    this.#options = options;
  }

  add({ path, entry }: PathAndEntry): void {
    const { sizeBytes } = entry.local;
    addTo(this.byState[entry.state], sizeBytes);
    if (entry.resident) addTo(this.resident, sizeBytes);
    for (const name of Object.keys(this.flags) as (keyof typeof this.flags)[]) {
      if (entry.flags[name]) this.flags[name]++;
    }
    if (entry.state === "clean" && entry.stored?.hash === null) this.unhashed++;
    if (entry.state === "clean" && entry.resident) {
      const age = ageSecs(this.#options.nowMs, entry.lastAccessS * 1000);
      const index = AGES_SECS.findIndex((upTo) => upTo === null || age < upTo);
      addTo(this.ages[index]!, sizeBytes);
    }
    this.#addToDirectory(path, entry);
  }

  addRetries(some: readonly Retry[]): void {
    this.retries += some.length;
    const left = RETRIES_SHOWN - this.nextRetries.length;
    this.nextRetries.push(...some.slice(0, left));
  }

  #addToDirectory(path: string, entry: FileEntry): void {
    const parts = path.split("/").slice(0, -1).slice(0, this.#options.depth);
    const directory = parts.join("/");
    let amount = this.#directories.get(directory);
    if (amount === undefined) {
      const shown = directory === "" ? "." : displayPath(directory);
      amount = { path: shown, files: 0, bytes: 0, residentBytes: 0, dirtyFiles: 0 };
      this.#directories.set(directory, amount);
    }
    addTo(amount, entry.local.sizeBytes);
    if (entry.resident) amount.residentBytes += entry.local.sizeBytes;
    if (entry.state !== "clean") amount.dirtyFiles++;
  }

  greatestDirectories(top: number): DirectoryAmount[] {
    return [...this.#directories.values()]
      .sort((a, b) => b.bytes - a.bytes || (a.path < b.path ? -1 : 1))
      .slice(0, top);
  }
}

function addTo(amount: Amount, bytes: number): void {
  amount.files++;
  amount.bytes += bytes;
}

// ---- for people ----

/** The summary as lines of text. */
export function renderSummary(summary: ManifestSummary): string[] {
  const { byState, dirtyQueue, retries } = summary;
  return [
    `Manifest: schema ${summary.schemaVersion}, rows ${summary.rowVersion}, instance ` +
    `${summary.instanceId ?? "unknown"}`,
    "",
    ...table(["", "files", "bytes"], [
      amountRow("total", summary.total),
      amountRow("clean", byState.clean),
      amountRow("dirty", byState.dirty),
      amountRow("uploading", byState.uploading),
      amountRow("resident", summary.resident),
      amountRow("evicted", summary.evicted),
    ]),
    "",
    `Dirty queue: ${dirtyQueue.files} files, ${formatBytes(dirtyQueue.bytes)}` +
    (dirtyQueue.oldestAgeSecs === null
      ? ""
      : `, the oldest for ${formatAge(dirtyQueue.oldestAgeSecs)}`),
    `Waiting retries: ${retries.waiting}`,
    ...retries.next.map(({ path, inSecs }) => `  in ${formatAge(inSecs)}  ${path}`),
    `Conflicts: ${summary.conflicts}   tombstones: ${summary.tombstones}   pinned: ` +
    `${summary.flags.pinned}   without hash: ${summary.unhashed}`,
    ...(summary.countersAgree
      ? []
      : ["The counters differ from the rows: run `p4-cache check-manifest`."]),
    "",
    "Resident clean files by last access:",
    ...table(
      ["  age", "files", "bytes"],
      summary.lru.map(({ upToSecs, ...amount }) =>
        amountRow(
          upToSecs === null ? "  older" : `  under ${formatAge(upToSecs)}`,
          amount,
        )
      ),
    ),
    "",
    "Greatest directories:",
    ...table(
      ["  directory", "files", "bytes", "resident", "dirty"],
      summary.directories.map((one) => [
        `  ${one.path}`,
        String(one.files),
        formatBytes(one.bytes),
        formatBytes(one.residentBytes),
        String(one.dirtyFiles),
      ]),
    ),
  ];
}

function amountRow(name: string, { files, bytes }: Amount): string[] {
  return [name, String(files), formatBytes(bytes)];
}

/** The first column to the left, the others to the right. */
function table(
  header: readonly string[],
  rows: readonly (readonly string[])[],
): string[] {
  const all = [header, ...rows];
  const widths = header.map((_, column) =>
    Math.max(...all.map((row) => row[column]!.length))
  );
  return all.map((row) =>
    row.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)
    ).join("  ").trimEnd()
  );
}

const AGE_UNITS = [
  { name: "d", seconds: DAY },
  { name: "h", seconds: HOUR },
  { name: "m", seconds: 60 },
] as const;

/** In the greatest unit that is at least 1: `90 s` as `1m`. */
export function formatAge(seconds: number): string {
  const unit = AGE_UNITS.find((one) => seconds >= one.seconds);
  return unit === undefined
    ? `${Math.floor(seconds)}s`
    : `${Math.floor(seconds / unit.seconds)}${unit.name}`;
}
