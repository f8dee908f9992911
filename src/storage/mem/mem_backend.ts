/**
 * A store in memory: the reference for the contract, and the store of tests.
 *
 * It holds whole objects, so it never belongs in a configuration. All state is in the
 * object that {@linkcode openMemBackend} returns.
 *
 * @module
 */

import type { ObjectKey } from "../../core/names.ts";
import { readableAtOnce } from "../archive.ts";
import type {
  DeleteRequest,
  DownloadRequest,
  DownloadResult,
  ObjectInfo,
  ObjectMetadata,
  RetrieveRequest,
  RetrieveState,
  StorageBackend,
  StorageCapabilities,
  UploadRequest,
} from "../backend.ts";
import { createContentHasher } from "../hashing.ts";
import { openSourceReader, TRANSFER_CHUNK_BYTES } from "../source_reader.ts";
import { StorageError, type StorageOperation } from "../storage_error.ts";

export interface MemBackendOptions {
  /** Wall time of the store, in milliseconds. Default: it has no clock. */
  readonly nowMs?: () => number;
}

interface StoredObject {
  readonly bytes: Uint8Array;
  readonly info: ObjectInfo;
}

const CAPABILITIES: StorageCapabilities = {
  metadata: true,
  rangeReads: false,
  conditionalWrites: true,
  conditionalReads: true,
  storageClasses: false,
  customEndpoint: false,
  customCa: false,
  versions: false,
  objectBytesMax: 2 ** 31,
};

export function openMemBackend(options: MemBackendOptions = {}): StorageBackend {
  return new MemBackend(options.nowMs ?? null);
}

class MemBackend implements StorageBackend {
  readonly name = "mem";
  readonly #objects = new Map<string, StoredObject>();
  readonly #nowMs: (() => number) | null;
  #etagCount = 0;

  constructor(nowMs: (() => number) | null) {
    this.#nowMs = nowMs;
  }

  capabilities(): StorageCapabilities {
    return CAPABILITIES;
  }

  async upload(request: UploadRequest): Promise<ObjectInfo> {
    const { key, source, signal } = request;
    signal?.throwIfAborted();
    const reader = openSourceReader(request);
    const bytes = new Uint8Array(source.sizeBytes);
    await reader.fill(bytes);
    reader.finish();
    signal?.throwIfAborted();
    // From here to the end nothing awaits: the check and the write are one step.
    if (request.ifAbsent !== false && this.#objects.has(key)) {
      throw mismatch("upload", key, "it exists, and it must not");
    }
    const info = this.#describe(key, bytes.length, request.metadata);
    this.#objects.set(key, { bytes, info });
    return this.#fresh(info);
  }

  async download(request: DownloadRequest): Promise<DownloadResult> {
    const { key, target, signal } = request;
    signal?.throwIfAborted();
    const stored = this.#find("download", key, request.versionId ?? null);
    if (stored === null) {
      throw new StorageError("not-found", {
        operation: "download",
        key,
        detail: "there is no such object",
      });
    }
    if ((request.ifMatch ?? stored.info.etag) !== stored.info.etag) {
      throw mismatch("download", key, `it is ${stored.info.etag}`);
    }
    const total = stored.bytes.length;
    if (request.sizeBytes !== null && request.sizeBytes !== total) {
      throw new StorageError("corrupt", {
        operation: "download",
        key,
        detail: `it has ${total} bytes, ${request.sizeBytes} are wanted`,
      });
    }
    const hasher = createContentHasher();
    for (let offset = 0; offset < total; offset += TRANSFER_CHUNK_BYTES) {
      signal?.throwIfAborted();
      const chunk = stored.bytes.slice(offset, offset + TRANSFER_CHUNK_BYTES);
      hasher.update(chunk);
      await target.write(chunk, offset);
    }
    signal?.throwIfAborted();
    request.onProgress?.(total, total);
    return { info: this.#fresh(stored.info), hash: hasher.digestHex() };
  }

  head(key: ObjectKey, signal?: AbortSignal): Promise<ObjectInfo | null> {
    return attempt(() => {
      signal?.throwIfAborted();
      const stored = this.#objects.get(key);
      return stored === undefined ? null : this.#fresh(stored.info);
    });
  }

  retrieve(request: RetrieveRequest): Promise<RetrieveState> {
    return readableAtOnce(this, request);
  }

  delete(request: DeleteRequest): Promise<void> {
    return attempt(() => {
      request.signal?.throwIfAborted();
      const stored = this.#find("delete", request.key, request.versionId ?? null);
      if (stored === null) return;
      if ((request.ifMatch ?? stored.info.etag) !== stored.info.etag) {
        throw mismatch("delete", request.key, `it is ${stored.info.etag}`);
      }
      this.#objects.delete(request.key);
    });
  }

  async *list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo> {
    for (const { info } of [...this.#objects.values()]) {
      signal?.throwIfAborted();
      if (!info.key.startsWith(prefix)) continue;
      yield await Promise.resolve({ ...this.#fresh(info), metadata: null });
    }
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #find(
    operation: StorageOperation,
    key: ObjectKey,
    versionId: string | null,
  ): StoredObject | null {
    if (versionId !== null) {
      throw new StorageError("invalid", {
        operation,
        key,
        detail: `version ${versionId} was asked for, this store keeps no versions`,
      });
    }
    return this.#objects.get(key) ?? null;
  }

  #describe(key: ObjectKey, sizeBytes: number, metadata: ObjectMetadata): ObjectInfo {
    this.#etagCount += 1;
    return {
      key,
      sizeBytes,
      etag: `mem-${this.#etagCount}`,
      storedAtMs: this.#nowMs?.() ?? null,
      versionId: null,
      storageClass: null,
      metadata: { ...metadata },
      storeNowMs: null,
    };
  }

  #fresh(info: ObjectInfo): ObjectInfo {
    return { ...info, storeNowMs: this.#nowMs?.() ?? null };
  }
}

function mismatch(
  operation: StorageOperation,
  key: ObjectKey,
  detail: string,
): StorageError {
  return new StorageError("precondition", { operation, key, detail });
}

/** Turns what a synchronous body throws into a rejection, as callers of a promise expect. */
function attempt<T>(body: () => T): Promise<T> {
  return new Promise((resolve) => resolve(body()));
}
