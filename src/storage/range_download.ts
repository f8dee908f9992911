/**
 * Downloads an object into a file, whole or in parallel ranges, and hashes it in order.
 *
 * The shared driver of the cloud stores: they only open a range. It pins every request
 * after the first to the ETag of the first, so that all bytes are of one object; fetches
 * a range that broke again from where it broke, as long as each try brings bytes; and
 * gathers what comes into writes of 512 KiB, one of which is under way while the next fills.
 * Memory: 1.5 MiB for each range in flight, of which there is one for each download, and so
 * many more for all together as the caller has places.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import type { DownloadRequest, DownloadResult, ObjectInfo } from "./backend.ts";
import type { Body } from "./http/body.ts";
import { Places } from "./limiting_backend.ts";
import { OrderedHash } from "./ordered_hash.ts";
import { type ByteRange, planRanges } from "./plan_ranges.ts";
import { StorageError, type StorageFault } from "./storage_error.ts";

/** What a store answers to a request for an object, or for a range of it. */
export interface RangeAnswer {
  /** Of the whole object, also where the answer is a range. */
  readonly info: ObjectInfo;
  /** Throws StorageErrors only (or the signal's reason). */
  readonly body: Body;
}

export interface RangeRequest {
  /** Null: all of it. */
  readonly range: ByteRange | null;
  readonly ifMatch: string | null;
  readonly signal: AbortSignal;
}

export type OpenRange = (request: RangeRequest) => Promise<RangeAnswer>;

export interface DownloadTuning {
  /** Objects of at least this size are fetched in ranges; 0: none is. */
  readonly chunkThresholdBytes: number;
  /** Ranges in flight for one object. */
  readonly chunkThreads: number;
  /** Size of a range. */
  readonly rangeBytes: number;
}

/** How often a range may break and be continued, as long as each time brought bytes. */
const RESUMES_MAX = 16;

const PROGRESS_MS = 1_000;

export interface DownloadTools {
  readonly clock: Clock;
  /** For every range in flight but the first of each download. */
  readonly furtherRanges: Places;
  readonly pieces: PieceMemories;
}

/** Ranges in flight in a backend, beside the one of each download. */
const FURTHER_RANGES_MAX = 8;

/** Of one backend, for all its downloads. */
export function downloadTools(
  clock: Clock,
  furtherRanges = new Places(FURTHER_RANGES_MAX),
): DownloadTools {
  return {
    clock,
    furtherRanges,
    pieces: new PieceMemories(),
  };
}

export async function downloadInRanges(
  request: DownloadRequest,
  tuning: DownloadTuning,
  openRange: OpenRange,
  tools: DownloadTools,
): Promise<DownloadResult> {
  request.signal?.throwIfAborted();
  const stop = new AbortController();
  const signal = request.signal === undefined
    ? stop.signal
    : AbortSignal.any([request.signal, stop.signal]);
  const download = new RangeDownload(request, openRange, tools, stop, signal);
  try {
    return await download.run(planFor(request, tuning), tuning.chunkThreads);
  } finally {
    stop.abort();
  }
}

/** Null: not in ranges, because it is small, its size not known, or its order wanted. */
function planFor(
  { sizeBytes, inOrder = false }: DownloadRequest,
  tuning: DownloadTuning,
): ByteRange[] | null {
  if (inOrder) return null;
  const { chunkThresholdBytes, chunkThreads, rangeBytes } = tuning;
  const isLarge = sizeBytes !== null && chunkThresholdBytes > 0 &&
    sizeBytes >= chunkThresholdBytes && sizeBytes > rangeBytes;
  return isLarge && chunkThreads > 1 ? planRanges(sizeBytes, rangeBytes) : null;
}

class RangeDownload {
  readonly #request: DownloadRequest;
  readonly #openRange: OpenRange;
  readonly #clock: Clock;
  readonly #furtherRanges: Places;
  readonly #pieces: PieceMemories;
  readonly #stop: AbortController;
  readonly #signal: AbortSignal;
  #info: ObjectInfo | null = null;
  #hash: OrderedHash | null = null;
  #doneBytes = 0;
  #toldAtMs = 0;

