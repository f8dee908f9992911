/**
 * Reports every request to an observer: what, how long, how many bytes, how it ended.
 *
 * Inside `withRetry` it sees each attempt, outside it what the engine sees.
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
import {
  StorageError,
  type StorageFault,
  type StorageOperation,
} from "./storage_error.ts";

/** How a request ended. `aborted`: by its signal; `error`: by anything but a store. */
export type RequestOutcome = "ok" | "aborted" | "error" | StorageFault;

export interface StorageRequestEvent {
  /** The backend's name. */
  readonly backend: string;
  readonly operation: StorageOperation;
  readonly outcome: RequestOutcome;
  readonly durationMs: number;
  /** Content bytes that passed, also of a request that failed; 0 but for transfers. */
  readonly bytes: number;
}

/** Supplied by whoever owns the metrics. Must not throw. */
export interface StorageObserver {
  onRequest(event: StorageRequestEvent): void;
}

export function withMetering(
  backend: StorageBackend,
  observer: StorageObserver,
  clock: Clock,
): StorageBackend {
  return new MeteredBackend(backend, observer, clock);
}

class MeteredBackend implements StorageBackend {
  readonly name: string;
  readonly #inner: StorageBackend;
  readonly #observer: StorageObserver;
  readonly #clock: Clock;

  constructor(inner: StorageBackend, observer: StorageObserver, clock: Clock) {
    this.name = inner.name;
    this.#inner = inner;
    this.#observer = observer;
    this.#clock = clock;
  }

  capabilities(): StorageCapabilities {
    return this.#inner.capabilities();
  }

  upload(request: UploadRequest): Promise<ObjectInfo> {
    const { source, signal } = request;
    let bytes = 0;
    const counted = {
      sizeBytes: source.sizeBytes,
      async read(buffer: Uint8Array, offset: number): Promise<number> {
        const count = await source.read(buffer, offset);
        bytes += count;
        return count;
      },
    };
    const upload = (): Promise<ObjectInfo> =>
      this.#inner.upload({ ...request, source: counted });
    return this.#observed("upload", signal, upload, () => bytes);
  }

  download(request: DownloadRequest): Promise<DownloadResult> {
    const { target, signal } = request;
    let bytes = 0;
    const counted = {
      async write(chunk: Uint8Array, offset: number): Promise<void> {
        await target.write(chunk, offset);
        bytes += chunk.length;
      },
      read: (buffer: Uint8Array, offset: number): Promise<number> =>
        target.read(buffer, offset),
    };
    const download = (): Promise<DownloadResult> =>
      this.#inner.download({ ...request, target: counted });
    return this.#observed("download", signal, download, () => bytes);
  }

  head(key: ObjectKey, signal?: AbortSignal): Promise<ObjectInfo | null> {
    return this.#observed("head", signal, () => this.#inner.head(key, signal));
  }

  retrieve(request: RetrieveRequest): Promise<RetrieveState> {
    const { signal } = request;
    return this.#observed("retrieve", signal, () => this.#inner.retrieve(request));
  }

  delete(request: DeleteRequest): Promise<void> {
    return this.#observed("delete", request.signal, () => this.#inner.delete(request));
  }

  /** One event for the whole listing, when it ends or its reader leaves. */
  async *list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo> {
    const startMs = this.#clock.monotonicMs();
    let outcome: RequestOutcome = "ok";
    try {
      yield* this.#inner.list(prefix, signal);
    } catch (error) {
      outcome = outcomeOf(error, signal);
      throw error;
    } finally {
      this.#report("list", outcome, startMs, 0);
    }
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  async #observed<T>(
    operation: StorageOperation,
    signal: AbortSignal | undefined,
    request: () => Promise<T>,
    bytes: () => number = () => 0,
  ): Promise<T> {
    const startMs = this.#clock.monotonicMs();
    let outcome: RequestOutcome = "ok";
    try {
      return await request();
    } catch (error) {
      outcome = outcomeOf(error, signal);
      throw error;
    } finally {
      this.#report(operation, outcome, startMs, bytes());
    }
  }

  #report(
    operation: StorageOperation,
    outcome: RequestOutcome,
    startMs: number,
    bytes: number,
  ): void {
    const durationMs = this.#clock.monotonicMs() - startMs;
    const backend = this.name;
    this.#observer.onRequest({ backend, operation, outcome, durationMs, bytes });
  }
}

function outcomeOf(error: unknown, signal: AbortSignal | undefined): RequestOutcome {
  if (error instanceof StorageError) return error.fault;
  return signal?.aborted === true ? "aborted" : "error";
}
