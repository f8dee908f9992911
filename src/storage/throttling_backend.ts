/**
 * Holds uploads and downloads to a rate, by letting their bytes pass only so fast between
 * the backend and the local file. The store sees a slow peer, never a pause of seconds.
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
  OnResend,
  RetrieveRequest,
  RetrieveState,
  StorageBackend,
  StorageCapabilities,
  UploadRequest,
} from "./backend.ts";
import { type BandwidthLimits, TokenBucket } from "./bandwidth.ts";

/** `backend` at no more than `limits()`, which is asked again for each chunk. */
export function withBandwidth(
  backend: StorageBackend,
  limits: () => BandwidthLimits,
  clock: Clock,
): StorageBackend {
  return new ThrottlingBackend(
    backend,
    new TokenBucket(clock, () => limits().uploadBytesPerSecond),
    new TokenBucket(clock, () => limits().downloadBytesPerSecond),
  );
}

class ThrottlingBackend implements StorageBackend {
  readonly name: string;
  readonly #inner: StorageBackend;
  readonly #up: TokenBucket;
  readonly #down: TokenBucket;

  constructor(inner: StorageBackend, up: TokenBucket, down: TokenBucket) {
    this.name = inner.name;
    this.#inner = inner;
    this.#up = up;
    this.#down = down;
  }

  capabilities(): StorageCapabilities {
    return this.#inner.capabilities();
  }

  upload(request: UploadRequest): Promise<ObjectInfo> {
    const { source, signal } = request;
    const read = async (buffer: Uint8Array, offset: number): Promise<number> => {
      const count = await source.read(buffer, offset);
      await this.#up.take(count, signal);
      return count;
    };
    const slow = { sizeBytes: source.sizeBytes, read };
    const onResend: OnResend = async (sizeBytes, signal) => {
      await this.#up.take(sizeBytes, signal);
      await request.onResend?.(sizeBytes, signal);
    };
    return this.#inner.upload({ ...request, source: slow, onResend });
  }

  download(request: DownloadRequest): Promise<DownloadResult> {
    const { target, signal } = request;
    const write = async (bytes: Uint8Array, offset: number): Promise<void> => {
      await this.#down.take(bytes.length, signal);
      await target.write(bytes, offset);
    };
    const slow = {
      write,
      read: (buffer: Uint8Array, offset: number): Promise<number> =>
        target.read(buffer, offset),
    };
    return this.#inner.download({ ...request, target: slow });
  }

  head(key: ObjectKey, signal?: AbortSignal): Promise<ObjectInfo | null> {
    return this.#inner.head(key, signal);
  }

  retrieve(request: RetrieveRequest): Promise<RetrieveState> {
    return this.#inner.retrieve(request);
  }

  delete(request: DeleteRequest): Promise<void> {
    return this.#inner.delete(request);
  }

  list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo> {
    return this.#inner.list(prefix, signal);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}
