/**
 * Reads archive files whole, and says what each revision in them holds. The same for a local
 * file and for an object that was fetched.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { Buffer } from "node:buffer";
import { type RcsBytes, RcsError, readRcsLayout } from "../perforce/rcs_layout.ts";
import { walkRevisions } from "../perforce/rcs_reader.ts";
import type { RcsText } from "../perforce/rcs_text.ts";
import { createContentHasher } from "../storage/hashing.ts";
import type { Throttle } from "./budget.ts";
import { gunzip, GzipError } from "./gunzip.ts";
import type { RevisionContent } from "./judge.ts";
import type { ReadableFile } from "./sources.ts";

const READ_BYTES = 1 << 19;
/** Larger RCS files are read by windows, not held. */
const HELD_BYTES_MAX = 32 << 20;
/** Largest content whose keywords are expanded. */
const KEYWORD_BYTES_MAX = 64 << 20;
/** Longest text of one RCS revision: it and its deltas must be held. */
const RCS_TEXT_BYTES_MAX = 1 << 30;

/** What one revision holds, or why that cannot be said. */
export type RevisionReading =
  | { readonly kind: "content"; readonly content: RevisionContent }
  | {
    /** absent: the file has no such revision. large: beyond the memory allowed. */
    readonly kind: "absent" | "damaged" | "large";
    readonly why: string;
  };

/** What is in a file, as far as it was asked for. */
export interface FileReading {
  /** BLAKE3-256 of the file's bytes, lower-case hex; "" if it was not read to its end. */
  readonly hash: string;
  readonly bytesRead: number;
}

export interface ReadOptions {
  readonly throttle: Throttle;
}

/** The BLAKE3-256 of a file. */
export async function hashFile(
  file: ReadableFile,
  options: ReadOptions,
): Promise<FileReading> {
  const source = new HashedChunks(file, options);
  for await (const _ of source.chunks()) continue;
  return source.result();
}

/** Reads an archive of a single revision, as it is or decompressed. */
export async function readSingle(
  file: ReadableFile,
  isGzip: boolean,
  keepsText: boolean,
  options: ReadOptions,
): Promise<FileReading & { readonly reading: RevisionReading }> {
  const source = new HashedChunks(file, options);
  const md5 = createHash("md5");
  const kept: Uint8Array[] = [];
  let sizeBytes = 0;
  try {
    const chunks = isGzip ? gunzip(source.chunks()) : source.chunks();
    for await (const chunk of chunks) {
      md5.update(chunk);
      sizeBytes += chunk.length;
      if (keepsText && sizeBytes <= KEYWORD_BYTES_MAX) kept.push(chunk);
    }
  } catch (error) {
    if (!(error instanceof GzipError)) throw error;
    return { ...source.result(), reading: { kind: "damaged", why: error.message } };
  }
  const isKept = keepsText && sizeBytes <= KEYWORD_BYTES_MAX;
  const content: RevisionContent = {
    md5: md5.digest("hex"),
    sizeBytes,
    text: () => isKept ? Buffer.concat(kept).toString("latin1") : null,
  };
  return { ...source.result(), reading: { kind: "content", content } };
}

/**
 * Reads a `,v` and calls `visit` once for each of `revisions`, in no order. `damage` is what
 * stopped the reading of its structure, although the revisions may be whole: the server may
 * refuse such a file.
 */
export async function readRcs(
  file: ReadableFile,
  revisions: ReadonlySet<string>,
  options: ReadOptions,
  visit: (revision: string, reading: RevisionReading) => void,
): Promise<FileReading & { readonly damage: string | null }> {
  const source = new HashedChunks(file, options);
  const bytes = await openRcsBytes(file, source);
  const layout = readRcsLayout(bytes);
  const present = new Set<string>();
  for (const revision of revisions) {
    if (layout.revisions.has(revision)) present.add(revision);
    else if (layout.damage === null) {
      visit(revision, {
        kind: "absent",
        why: `the file has no revision ${revision}`,
      });
    } else {
      visit(revision, { kind: "damaged", why: layout.damage.message });
    }
  }
  const limits = { textBytesMax: RCS_TEXT_BYTES_MAX };
  const { failed } = walkRevisions(bytes, layout, present, limits, (revision, text) => {
    visit(revision, { kind: "content", content: contentOf(text) });
  });
  for (const [revision, error] of failed) visit(revision, readingOf(revision, error));
  return { ...source.result(), damage: layout.damage?.message ?? null };
}

