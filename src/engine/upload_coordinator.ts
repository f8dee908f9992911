/**
 * Keeps `upload_threads` uploads going, in the order in which files became dirty; but big
 * files never have all threads, so that a few of them, which take hours, do not keep back
 * thousands that take seconds.
 *
 * @module
 */

import type { DepotPath } from "../core/names.ts";
import { nextTurn } from "../core/turns.ts";
import { MIB } from "../core/units.ts";
import { WakeUp } from "../core/wake_up.ts";
import { ManifestError, type PathAndEntry } from "../manifest/manifest.ts";
import { type EngineContext, shown } from "./engine_context.ts";
import { upload } from "./upload.ts";

/** Rows read from the queue at a time: enough that those in flight do not hide the rest. */
const QUEUE_WINDOW = 256;

/** Read instead, some at a time, while all of those are big and a thread waits for another. */
const QUEUE_WINDOW_DEEP = 4_096;

const DEEP_LOOK_MS = 1_000;

/** From here on a file is big: seconds at 1 Gbit/s. */
const BIG_BYTES = 256 * MIB;

/** A look at the queue even if nobody woke us, in milliseconds. */
const IDLE_MS = 5_000;

/** A clock that is corrected by less is not set back. */
const SET_BACK_MS = 60_000;

interface Due {
  readonly path: DepotPath;
  readonly isBig: boolean;
}

export class UploadCoordinator {
  readonly #context: EngineContext;
  readonly #wakeUp: WakeUp;
  readonly #running = new Map<DepotPath, Promise<void>>();
  readonly #onUploaded: () => void;
  /** Due and settled when they were read; each upload looks at its row again. */
  #queue: Due[] = [];
  #runningBigCount = 0;
  /** All that was read is big, and waits for the others. */
  #isBehindBig = false;
  #nextDueMs = 0;
  #nextDeepLookMs = 0;
  #deepDueMs = Infinity;
  /** The wall clock's distance from the monotonic one, where the deadlines fit it. */
  #wallOffsetMs: number | null = null;

  constructor(context: EngineContext, onUploaded: () => void) {
    this.#context = context;
    this.#wakeUp = new WakeUp(context.clock);
    this.#onUploaded = onUploaded;
  }

  /** Something became dirty, or due. */
  wake(): void {
    this.#wakeUp.wake();
  }

  /** Uploads until the context's signal aborts; then waits for what is under way. */
  async run(): Promise<void> {
    const { signal } = this.#context;
    while (!signal.aborted) {
      await this.#keepDeadlines();
      let delayMs = this.#startDue();
      if (this.#isBehindBig && this.#mayLookDeep()) {
        await this.#lookDeep();
        if (signal.aborted) break;
        delayMs = this.#startDue();
      }
      if (this.#isBehindBig) delayMs = Math.min(delayMs, this.#deepDelayMs());
      await this.#wakeUp.wait(delayMs, signal);
    }
    await Promise.all(this.#running.values());
  }

  /**
   * After the clock was set back, deadlines of retries lie in a far future: all are tried
   * again, at the start also those that a clock of before left.
   */
  async #keepDeadlines(): Promise<void> {
    const { manifest, clock, log, settings } = this.#context;
    const nowMs = clock.nowMs();
    const offsetMs = nowMs - clock.monotonicMs();
    const latestMs = nowMs + settings().slowRetrySecs * 1_000 + SET_BACK_MS;
    const isSetBack = this.#wallOffsetMs === null
      ? manifest.hasRetryAfter(latestMs)
      : offsetMs < this.#wallOffsetMs - SET_BACK_MS;
    try {
      if (isSetBack) {
        log.warn("the clock was set back: uploads that wait are tried again now");
        await manifest.retryNow();
      }
      this.#wallOffsetMs = offsetMs;
    } catch (error) {
      if (!(error instanceof ManifestError)) throw error;
      log.error(`cannot bring retries forward: ${error.message}`);
    }
  }

  /** Starts what may start now; returns how long nothing more can, in milliseconds. */
  #startDue(): number {
    const { clock, settings } = this.#context;
    this.#isBehindBig = false;
    while (this.#running.size < settings().uploadThreads) {
      const next = this.#takeNext();
      if (next === null) break;
      this.#start(next);
    }
    // Every place is taken: the end of an upload wakes us, and nothing earlier helps.
    if (this.#running.size >= settings().uploadThreads) return IDLE_MS;
    return Math.max(0, Math.min(IDLE_MS, this.#nextDueMs - clock.nowMs()));
  }

  /** The first that may start; null if none may, also in a fresh look at the queue. */
  #takeNext(): Due | null {
    for (const isFresh of [false, true]) {
      if (isFresh) this.#refill();
      const index = this.#queue.findIndex(({ path, isBig }) =>
        !this.#running.has(path) && !(isBig && this.#isFullOfBig())
      );
      if (index >= 0) return this.#queue.splice(index, 1)[0]!;
    }
    this.#isBehindBig = this.#queue.length > 0;
    return null;
  }

  /** A burst of writes wakes us for each. */
  #mayLookDeep(): boolean {
    const nowMs = this.#context.clock.monotonicMs();
    if (nowMs < this.#nextDeepLookMs) return false;
    this.#nextDeepLookMs = nowMs + DEEP_LOOK_MS;
    return true;
  }

  /** Until the next of those that were past the big ones has settled, and may be looked for. */
  #deepDelayMs(): number {
    const { clock } = this.#context;
    const mayLookInMs = this.#nextDeepLookMs - clock.monotonicMs();
    return Math.max(0, mayLookInMs, this.#deepDueMs - clock.nowMs());
  }

  /** One thread is for files that are not big; with a single thread each waits its turn. */
  #isFullOfBig(): boolean {
    const { uploadThreads } = this.#context.settings();
    return uploadThreads > 1 && this.#runningBigCount >= uploadThreads - 1;
  }

