/**
 * Bounds how many requests are at the store at a time.
 *
 * First come, first served. A listing takes no place: it lives as long as its reader, and
 * a reader that uploads what it lists would otherwise wait for itself.
 *
 * @module
 */

import { assert } from "../core/assert.ts";
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

/** Places that are taken before work begins, and given back after it. */
export class Places {
  readonly #waiting: (() => void)[] = [];
  #freeCount: number;

  constructor(count: number) {
    assert(Number.isInteger(count) && count >= 1, `${count} places`);
    this.#freeCount = count;
  }

  /** Runs `work` in a place. @throws The signal's reason, if it aborts before there is one. */
  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    await this.#take(signal);
    try {
      return await work();
    } finally {
      this.#giveBack();
    }
  }

  async #take(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (this.#freeCount > 0) {
      this.#freeCount -= 1;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const onGrant = (): void => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      };
      const onAbort = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(onGrant), 1);
        reject(signal?.reason);
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiting.push(onGrant);
    });
  }

  #giveBack(): void {
    const next = this.#waiting.shift();
    // A waiter gets the place itself: a newcomer may not slip in before it.
    if (next !== undefined) next();
    else this.#freeCount += 1;
  }
}

/** `backend` with at most `requestsMax` uploads, downloads, heads and deletes at a time. */
export function withConcurrency(
  backend: StorageBackend,
  requestsMax: number,
): StorageBackend {
  return new LimitingBackend(backend, new Places(requestsMax));
}

class LimitingBackend implements StorageBackend {
  readonly name: string;
  readonly #inner: StorageBackend;
  readonly #places: Places;

  constructor(inner: StorageBackend, places: Places) {
    this.name = inner.name;
    this.#inner = inner;
    this.#places = places;
  }

  capabilities(): StorageCapabilities {
    return this.#inner.capabilities();
  }

  upload(request: UploadRequest): Promise<ObjectInfo> {
    return this.#places.run(() => this.#inner.upload(request), request.signal);
  }

  download(request: DownloadRequest): Promise<DownloadResult> {
    return this.#places.run(() => this.#inner.download(request), request.signal);
  }

  head(key: ObjectKey, signal?: AbortSignal): Promise<ObjectInfo | null> {
    return this.#places.run(() => this.#inner.head(key, signal), signal);
  }

  retrieve(request: RetrieveRequest): Promise<RetrieveState> {
    return this.#places.run(() => this.#inner.retrieve(request), request.signal);
  }

  delete(request: DeleteRequest): Promise<void> {
    return this.#places.run(() => this.#inner.delete(request), request.signal);
  }

  list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo> {
    return this.#inner.list(prefix, signal);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}