  constructor(
    request: DownloadRequest,
    openRange: OpenRange,
    tools: DownloadTools,
    stop: AbortController,
    signal: AbortSignal,
  ) {
    this.#request = request;
    this.#openRange = openRange;
    this.#clock = tools.clock;
    this.#furtherRanges = tools.furtherRanges;
    this.#pieces = tools.pieces;
    this.#stop = stop;
    this.#signal = signal;
  }

  async run(ranges: ByteRange[] | null, threads: number): Promise<DownloadResult> {
    const first = await this.#openRange({
      range: ranges?.[0] ?? null,
      ifMatch: this.#request.ifMatch ?? null,
      signal: this.#signal,
    });
    try {
      this.#expectSize(first.info);
    } catch (error) {
      first.body.cancel();
      throw error;
    }
    this.#info = first.info;
    const total = first.info.sizeBytes;
    const plan = ranges ?? [{ start: 0, end: total }];
    this.#hash = new OrderedHash(this.#request.target, plan);
    this.#toldAtMs = this.#clock.monotonicMs();
    await this.#fetchAll(plan, first, threads);
    this.#request.signal?.throwIfAborted();
    const hash = await this.#hash.finish(total, this.#request.key);
    this.#request.onProgress?.(total, total);
    return { info: first.info, hash };
  }

  #expectSize(info: ObjectInfo): void {
    const wanted = this.#request.sizeBytes;
    if (wanted === null || wanted === info.sizeBytes) return;
    throw this.#error("corrupt", `it has ${info.sizeBytes} bytes, ${wanted} are wanted`);
  }

  /** Each worker takes the next range that nobody has; the first failure ends them all. */
  async #fetchAll(
    plan: readonly ByteRange[],
    first: RangeAnswer,
    threads: number,
  ): Promise<void> {
    let next = 0;
    let failure: { error: unknown } | null = null;
    // Who still waits for a place when the last range is taken need not wait on.
    const allTaken = new AbortController();
    const waiting = AbortSignal.any([this.#signal, allTaken.signal]);
    const takeNext = async (): Promise<void> => {
      const index = next;
      if (index >= plan.length) return;
      next += 1;
      if (next >= plan.length) allTaken.abort(allTaken);
      await this.#fetchRange(plan[index]!, index, index === 0 ? first : null);
    };
    const work = async (worker: number): Promise<void> => {
      while (next < plan.length && failure === null) {
        if (worker === 0) await takeNext();
        else await this.#furtherRanges.run(takeNext, waiting);
      }
    };
    const workers = Array.from(
      { length: Math.min(threads, plan.length) },
      (_, worker) =>
        work(worker).catch((error) => {
          if (error === allTaken) return;
          failure ??= { error };
          this.#stop.abort(error);
        }),
    );
    await Promise.all(workers);
    if (failure !== null) throw (failure as { error: unknown }).error;
  }

  async #fetchRange(
    range: ByteRange,
    index: number,
    opened: RangeAnswer | null,
  ): Promise<void> {
    let offset = range.start;
    let answer = opened;
    let writing = Promise.resolve();
    const pieces = this.#pieces.take(range.end - range.start);
    for (let resumeCount = 0;; resumeCount++) {
      const from = offset;
      try {
        answer ??= await this.#openAgain({ start: offset, end: range.end });
        for await (
          const bytes of gathered(
            answer.body,
            pieces,
            this.#signal,
          )
        ) {
          if (offset + bytes.length > range.end) {
            throw this.#error(
              "corrupt",
              `more bytes came than ${range.end - range.start}`,
            );
          }
          await writing;
          writing = this.#write(index, bytes, offset);
          // Waited for in each case: above, below, or after a failure of the body.
          writing.catch(() => {});
          offset += bytes.length;
        }
        await writing;
        if (offset === range.end) {
          this.#pieces.give(pieces);
          return;
        }
        throw this.#error(
          "unavailable",
          `the answer ended at byte ${offset} of ${range.end}`,
        );
      } catch (error) {
        await writing;
        const mayResume = error instanceof StorageError &&
          error.fault === "unavailable" &&
          offset > from && resumeCount < RESUMES_MAX;
        if (!mayResume) throw error;
        answer = null;
      }
    }
  }

  async #write(index: number, bytes: Uint8Array, offset: number): Promise<void> {
    await this.#request.target.write(bytes, offset);
    this.#hash!.wrote(index, bytes, offset);
    this.#progress(bytes.length);
  }

  async #openAgain(range: ByteRange): Promise<RangeAnswer> {
    const info = this.#info!;
    const answer = await this.#openRange({
      range,
      ifMatch: info.etag,
      signal: this.#signal,
    });
    if (answer.info.etag !== info.etag || answer.info.sizeBytes !== info.sizeBytes) {
      answer.body.cancel();
      throw this.#error("precondition", "it was replaced while it was read");
    }
    return answer;
  }

  #progress(bytes: number): void {
    this.#doneBytes += bytes;
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#toldAtMs < PROGRESS_MS) return;
    this.#toldAtMs = nowMs;
    this.#request.onProgress?.(this.#doneBytes, this.#info!.sizeBytes);
  }

  #error(fault: StorageFault, detail: string): StorageError {
    const { key } = this.#request;
    return new StorageError(fault, { operation: "download", key, detail });
  }
}

