/**
 * Reads a copy of an archive, local or stored, and judges every revision in it.
 *
 * @module
 */

import { SYSTEM_CLOCK } from "../core/clock.ts";
import { keywordMode } from "../perforce/file_type.ts";
import type { ArchiveFile, ArchiveRevision } from "./archive_plan.ts";
import { type RecallBudget, Throttle } from "./budget.ts";
import type { Claim } from "./claims.ts";
import {
  hashFile,
  type ReadOptions,
  readRcs,
  readSingle,
  type RevisionReading,
} from "./content.ts";
import { fetchObject } from "./fetched_object.ts";
import { judgeContent } from "./judge.ts";
import type { Scratch } from "./scratch.ts";
import {
  type ArchiveStore,
  type LocalFiles,
  type ManifestRow,
  type ReadableFile,
  type StoredObject,
  StoreReadError,
} from "./sources.ts";

export interface JudgedRevision {
  readonly verdict: "ok" | "unverifiable" | "absent" | "bad" | "record";
  readonly why: string;
  readonly claim: Claim;
}

/** What a copy turned out to hold. */
export interface CopyReport {
  /** BLAKE3-256 of the bytes; "" if they could not be read. */
  readonly hash: string;
  readonly bytesRead: number;
  /** By archive revision; null if only the bytes were hashed, or on a fault. */
  readonly revisions: ReadonlyMap<string, JudgedRevision> | null;
  /** The file's structure is damaged beside the revisions. */
  readonly damage: string | null;
  /** The object could not be read. */
  readonly fault: {
    readonly kind: "absent" | "damaged" | "archived" | "failed";
    readonly why: string;
  } | null;
}

export interface CopyReaderOptions {
  readonly files: LocalFiles;
  readonly store: ArchiveStore | null;
  readonly scratch: Scratch;
  readonly budget: RecallBudget;
  readonly throttle: Throttle;
  readonly signal: AbortSignal;
  readonly onIncomplete: (why: string) => void;
}

type Stored = NonNullable<ManifestRow["stored"]>;

export class CopyReader {
  readonly #options: CopyReaderOptions;
  readonly #read: ReadOptions;
  readonly #readFetched: ReadOptions;

  constructor(options: CopyReaderOptions) {
    this.#options = options;
    this.#read = { throttle: options.throttle };
    // Its bytes were paid for when they were fetched.
    this.#readFetched = { throttle: new Throttle(SYSTEM_CLOCK, Infinity) };
  }

  async hashLocal(path: string): Promise<CopyReport> {
    const file = await this.#options.files.open(path);
    try {
      const { hash, bytesRead } = await hashFile(file, this.#read);
      return { hash, bytesRead, revisions: null, damage: null, fault: null };
    } finally {
      file.close();
    }
  }

  async readLocal(path: string, archive: ArchiveFile): Promise<CopyReport> {
    const file = await this.#options.files.open(path);
    try {
      return await readArchive(file, path.endsWith(".gz"), archive, this.#read);
    } finally {
      file.close();
    }
  }

  /**
   * Fetches an object within the budget, and judges it as the copy of `archive`, or only
   * hashes it where that is null.
   */
  async readObject(
    stored: Stored,
    path: string,
    archive: ArchiveFile | null,
  ): Promise<CopyReport | "deferred"> {
    const { store, scratch, budget, throttle, signal } = this.#options;
    if (!budget.take(stored.sizeBytes)) return "deferred";
    try {
      const object = await fetchObject(stored.key, stored.sizeBytes, {
        store: store!,
        scratch,
        throttle,
        signal,
      });
      try {
        const bytesRead = object.sizeBytes;
        if (archive === null) {
          return {
            hash: object.hash,
            bytesRead,
            revisions: null,
            damage: null,
            fault: null,
          };
        }
        const isGzip = path.endsWith(".gz");
        const report = await readArchive(object, isGzip, archive, this.#readFetched);
        return { ...report, hash: object.hash, bytesRead };
      } finally {
        object.close();
      }
    } catch (error) {
      if (signal.aborted) return "deferred";
      if (!(error instanceof StoreReadError)) throw error;
      if (error.fault === "failed") this.#options.onIncomplete(error.message);
      return {
        hash: "",
        bytesRead: 0,
        revisions: null,
        damage: null,
        fault: { kind: error.fault, why: error.message },
      };
    }
  }

  async head(key: string): Promise<StoredObject | null> {
    return await this.#options.store!.head(key);
  }
}

async function readArchive(
  file: ReadableFile,
  isGzip: boolean,
  archive: ArchiveFile,
  options: ReadOptions,
): Promise<CopyReport> {
  const judged = new Map<string, JudgedRevision>();
  if (!archive.isRcs) {
    const revision = archive.revisions[0]!;
    const keepsText = revision.claims.some((claim) =>
      keywordMode(claim.type | claim.lbrType) !== "none"
    );
    const { reading, ...rest } = await readSingle(file, isGzip, keepsText, options);
    judged.set(revision.lbrRev, judgeReading(revision, reading));
    return { ...rest, revisions: judged, damage: null, fault: null };
  }
  const revisions = new Map(archive.revisions.map((it) => [it.lbrRev, it]));
  const wanted = new Set(revisions.keys());
  const { damage, ...rest } = await readRcs(file, wanted, options, (number, reading) => {
    judged.set(number, judgeReading(revisions.get(number)!, reading));
  });
  return { ...rest, revisions: judged, damage, fault: null };
}

function judgeReading(
  revision: ArchiveRevision,
  reading: RevisionReading,
): JudgedRevision {
  const claim = revision.claims[0]!;
  switch (reading.kind) {
    case "absent":
      return { verdict: "absent", why: reading.why, claim };
    case "damaged":
      return { verdict: "bad", why: reading.why, claim };
    case "large":
      return { verdict: "unverifiable", why: reading.why, claim };
    case "content": {
      const judgement = judgeContent(revision.claims, reading.content);
      const verdict = judgement.verdict === "unknown"
        ? "unverifiable"
        : judgement.verdict;
      return { ...judgement, verdict };
    }
  }
}