function readingOf(revision: string, error: RcsError): RevisionReading {
  return {
    kind: error.fault === "large" ? "large" : "damaged",
    why: `revision ${revision} cannot be rebuilt: ${error.message}`,
  };
}

/** Runs shorter than this are gathered before they are hashed. */
const GATHER_BYTES = 1 << 16;

function contentOf(text: RcsText): RevisionContent {
  const md5 = createHash("md5");
  const gathered = new Uint8Array(GATHER_BYTES);
  let held = 0;
  for (const chunk of text.chunks()) {
    if (held + chunk.length > GATHER_BYTES) {
      md5.update(gathered.subarray(0, held));
      held = 0;
    }
    if (chunk.length > GATHER_BYTES) {
      md5.update(chunk);
    } else {
      gathered.set(chunk, held);
      held += chunk.length;
    }
  }
  md5.update(gathered.subarray(0, held));
  return {
    md5: md5.digest("hex"),
    sizeBytes: text.sizeBytes,
    text: () =>
      text.sizeBytes > KEYWORD_BYTES_MAX
        ? null
        : Buffer.from(text.toBytes().buffer).toString("latin1"),
  };
}

/** Reads a file from its start to its end, hashing on the way. */
class HashedChunks {
  readonly #file: ReadableFile;
  readonly #options: ReadOptions;
  readonly #hasher = createContentHasher();
  #bytesRead = 0;
  #isWhole = false;

  constructor(file: ReadableFile, options: ReadOptions) {
    this.#file = file;
    this.#options = options;
  }

  /** Each chunk is a buffer of its own: decompression holds some while it reads on. */
  async *chunks(): AsyncGenerator<Uint8Array> {
    while (!this.#isWhole) {
      // One byte more than should be left: a read that is not full is the last.
      const leftBytes = Math.max(0, this.#file.sizeBytes - this.#bytesRead);
      const buffer = new Uint8Array(Math.min(READ_BYTES, leftBytes + 1));
      const count = await this.#file.read(buffer, this.#bytesRead);
      this.#isWhole = count < buffer.length;
      if (count === 0) return;
      await this.#options.throttle.spend(count);
      const chunk = buffer.subarray(0, count);
      this.#hasher.update(chunk);
      this.#bytesRead += count;
      yield chunk;
    }
  }

  get bytesRead(): number {
    return this.#bytesRead;
  }

  /** Once, at the end. */
  result(): FileReading {
    return {
      hash: this.#isWhole ? this.#hasher.digestHex() : "",
      bytesRead: this.#bytesRead,
    };
  }
}

/** A file as the RCS reader wants it: held if it is small, else by windows. */
async function openRcsBytes(file: ReadableFile, source: HashedChunks): Promise<RcsBytes> {
  if (file.sizeBytes <= HELD_BYTES_MAX) {
    const parts: Uint8Array[] = [];
    for await (const chunk of source.chunks()) parts.push(chunk);
    const held = Buffer.concat(parts);
    return {
      sizeBytes: held.length,
      window: (offset, lengthMax) => held.subarray(offset, offset + lengthMax),
    };
  }
  for await (const _ of source.chunks()) continue;
  const { bytesRead } = source;
  return {
    sizeBytes: bytesRead,
    window(offset: number, lengthMax: number): Uint8Array {
      const buffer = new Uint8Array(Math.min(lengthMax, bytesRead - offset));
      return buffer.subarray(0, file.readSync(buffer, offset));
    },
  };
}