/** Two, one of which is written while the other fills. */
type Pieces = readonly [Uint8Array, Uint8Array];

/** Larger ones would cost memory in each range, and fewer calls. */
const PIECE_BYTES = 524_288;

/** As many as ranges are in flight in a busy daemon. */
const FREE_PIECES_MAX = 32;

/**
 * Memory of ranges that are over, for those to come, of all downloads: memory that is new
 * for each waits for the collector by the hundreds of MiB, and downloads that keep their own
 * end with as many each as they ever had ranges in flight.
 */
class PieceMemories {
  readonly #free: Pieces[] = [];

  /** @param bytesWanted A small object needs no large pieces. */
  take(bytesWanted: number): Pieces {
    if (bytesWanted > PIECE_BYTES) {
      return this.#free.pop() ??
        [new Uint8Array(PIECE_BYTES), new Uint8Array(PIECE_BYTES)];
    }
    // What fits one piece never comes to the second.
    return [new Uint8Array(Math.max(1, bytesWanted)), new Uint8Array(1)];
  }

  /** Not after a failure: a write may be under way. */
  give(pieces: Pieces): void {
    const isWhole = pieces[1].length === PIECE_BYTES;
    if (isWhole && this.#free.length < FREE_PIECES_MAX) this.#free.push(pieces);
  }
}

/**
 * The body in pieces, because each piece costs a hash call and a write. A body
 * that breaks is first given as far as it came, so that a resume need not fetch it again.
 * A piece's memory is used again for the one after the next.
 */
async function* gathered(
  body: Body,
  pieces: Pieces,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let [piece, other] = pieces;
  let filled = 0;
  try {
    for (;;) {
      let bytes: Uint8Array | null;
      try {
        bytes = await body.read();
      } catch (error) {
        if (filled > 0) yield piece.subarray(0, filled);
        throw error;
      }
      if (bytes === null) break;
      signal.throwIfAborted();
      for (let rest = bytes; rest.length > 0;) {
        const taken = rest.subarray(0, piece.length - filled);
        piece.set(taken, filled);
        filled += taken.length;
        rest = rest.subarray(taken.length);
        if (filled < piece.length) continue;
        yield piece;
        filled = 0;
        [piece, other] = [other, piece];
      }
    }
    if (filled > 0) yield piece.subarray(0, filled);
  } finally {
    body.cancel();
  }
}
