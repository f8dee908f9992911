/**
 * Says loudly when files that are not uploaded yet exceed the whole cache limit. They cannot
 * be evicted, and `p4d` is never throttled for them: the disk fills until a person acts.
 *
 * @module
 */

import type { EngineContext } from "./engine_context.ts";

/** Between two lines about the same state. */
const TELL_MS = 600_000;

export class DirtyPressure {
  readonly #context: EngineContext;
  #toldAtMs: number | null = null;

  constructor(context: EngineContext) {
    this.#context = context;
  }

  /** To be called every few seconds. */
  look(): void {
    const { manifest, settings, metrics, log, clock } = this.#context;
    const { maxCacheBytes } = settings();
    const { dirtyBytes, dirtyFiles, uploadingFiles } = manifest.counters();
    const overBytes = maxCacheBytes === 0 ? 0 : Math.max(0, dirtyBytes - maxCacheBytes);
    metrics.set("p4cache_dirty_over_limit_bytes", overBytes);
    if (overBytes === 0) {
      if (this.#toldAtMs !== null) log.info("files to upload fit into the cache again");
      this.#toldAtMs = null;
      return;
    }
    const nowMs = clock.monotonicMs();
    if (this.#toldAtMs !== null && nowMs - this.#toldAtMs < TELL_MS) return;
    this.#toldAtMs = nowMs;
    log.error(
      "files that are not uploaded yet are larger than max_cache_bytes: eviction cannot " +
        "keep the limit, and the disk fills until uploads catch up",
      { dirtyBytes, maxCacheBytes, files: dirtyFiles + uploadingFiles },
    );
  }
}
