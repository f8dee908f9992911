/**
 * If-absent writes on services that enforce them only in part.
 *
 * Amazon enforces If-None-Match of PutObject and of CompleteMultipartUpload. Ceph's radosgw
 * 16 enforces the first and ignores the second; older services ignore both, and would
 * overwrite silently. So a service with an endpoint of its own is asked once, by writing
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

/** Asked of the service, by {@linkcode probeConditionalPut}. */
export interface PutProbe {
  /** Puts the probe object with If-None-Match: *. False: refused, because it exists. */
  putNew(): Promise<boolean>;
  remove(): Promise<void>;
}

/** Whether the service refuses to put what exists. The probe object is gone afterwards. */
export async function probeConditionalPut(probe: PutProbe): Promise<boolean> {
  // One that a crash left is refused at once, which is an answer too.
  const isEnforced = !(await probe.putNew()) || !(await probe.putNew());
  // Somebody may be allowed to write and not to delete; the next probe finds it.
  await probe.remove().catch(() => {});
  return isEnforced;
}
