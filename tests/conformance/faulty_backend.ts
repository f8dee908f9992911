/**
 * A backend that fails as it is told to, around one that works.
 *
 * `before` fails without asking the store; `middle` breaks a transfer off after half of its
 * bytes; `after` lets the store do it and then loses the answer, which is what a retry has
 * to live with.
 *
 * @module
 */

import type { ObjectKey } from "../../src/core/names.ts";
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
} from "../../src/storage/backend.ts";
import {
  StorageError,
  type StorageFault,
  type StorageOperation,
} from "../../src/storage/storage_error.ts";

export interface PlannedFailure {
  readonly when: "before" | "middle" | "after";
  readonly fault: StorageFault;
  readonly retryAfterMs?: number;
}

/** Asked before each request: how it fails, or null. `callIndex` counts from 0 by operation. */
export type FailurePlan = (
  operation: StorageOperation,
  callIndex: number,
) => PlannedFailure | null;

export function withFaults(backend: StorageBackend, plan: FailurePlan): StorageBackend {
  return new FaultyBackend(backend, plan);
}

class FaultyBackend implements StorageBackend {
  readonly name: string;
  readonly #inner: StorageBackend;
  readonly #plan: FailurePlan;
  readonly #callCounts = new Map<StorageOperation, number>();

  constructor(inner: StorageBackend, plan: FailurePlan) {
    this.name = inner.name;
    this.#inner = inner;
    this.#plan = plan;
  }

  capabilities(): StorageCapabilities {
    return this.#inner.capabilities();
  }

  upload(request: UploadRequest): Promise<ObjectInfo> {
    const { source, key } = request;
    return this.#request("upload", key, (failure) => {
      if (failure?.when !== "middle") return this.#inner.upload(request);
      const read = (buffer: Uint8Array, offset: number): Promise<number> =>
        offset + buffer.length > source.sizeBytes / 2
          ? Promise.reject(errorOf(failure, "upload", key))
          : source.read(buffer, offset);
      const broken = { sizeBytes: source.sizeBytes, read };
      return this.#inner.upload({ ...request, source: broken });
    });
  }

  download(request: DownloadRequest): Promise<DownloadResult> {
    const { target, key } = request;
    return this.#request("download", key, (failure) => {
      if (failure?.when !== "middle") return this.#inner.download(request);
      const broken = {
        async write(bytes: Uint8Array, offset: number): Promise<void> {
          await target.write(bytes.subarray(0, bytes.length / 2), offset);
          throw errorOf(failure, "download", key);
        },
        read: (buffer: Uint8Array, offset: number): Promise<number> =>
          target.read(buffer, offset),
      };
      return this.#inner.download({ ...request, target: broken });
    });
  }

  head(key: ObjectKey, signal?: AbortSignal): Promise<ObjectInfo | null> {
    return this.#request("head", key, () => this.#inner.head(key, signal));
  }

  retrieve(request: RetrieveRequest): Promise<RetrieveState> {
    return this.#request("retrieve", request.key, () => this.#inner.retrieve(request));
  }

  delete(request: DeleteRequest): Promise<void> {
    return this.#request("delete", request.key, () => this.#inner.delete(request));
  }

  async *list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo> {
    const failure = this.#next("list");
    if (failure !== null) throw errorOf(failure, "list", prefix);
    yield* this.#inner.list(prefix, signal);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  async #request<T>(
    operation: StorageOperation,
    key: string,
    body: (failure: PlannedFailure | null) => Promise<T>,
  ): Promise<T> {
    const failure = this.#next(operation);
    if (failure?.when === "before") throw errorOf(failure, operation, key);
    const result = await body(failure);
    if (failure?.when === "after") throw errorOf(failure, operation, key);
    return result;
  }

  #next(operation: StorageOperation): PlannedFailure | null {
    const callIndex = this.#callCounts.get(operation) ?? 0;
    this.#callCounts.set(operation, callIndex + 1);
    return this.#plan(operation, callIndex);
  }
}

function errorOf(
  failure: PlannedFailure,
  operation: StorageOperation,
  key: string,
): StorageError {
  return new StorageError(failure.fault, {
    operation,
    key,
    detail: `it is told to fail (${failure.when})`,
    retryAfterMs: failure.retryAfterMs ?? null,
  });
}
