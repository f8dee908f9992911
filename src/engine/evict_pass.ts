/**
 * One pass of eviction: takes the rows in their order until the plan is done.
 *
 * @module
 */

import { Places } from "../core/limits.ts";
import type { PathAndEntry } from "../manifest/manifest.ts";
import { type EngineContext, isManagedHere, nowSeconds } from "./engine_context.ts";
import { evictOrLog } from "./evict.ts";
import { evictableFromS, type EvictPlan, planEviction } from "./evict_plan.ts";
import type { SpaceLedger } from "./space.ts";

const BATCH = 64;

/** Evictions at a time: each is a request to the store and a few local system calls. */
const CONCURRENCY = 8;

/** What one pass did, and when the next one may do more. */
export interface EvictPass {
  readonly evictedFiles: number;
  readonly evictedBytes: number;
  /** Bytes that should still go. */
  readonly missingBytes: number;
  /** When the oldest file that is too young now may go, seconds since the epoch. */
  readonly nextAtS: number | null;
}

/** Evicts until the limits hold or nothing more may go. */
export async function runEvictPass(
  context: EngineContext,
  space: SpaceLedger,
): Promise<EvictPass> {
  const { freeBytes } = context.posix.statvfs(context.root);
  const free = freeBytes - space.reservedBytes - space.awaitedBytes;
  const plan = planEviction(context.settings(), context.manifest.counters(), free);
  const pass = new Pass(context, plan);
  await pass.run();
  return pass;
}

class Pass implements EvictPass {
  readonly #context: EngineContext;
  readonly #plan: EvictPlan;
  readonly #places = new Places(CONCURRENCY);
  evictedFiles = 0;
  evictedBytes = 0;
  #ofOthersBytes = 0;
  nextAtS: number | null = null;

  constructor(context: EngineContext, plan: EvictPlan) {
    this.#context = context;
    this.#plan = plan;
  }

  get missingBytes(): number {
    return Math.max(0, this.#plan.bytes - this.evictedBytes);
  }

  async run(): Promise<void> {
    const { manifest, signal } = this.#context;
    let after: PathAndEntry | undefined;
    while (this.missingBytes > 0 && !signal.aborted) {
      const batch = manifest.leastRecentlyUsed(BATCH, after);
      if (batch.length === 0) return;
      after = batch.at(-1)!;
      await Promise.all(this.#evictions(batch));
      // The rest of the order are others too, and they have given their part.
      const isOthers = !after.entry.flags.readOnce;
      if (isOthers && this.#ofOthersBytes >= this.#plan.ofOthersBytes) return;
    }
  }

  /** Starts no more than the plan asks for if each succeeds. */
  #evictions(batch: readonly PathAndEntry[]): Promise<void>[] {
    let plannedBytes = this.evictedBytes;
    let plannedOfOthers = this.#ofOthersBytes;
    const evictions: Promise<void>[] = [];
    for (const row of batch) {
      if (plannedBytes >= this.#plan.bytes) break;
      const { flags, local } = row.entry;
      if (!flags.readOnce && plannedOfOthers >= this.#plan.ofOthersBytes) break;
      if (!this.#isOldEnough(row) || !this.#mayBeEvicted(row)) continue;
      plannedBytes += local.sizeBytes;
      if (!flags.readOnce) plannedOfOthers += local.sizeBytes;
      evictions.push(this.#places.run(() => this.#evict(row)));
    }
    return evictions;
  }

  #isOldEnough({ entry }: PathAndEntry): boolean {
    const nowS = nowSeconds(this.#context);
    const fromS = evictableFromS(entry, this.#context.settings(), nowS);
    if (fromS === null) return false;
    if (fromS <= nowS) return true;
    this.nextAtS = Math.min(this.nextAtS ?? fromS, fromS);
    return false;
  }

  #mayBeEvicted({ path, entry }: PathAndEntry): boolean {
    const { archived, clock } = this.#context;
    if (!isManagedHere(this.#context, path)) return false;
    return entry.stored === null ||
      !archived.has(entry.stored.key, clock.monotonicMs());
  }

  async #evict({ path, entry }: PathAndEntry): Promise<void> {
    if (await evictOrLog(this.#context, path) !== "evicted") return;
    const { sizeBytes } = entry.local;
    this.evictedFiles += 1;
    this.evictedBytes += sizeBytes;
    if (!entry.flags.readOnce) this.#ofOthersBytes += sizeBytes;
  }
}
