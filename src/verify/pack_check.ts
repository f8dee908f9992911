/**
 * Graph depots keep Git packs, which no row names: each is checked by itself. A pack and its
 * index end in the SHA-1 of all that is before; the index repeats the pack's.
 *
 * @module
 */

import { createHash } from "node:crypto";
import type { Throttle } from "./budget.ts";
import { type Depth, emptyTally, type Finding, type Tally } from "./report_types.ts";
import type { LocalFiles, ReadableFile } from "./sources.ts";

const SHA1_BYTES = 20;
const READ_BYTES = 1 << 18;

export interface PackOutcome {
  readonly tally: Tally;
  readonly findings: readonly Finding[];
}

/** Checks the packs below `directory`; the directory of a depot without repositories may be absent. */
export async function checkPacks(
  files: LocalFiles,
  directory: string,
  depth: Depth,
  throttle: Throttle,
): Promise<PackOutcome> {
  const tally = emptyTally();
  const findings: Finding[] = [];
  for (const { path, names } of packDirectories(files, directory)) {
    const bases = new Set(
      [...names].filter((name) => /\.(?:pack|idx)$/.test(name))
        .map((name) => name.replace(/\.(?:pack|idx)$/, "")),
    );
    for (const base of [...bases].sort()) {
      tally.checked++;
      const why = await packFault(files, `${path}/${base}`, names, base, depth, {
        throttle,
        tally,
      });
      if (why === null) {
        tally.ok++;
        continue;
      }
      tally[why.kind]++;
      findings.push(packFinding(why.kind, why.path, why.why));
    }
  }
  return { tally, findings };
}

function* packDirectories(
  files: LocalFiles,
  root: string,
): Generator<{ path: string; names: ReadonlySet<string> }> {
  const directories = [root.replace(/\/+$/, "")];
  for (let at = directories.pop(); at !== undefined; at = directories.pop()) {
    const entries = files.readDirectory(at) ?? [];
    const names = new Set<string>();
    for (const entry of entries) {
      if (entry.isDirectory) directories.push(`${at}/${entry.name}`);
      else names.add(entry.name);
    }
    if (at.endsWith("/objects/pack")) yield { path: at, names };
  }
}

async function packFault(
  files: LocalFiles,
  path: string,
  names: ReadonlySet<string>,
  base: string,
  depth: Depth,
  context: { throttle: Throttle; tally: Tally },
): Promise<{ kind: "missing" | "bad"; path: string; why: string } | null> {
  for (const suffix of [".pack", ".idx"]) {
    if (names.has(base + suffix)) continue;
    const other = suffix === ".pack" ? ".idx" : ".pack";
    return {
      kind: "missing",
      path: path + suffix,
      why: `its ${other.slice(1)} is there`,
    };
  }
  if (depth === "exists" || depth === "size") return null;
  const pack = await readTrailer(files, `${path}.pack`, context);
  if (pack.why !== null) return { kind: "bad", path: `${path}.pack`, why: pack.why };
  const index = await readTrailer(files, `${path}.idx`, context);
  if (index.why !== null) return { kind: "bad", path: `${path}.idx`, why: index.why };
  if (index.last === pack.last.slice(-2 * SHA1_BYTES)) return null;
  return { kind: "bad", path: `${path}.idx`, why: "it is the index of another pack" };
}

/** Hashes all but the trailer. `last`: hex of the 20 bytes before the trailer, then it. */
async function readTrailer(
  files: LocalFiles,
  path: string,
  context: { throttle: Throttle; tally: Tally },
): Promise<{ why: string | null; last: string }> {
  const file = await files.open(path);
  try {
    const bodyBytes = file.sizeBytes - SHA1_BYTES;
    if (bodyBytes < SHA1_BYTES) return { why: "it is too short", last: "" };
    const sha1 = createHash("sha1");
    for (let at = 0; at < bodyBytes;) {
      const buffer = await readAt(file, at, Math.min(READ_BYTES, bodyBytes - at));
      if (buffer.length === 0) return { why: "it ends early", last: "" };
      await context.throttle.spend(buffer.length);
      sha1.update(buffer);
      context.tally.bytesRead += buffer.length;
      at += buffer.length;
    }
    const trailer = (await readAt(file, bodyBytes, SHA1_BYTES)).toHex();
    if (sha1.digest("hex") !== trailer) {
      return { why: "its SHA-1 is not the one it ends in", last: "" };
    }
    const before = (await readAt(file, bodyBytes - SHA1_BYTES, SHA1_BYTES)).toHex();
    return { why: null, last: path.endsWith(".idx") ? before : before + trailer };
  } finally {
    file.close();
  }
}

async function readAt(
  file: ReadableFile,
  offset: number,
  length: number,
): Promise<Uint8Array> {
  const buffer = new Uint8Array(length);
  return buffer.subarray(0, await file.read(buffer, offset));
}

function packFinding(kind: "missing" | "bad", path: string, why: string): Finding {
  return {
    kind,
    depotFile: `//${path}`,
    depotRev: null,
    action: null,
    change: null,
    type: "pack",
    digest: null,
    archive: path,
    archiveRev: null,
    rows: 0,
    wrong: ["local"],
    good: [],
    why,
  };
}
