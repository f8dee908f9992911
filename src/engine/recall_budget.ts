/**
 * Bounds what is brought back from the stores in a day (UTC), in all and for each user, so
 * that a virus scan or a mistyped script cannot run up a bill that nobody expected. Off
 * unless `recall_max_bytes_per_day` is set.
 *
 * A `p4d` runs as one user, and to it the bound is a wall for everybody. So it is loud: a
 * warning at 80 %, an error a minute while it refuses, a record a day and user among the
 * failed operations, metrics, and a reply of its own (QUOTA) that programs see as EDQUOT. Not
 * each refusal is told: a scan of millions of files would push the records of what is lost
 * out of the ledger. What was counted is kept in the manifest: a restart is no new day.
 *
 * @module
 */

import { type EngineContext } from "./engine_context.ts";
import { RestoreError } from "./restore_error.ts";

const DAY_MS = 86_400_000;
const WARN_SHARE = 0.8;

/** What a crash may forget of the count. */
const SAVE_MS = 60_000;

/** Between two lines about refusals of one user. */
const TOLD_AGAIN_MS = 60_000;

interface Refusals {
  toldAtMs: number;
  sinceTold: number;
}

export class RecallBudget {
  readonly #context: EngineContext;
  #day: number;
  #bytesByUid: Map<number, number>;
  #hasWarned = false;
  /** Of today. */
  readonly #refusalsByUid = new Map<number, Refusals>();
  #savedAtMs: number;
  #isSaved = true;

  constructor(context: EngineContext) {
    this.#context = context;
    this.#day = dayOf(context);
    this.#savedAtMs = context.clock.monotonicMs();
    this.#bytesByUid = parseRecalls(context.manifest.meta("recalls"), this.#day);
  }

  /** Bytes that were brought back today. */
  get usedBytes(): number {
    this.#turnDay();
    return [...this.#bytesByUid.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  /**
   * Runs `work`, which brings back `sizeBytes` for `uid`; what fails is not counted.
   *
   * @throws {RestoreError} `QUOTA`, before `work`.
   */
  async run<T>(uid: number, sizeBytes: number, work: () => Promise<T>): Promise<T> {
    this.#turnDay();
    this.#refuseOver(uid, sizeBytes);
    this.#add(uid, sizeBytes);
    this.#warnOnce();
    const day = this.#day;
    try {
      return await work();
    } catch (error) {
      if (this.#day === day) this.#add(uid, -sizeBytes);
      throw error;
    }
  }

  /** Keeps the count; to be called every few seconds. */
  async save(): Promise<void> {
    const { clock, manifest } = this.#context;
    const nowMs = clock.monotonicMs();
    if (this.#isSaved || nowMs - this.#savedAtMs < SAVE_MS) return;
    this.#isSaved = true;
    this.#savedAtMs = nowMs;
    const uids = [...this.#bytesByUid].map(([uid, bytes]) => [String(uid), bytes]);
    const text = JSON.stringify({ day: this.#day, uids: Object.fromEntries(uids) });
    await manifest.setMeta("recalls", text);
  }

  #turnDay(): void {
    const day = dayOf(this.#context);
    if (day === this.#day) return;
    this.#day = day;
    this.#bytesByUid = new Map();
    this.#hasWarned = false;
    this.#refusalsByUid.clear();
    this.#isSaved = false;
  }

  #add(uid: number, bytes: number): void {
    this.#bytesByUid.set(uid, (this.#bytesByUid.get(uid) ?? 0) + bytes);
    this.#isSaved = false;
  }

  #refuseOver(uid: number, sizeBytes: number): void {
    const { settings, metrics } = this.#context;
    const { recallMaxBytesPerDay: max, recallUidSharePercent: share } = settings();
    if (max === 0) return;
    const usedBytes = this.usedBytes;
    const ofUid = this.#bytesByUid.get(uid) ?? 0;
    const uidMax = Math.floor((max / 100) * share);
    const bound = usedBytes + sizeBytes > max
      ? `recall_max_bytes_per_day is ${max}, and ${usedBytes} bytes were brought back today`
      : ofUid + sizeBytes > uidMax
      ? `recall_uid_share_percent gives user ${uid} ${uidMax} bytes a day, and ${ofUid} ` +
        "are used"
      : null;
    if (bound === null) return;
    metrics.count("p4cache_recall_refused_total");
    const message =
      `no file of ${sizeBytes} bytes is brought back before 00:00 UTC: ${bound}`;
    this.#tellRefusal(uid, message);
    throw new RestoreError("QUOTA", message);
  }

  #tellRefusal(uid: number, message: string): void {
    const { settings, clock, log, failedOps } = this.#context;
    const nowMs = clock.monotonicMs();
    const before = this.#refusalsByUid.get(uid);
    if (before !== undefined && nowMs - before.toldAtMs < TOLD_AGAIN_MS) {
      before.sinceTold += 1;
      return;
    }
    this.#refusalsByUid.set(uid, { toldAtMs: nowMs, sinceTold: 0 });
    const { recallMaxBytesPerDay, recallUidSharePercent } = settings();
    log.error("restores are refused: a recall limit is reached; raise it to go on now", {
      uid,
      refused: 1 + (before?.sinceTold ?? 0),
      recallMaxBytesPerDay,
      recallUidSharePercent,
    });
    if (before !== undefined) return;
    failedOps.append({ op: "restore", uid, fault: "QUOTA", error: message });
  }

  #warnOnce(): void {
    const { settings, log } = this.#context;
    const { recallMaxBytesPerDay: max } = settings();
    const { usedBytes } = this;
    if (max === 0 || this.#hasWarned || usedBytes < max * WARN_SHARE) return;
    this.#hasWarned = true;
    log.warn("80 % of recall_max_bytes_per_day is used; at 100 % opens fail (EDQUOT)", {
      usedBytes,
      recallMaxBytesPerDay: max,
    });
  }
}

function dayOf({ clock }: EngineContext): number {
  return Math.floor(clock.nowMs() / DAY_MS);
}

/** Of another day, or unreadable: nothing. */
function parseRecalls(text: string | null, day: number): Map<number, number> {
  if (text === null) return new Map();
  const kept = JSON.parse(text) as { day?: unknown; uids?: Record<string, unknown> };
  if (kept.day !== day || typeof kept.uids !== "object") return new Map();
  return new Map(
    Object.entries(kept.uids)
      .filter(([, bytes]) => Number.isSafeInteger(bytes))
      .map(([uid, bytes]) => [Number(uid), bytes as number]),
  );
}