  /** Reads the durable queue, past what is under way and what has not settled. */
  #refill(): void {
    const { manifest, clock } = this.#context;
    const nowMs = clock.nowMs();
    const retryAtMs = manifest.nextRetryAtMs() ?? 0;
    // One that is due is in this window or under way: it is no reason to look again at once.
    this.#nextDueMs = retryAtMs > nowMs ? retryAtMs : nowMs + IDLE_MS;
    this.#queue = [];
    for (const row of manifest.dirtyDue(nowMs, QUEUE_WINDOW + this.#running.size)) {
      this.#nextDueMs = Math.min(this.#nextDueMs, this.#sort(row, nowMs, this.#queue));
    }
  }

  /** The same of more rows; what the others of the event loop do meanwhile goes first. */
  async #lookDeep(): Promise<void> {
    const { manifest, clock, signal } = this.#context;
    const nowMs = clock.nowMs();
    const queue: Due[] = [];
    this.#deepDueMs = Infinity;
    let looked = 0;
    for (const row of manifest.due(nowMs)) {
      this.#deepDueMs = Math.min(this.#deepDueMs, this.#sort(row, nowMs, queue));
      if (++looked === QUEUE_WINDOW_DEEP || signal.aborted) break;
      if (looked % QUEUE_WINDOW === 0) await nextTurn();
    }
    this.#queue = queue;
  }

  /** Into `queue`, if it has settled and is not under way; else returns when it will have. */
  #sort({ path, entry }: PathAndEntry, nowMs: number, queue: Due[]): number {
    if (this.#running.has(path)) return Infinity;
    const { uploadSettleMs } = this.#context.settings();
    const settledAtMs = Number(entry.local.mtimeNs / 1_000_000n) + uploadSettleMs;
    // An mtime in the future (a clock that jumped, a restored backup) settles at once.
    if (settledAtMs > nowMs && settledAtMs - nowMs <= uploadSettleMs) return settledAtMs;
    queue.push({ path, isBig: entry.local.sizeBytes >= BIG_BYTES });
    return Infinity;
  }

  #start({ path, isBig }: Due): void {
    if (isBig) this.#runningBigCount += 1;
    const done = upload(this.#context, path)
      .then((outcome) => {
        if (outcome === "uploaded") this.#onUploaded();
      })
      .catch((error) => this.#waitAfter(path, error))
      .finally(() => {
        if (isBig) this.#runningBigCount -= 1;
        this.#running.delete(path);
        this.#wakeUp.wake();
      });
    this.#running.set(path, done);
  }

  /** The manifest cannot be written, or the disk not be read: the path keeps its place a while. */
  async #waitAfter(path: DepotPath, error: unknown): Promise<void> {
    const { signal, clock, log } = this.#context;
    // A stop cuts uploads short: the row is dirty again at the next start.
    if (signal.aborted) return;
    if (!(error instanceof Error) || error.name === "InvariantError") throw error;
    log.error(`cannot upload now: ${error.message}`, shown(path));
    await clock.sleep(IDLE_MS, signal).catch(() => {});
  }
}
