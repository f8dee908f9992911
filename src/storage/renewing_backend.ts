/**
 * A store whose credentials may be replaced while it is in use.
 *
 * A key that was rotated makes the next request "denied". The store is then opened anew,
 * with the credentials as they are now, and the request made once more; and so that a key
 * that is replaced before the old one ends costs no failure at all, the credentials are
 * compared now and then. Requests under way end on the store that they began on.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import type { ObjectKey } from "../core/names.ts";
import type {
  DeleteRequest,
  DownloadRequest,
  DownloadResult,
  ObjectInfo,
  RetrieveRequest,
  RetrieveState,
  StorageBackend,
  StorageCapabilities,
  UploadRequest,
} from "./backend.ts";
import { StorageError } from "./storage_error.ts";

export interface Renewal {
  /** Opens the store with the credentials as they are now. */
  readonly open: () => Promise<StorageBackend>;
  /**
   * Another text whenever a credential is another; null where they are not ours to read,
   * such as an instance's role. @throws What reading them throws.
   */
  readonly fingerprint: () => string | null;
  /** Told that the new credentials cannot be used; the ones before stay in use. */
  readonly onWarning: (message: string) => void;
  readonly clock: Clock;
}

/** Between two comparisons, and between two openings that a denial asks for. */
const LOOK_MS = 60_000;

export async function withRenewal(renewal: Renewal): Promise<StorageBackend> {
  const fingerprint = renewal.fingerprint();
  return new RenewingBackend(new Opened(await renewal.open()), fingerprint, renewal);
}

/** A store that closes when its last request has ended and nobody will make another. */
class Opened {
  readonly backend: StorageBackend;
  #users = 0;
  #isRetired = false;

  constructor(backend: StorageBackend) {
    this.backend = backend;
  }

  enter(): void {
    this.#users += 1;
  }

  async leave(): Promise<void> {
    this.#users -= 1;
    if (this.#isRetired && this.#users === 0) await this.backend.close();
  }

  async retire(): Promise<void> {
    this.#isRetired = true;
    if (this.#users === 0) await this.backend.close();
  }
}

class RenewingBackend implements StorageBackend {
  readonly name: string;
  readonly #renewal: Renewal;
  #current: Opened;
  #fingerprint: string | null;
  #lookedAtMs: number;
  #openedAtMs = -Infinity;
  #opening: Promise<void> | null = null;

  constructor(first: Opened, fingerprint: string | null, renewal: Renewal) {
    this.name = first.backend.name;
    this.#current = first;
    this.#fingerprint = fingerprint;
    this.#renewal = renewal;
    this.#lookedAtMs = renewal.clock.monotonicMs();
  }

  capabilities(): StorageCapabilities {
    return this.#current.backend.capabilities();
  }

  upload(request: UploadRequest): Promise<ObjectInfo> {
    return this.#run((store) => store.upload(request));
  }

  download(request: DownloadRequest): Promise<DownloadResult> {
    return this.#run((store) => store.download(request));
  }

  head(key: ObjectKey, signal?: AbortSignal): Promise<ObjectInfo | null> {
    return this.#run((store) => store.head(key, signal));
  }

  retrieve(request: RetrieveRequest): Promise<RetrieveState> {
    return this.#run((store) => store.retrieve(request));
  }

  delete(request: DeleteRequest): Promise<void> {
    return this.#run((store) => store.delete(request));
  }

  /** Begun again if it is denied before it gave anything; half a list cannot be. */
  async *list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo> {
    await this.#lookNowAndThen();
    for (let attempt = 1;; attempt++) {
      const opened = this.#current;
      let isBegun = false;
      opened.enter();
      try {
        for await (const info of opened.backend.list(prefix, signal)) {
          isBegun = true;
          yield info;
        }
        return;
      } catch (error) {
        if (isBegun || attempt > 1 || !await this.#isRenewedAfter(error, opened)) {
          throw error;
        }
      } finally {
        await opened.leave();
      }
    }
  }

  async close(): Promise<void> {
    await this.#opening?.catch(() => {});
    await this.#current.backend.close();
  }

  async #run<T>(work: (store: StorageBackend) => Promise<T>): Promise<T> {
    await this.#lookNowAndThen();
    const opened = this.#current;
    try {
      return await this.#on(opened, work);
    } catch (error) {
      if (!await this.#isRenewedAfter(error, opened)) throw error;
      return await this.#on(this.#current, work);
    }
  }

  async #on<T>(
    opened: Opened,
    work: (store: StorageBackend) => Promise<T>,
  ): Promise<T> {
    opened.enter();
    try {
      return await work(opened.backend);
    } finally {
      await opened.leave();
    }
  }

  /** Whether `error` is a denial, and the store is another one now. */
  async #isRenewedAfter(error: unknown, denied: Opened): Promise<boolean> {
    if (!(error instanceof StorageError) || error.fault !== "denied") return false;
    // Another request, which was denied before, has seen to it.
    if (this.#current !== denied) return true;
    const nowMs = this.#renewal.clock.monotonicMs();
    const isKnown = this.#fingerprint !== null;
    // Credentials that are not ours to read may be others at any time.
    const isDue = isKnown ? this.#isChanged() : nowMs - this.#openedAtMs >= LOOK_MS;
    if (!isDue) return false;
    await this.#open();
    return this.#current !== denied;
  }

  async #lookNowAndThen(): Promise<void> {
    const nowMs = this.#renewal.clock.monotonicMs();
    if (this.#fingerprint === null || nowMs - this.#lookedAtMs < LOOK_MS) return;
    this.#lookedAtMs = nowMs;
    if (this.#isChanged()) await this.#open();
  }

  #isChanged(): boolean {
    try {
      return this.#renewal.fingerprint() !== this.#fingerprint;
    } catch (error) {
      this.#warn(error);
      return false;
    }
  }

  /** One at a time, however many requests were denied. */
  async #open(): Promise<void> {
    this.#opening ??= this.#openNow().finally(() => this.#opening = null);
    await this.#opening;
  }

  async #openNow(): Promise<void> {
    this.#openedAtMs = this.#renewal.clock.monotonicMs();
    try {
      // Read before the opening, so that a change in between is seen as one.
      const fingerprint = this.#renewal.fingerprint();
      const opened = new Opened(await this.#renewal.open());
      const before = this.#current;
      this.#current = opened;
      this.#fingerprint = fingerprint;
      await before.retire();
    } catch (error) {
      this.#warn(error);
    }
  }

  #warn(error: unknown): void {
    const why = error instanceof Error ? error.message : String(error);
    this.#renewal.onWarning(
      `the store's new credentials cannot be used, the ones before stay: ${why}`,
    );
  }
}
