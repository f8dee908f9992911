/**
 * Damages copies of a manifest's file, one seed after the other, and says what came of it:
 * a line `<seed> <verdict>` each. A process of its own, because LMDB may end it.
 *
 *     corrupt_child.ts daemon|command <base data file> <older data file> <work directory>
 *         <from> <to>
 *
 * It is opened as the daemon does it, which also writes, or as the commands that only look.
 *
 * Verdicts: refused (openManifest), detected (a read), harmless (every answer is right),
 * found (an answer was wrong, and the check knows), silent (an answer was wrong), and
 * misnamed: it was refused, but not as damaged, or without saying what recovers it.
 *
 * @module
 */

import { checkManifest } from "../../src/manifest/check_manifest.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import type { NativeReads } from "../../src/manifest/page_file.ts";
import { type Manifest, ManifestError } from "../../src/manifest/manifest.ts";
import { RECOVERY_HINT } from "../../src/manifest/reader.ts";
import { summarizeManifest } from "../../src/manifest/summary.ts";
import { nativeFile } from "../../src/posix/native_files.ts";
import { openPosix } from "../../src/posix/posix.ts";
import { pathOf } from "./sample_manifest.ts";

const PAGE_BYTES = 8_192;
/** What a meta page holds, and some behind it. */
const META_BYTES = 176;
const FILES = 400;

export type Random = (below: number) => number;

/** xorshift32: the same numbers for the same seed everywhere. */
export function randomFrom(seed: number): Random {
  let state = (seed * 2_654_435_761) >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state % below;
  };
}

export function damage(good: Uint8Array, older: Uint8Array, random: Random): Uint8Array {
  const bytes = good.slice();
  const pages = bytes.length / PAGE_BYTES;
  const page = random(pages) * PAGE_BYTES;
  switch (random(8)) {
    case 0:
      bytes[random(bytes.length)]! ^= 1 << random(8);
      return bytes;
    case 1: {
      const at = random(bytes.length - 64);
      for (let i = 0; i < 1 + random(64); i++) bytes[at + i] = random(256);
      return bytes;
    }
    case 2:
      bytes.fill(0, page, page + PAGE_BYTES);
      return bytes;
    case 3:
      bytes.copyWithin(page, random(pages) * PAGE_BYTES, random(pages) * PAGE_BYTES);
      return bytes;
    case 4:
      return bytes.slice(0, random(bytes.length));
    case 5: // a write that the disk lost: the page as it was before
      bytes.set(older.subarray(page, page + PAGE_BYTES), page);
      return bytes;
    case 6: // in a meta page, from which LMDB takes how to read all others
      bytes[random(2) * PAGE_BYTES + random(META_BYTES)]! ^= 1 << random(8);
      return bytes;
    default: // in the header and pointers of a page, where the structure is
      bytes[page + random(128)] = random(256);
      return bytes;
  }
}

/** Every answer, one line each; equal lines are equal answers. */
async function* answersOf(manifest: Manifest): AsyncGenerator<string> {
  const show = (value: unknown): string =>
    JSON.stringify(value, (_, part) => typeof part === "bigint" ? `${part}n` : part);
  yield show(manifest.counters());
  for (let seed = 0; seed < FILES; seed++) {
    yield show([pathOf(seed), manifest.get(pathOf(seed))]);
    yield show(manifest.tombstonesOf(pathOf(seed)));
  }
  yield show(manifest.dirtyDue(99_000_000, 1000));
  yield show(manifest.leastRecentlyUsed(1000));
  yield show(manifest.conflicts(null, 1000));
  yield show(manifest.entries("", null, 1000));
  yield show(manifest.tombstonesDue(99_000_000, 1000));
  yield show([manifest.oldestDirtyAtMs(), manifest.nextRetryAtMs()]);
  yield show(manifest.meta("instance_id"));
  yield show(await summarizeManifest(manifest, { nowMs: 99_000_000, top: 10, depth: 3 }));
}

interface Opening {
  readonly readOnly: boolean;
  readonly native: NativeReads | null;
}

/** What is said of a refusal: it must be of damage, and name the way out. */
function verdictOn({ fault, message }: ManifestError, verdict: string): string {
  const isRight = fault === "damaged" && message.includes(RECOVERY_HINT);
  return isRight ? verdict : `misnamed ${verdict}: ${fault}: ${message}`;
}

async function verdictOf(
  directory: string,
  { readOnly, native }: Opening,
  expected: readonly string[],
): Promise<string> {
  let manifest: Manifest;
  try {
    manifest = await openManifest({ directory, readOnly, ...native && { native } });
  } catch (error) {
    if (error instanceof ManifestError) return verdictOn(error, "refused");
    throw error;
  }
  let isWrong = false;
  try {
    let index = 0;
    for await (const answer of answersOf(manifest)) {
      isWrong ||= answer !== expected[index++];
    }
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    if (!isWrong) return verdictOn(error, "detected");
  } finally {
    await manifest.close();
  }
  if (!isWrong) return "harmless";
  for await (const _ of checkManifest(directory)) return "found";
  return "silent";
}

const say = (line: string): void => {
  // deno-lint-ignore no-console -- the parent reads it
  console.log(line);
};

async function run(): Promise<void> {
  const [who, base, olderPath, work, from, to] = Deno.args as [
    "daemon" | "command",
    string,
    string,
    string,
    string,
    string,
  ];
  const good = await Deno.readFile(base);
  const older = await Deno.readFile(olderPath);
  const put = (bytes: Uint8Array): void => {
    Deno.removeSync(work, { recursive: true });
    Deno.mkdirSync(work);
    Deno.writeFileSync(`${work}/data.mdb`, bytes);
  };
  put(good);
  const manifest = await openManifest({ directory: work, readOnly: true });
  const expected = await Array.fromAsync(answersOf(manifest));
  await manifest.close();
  using posix = openPosix(nativeFile("libp4posix.so"));
  const readOnly = who === "command";
  for (let seed = Number(from); seed < Number(to); seed++) {
    say(`${seed} begun`);
    put(damage(good, older, randomFrom(seed)));
    const native = seed % 2 === 0 ? posix : null;
    say(`${seed} ${await verdictOf(work, { readOnly, native }, expected)}`);
  }
}

if (import.meta.main) await run();
