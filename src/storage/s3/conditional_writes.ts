/**
 * If-absent writes on services that enforce them only in part.
 *
 * Amazon enforces If-None-Match of PutObject and of CompleteMultipartUpload. Ceph's radosgw
 * 16 enforces the first and ignores the second; older services ignore both, and would
 * overwrite silently; Backblaze B2 refuses a request that has the header (501). So a service with an endpoint of its own is asked once, by writing
 * one small object twice; and whatever is not enforced there is replaced by a look at the
 * key, with one writer a key in this process. What is left open then is two processes that
 * write the same new key in the same moment, which the instance marker forbids.
 *
 * @module
 */

/** Runs the work of one key at a time, in the order of the calls. */
export class KeyTurns {
  readonly #last = new Map<string, Promise<void>>();

  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key) ?? Promise.resolve();
    const { promise: mine, resolve: onDone } = Promise.withResolvers<void>();
    this.#last.set(key, mine);
    try {
      await before;
      return await work();
    } finally {
      onDone();
      if (this.#last.get(key) === mine) this.#last.delete(key);
    }
  }
}

/** What a service makes of If-None-Match: refused is each request that has it. */
export type ConditionRule = "enforced" | "ignored" | "refused";

/** Asked of the service, by {@linkcode probeConditionalPut}. */
export interface PutProbe {
  /** Puts the probe object with If-None-Match: *. */
  putNew(): Promise<"put" | "exists" | "refused">;
  remove(): Promise<void>;
}

/** Whether the service refuses to put what exists. The probe object is gone afterwards. */
export async function probeConditionalPut(probe: PutProbe): Promise<ConditionRule> {
  let outcome = await probe.putNew();
  // One that a crash left exists at once, which is an answer too.
  if (outcome === "put") outcome = await probe.putNew();
  if (outcome === "refused") return "refused";
  // Somebody may be allowed to write and not to delete; the next probe finds it.
  await probe.remove().catch(() => {});
  return outcome === "exists" ? "enforced" : "ignored";
}
