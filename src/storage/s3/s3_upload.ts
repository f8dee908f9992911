/**
 * Uploads to S3: one PutObject for what fits a part, a multipart upload for the rest.
 *
 * @module
 */

import { objectKeyOf } from "../../core/names.ts";
import type { ObjectInfo, UploadRequest } from "../backend.ts";
import type { CloudSettings } from "../cloud_settings.ts";
import { Places } from "../limiting_backend.ts";
import { sendParts } from "../part_upload.ts";
import { planPartBytes } from "../plan_ranges.ts";
import type { RetryTools } from "../retrying_backend.ts";
import { openSourceReader, type SourceReader } from "../source_reader.ts";
import { StorageError } from "../storage_error.ts";
import { abortAbandoned } from "./s3_abandoned.ts";
import { KeyTurns, probeConditionalPut } from "./conditional_writes.ts";
import { isUploadGone, s3Error } from "./s3_errors.ts";
import type { PartsUpload, S3Requests, SentPart } from "./s3_requests.ts";

const MIB = 1_048_576;

/** Of S3; services that allow less say so in their answers. */
const PART_LIMITS = {
  partBytesMin: 5 * MIB,
  partBytesMax: 5_120 * MIB,
  partsMax: 10_000,
};
export const OBJECT_BYTES_MAX = 5 * 1_024 ** 4;

/** Parts in memory, of all uploads together. */
const PARTS_IN_MEMORY = 16;

/**
 * Multipart uploads that are under way. Of the process and not of a store, which is opened
 * anew when its credentials change while uploads of the one before go on.
 */
const ACTIVE = new Set<string>();

/** See conditional_writes.ts. */
const PROBE_KEY = objectKeyOf(".p4cache-meta/if-none-match-probe");

export interface S3UploadParts {
  readonly requests: S3Requests;
  readonly settings: CloudSettings;
  readonly retry: RetryTools;
  /** Describes the object at a key, or null. */
  readonly look: (
    key: UploadRequest["key"],
    signal: AbortSignal | undefined,
  ) => Promise<ObjectInfo | null>;
  readonly onWarning: (message: string) => void;
  readonly nowMs: () => number;
}

export class S3Upload {
  readonly #requests: S3Requests;
  readonly #settings: CloudSettings;
  readonly #retry: RetryTools;
  readonly #look: S3UploadParts["look"];
  readonly #onWarning: (message: string) => void;
  readonly #nowMs: () => number;
  readonly #closed = new AbortController();
  #hasLookedForAbandoned = false;
  readonly #memory = new Places(PARTS_IN_MEMORY);
  readonly #turns = new KeyTurns();
  #probe: Promise<boolean> | null = null;

  constructor(parts: S3UploadParts) {
    this.#requests = parts.requests;
    this.#settings = parts.settings;
    this.#retry = parts.retry;
    this.#look = parts.look;
    this.#onWarning = parts.onWarning;
    this.#nowMs = parts.nowMs;
  }

  /** Nothing that runs beside the uploads goes on. */
  close(): void {
    this.#closed.abort(new Error("the store is closed"));
  }

  async run(request: UploadRequest): Promise<ObjectInfo> {
    // Who uploads is the writer of the prefix; a reader must not abort anything.
    if (!this.#hasLookedForAbandoned) this.#abortAbandoned();
    const reader = openSourceReader(request);
    if (request.source.sizeBytes > this.#settings.partBytes) {
      return await this.#inParts(request, reader);
    }
    return await this.#memory.run(() => this.#single(request, reader), request.signal);
  }

  async #single(request: UploadRequest, reader: SourceReader): Promise<ObjectInfo> {
    const bytes = new Uint8Array(request.source.sizeBytes);
    await reader.fill(bytes);
    reader.finish();
    const put = (): Promise<ObjectInfo> => this.#requests.put(request, bytes);
    if (request.ifAbsent === false || await this.#enforcesPut()) return await put();
    return await this.#afterLook(request, put);
  }

  async #inParts(request: UploadRequest, reader: SourceReader): Promise<ObjectInfo> {
    const { signal } = request;
    const requests = this.#requests;
    const partBytes = this.#partBytes(request);
    const upload = await requests.beginParts(request);
    const uploadId = upload.UploadId ?? "";
    ACTIVE.add(uploadId);
    try {
      const parts = await sendParts({
        totalBytes: request.source.sizeBytes,
        partBytes,
        reader,
        threads: this.#settings.partThreads,
        memory: this.#memory,
        retry: this.#retry,
        onResend: request.onResend,
        signal,
      }, (bytes, index) => this.#sendPart(upload, request, bytes, index));
      reader.finish();
      const finish = (): Promise<ObjectInfo> =>
        requests.finishParts(upload, parts, request);
      const info = request.ifAbsent === false
        ? await finish()
        : await this.#afterLook(request, finish);
      return await this.#withEtag(info, signal);
    } catch (error) {
      // Not under the signal, and whatever it says: the parts cost money until they go.
      await requests.abortParts(upload).catch(() => {});
      throw error;
    } finally {
      ACTIVE.delete(uploadId);
    }
  }

  async #sendPart(
    upload: PartsUpload,
    { key, signal }: UploadRequest,
    bytes: Uint8Array<ArrayBuffer>,
    index: number,
  ): Promise<SentPart> {
    try {
      return await this.#requests.putPart(upload, bytes, index, signal);
    } catch (error) {
      // As it is: sending the part again cannot help, beginning the upload anew can.
      if (isUploadGone(error)) throw error;
      throw s3Error("upload", key, error, signal);
    }
  }

  /** Once, beside the first upload, which does not wait for it. */
  async #abortAbandoned(): Promise<void> {
    this.#hasLookedForAbandoned = true;
    const { signal } = this.#closed;
    const options = { nowMs: this.#nowMs, active: ACTIVE, signal };
    try {
      const count = await abortAbandoned(this.#requests, options);
      if (count > 0) {
        this.#onWarning(`aborted ${count} uploads that were begun over a day ago`);
      }
    } catch (error) {
      if (signal.aborted) return;
      const why = error instanceof Error ? error.message : String(error);
      this.#onWarning(
        `cannot look for uploads that a crash left (${why}); they are billed: allow ` +
          "s3:ListBucketMultipartUploads, or let a lifecycle rule abort them",
      );
    }
  }

  /** Ceph 16 leaves the ETag empty when it completes an upload in parts: HEAD knows it. */
  async #withEtag(
    info: ObjectInfo,
    signal: AbortSignal | undefined,
  ): Promise<ObjectInfo> {
    if (info.etag !== null && info.etag !== "") return info;
    const looked = await this.#look(info.key, signal);
    if (looked?.sizeBytes === info.sizeBytes) return { ...info, etag: looked.etag };
    throw new StorageError("unavailable", {
      operation: "upload",
      key: info.key,
      detail: "the upload was said to be complete, and the object is not there",
    });
  }

  /** Does `write` only if the key is absent, and alone on that key in this process. */
  #afterLook(
    request: UploadRequest,
    write: () => Promise<ObjectInfo>,
  ): Promise<ObjectInfo> {
    const { key, signal } = request;
    return this.#turns.run(key, async () => {
      if (await this.#look(key, signal) === null) return await write();
      const detail = "it exists, and it must not";
      throw new StorageError("precondition", { operation: "upload", key, detail });
    });
  }

  /** Whether the service refuses to overwrite by PutObject; asked once. */
  #enforcesPut(): Promise<boolean> {
    if (this.#settings.endpoint === null) return Promise.resolve(true);
    this.#probe ??= this.#probePut().catch((error) => {
      this.#probe = null;
      throw error;
    });
    return this.#probe;
  }

  async #probePut(): Promise<boolean> {
    const isEnforced = await probeConditionalPut({
      putNew: async (): Promise<boolean> => {
        try {
          await this.#requests.putEmpty(PROBE_KEY);
          return true;
        } catch (error) {
          const fault = s3Error("upload", PROBE_KEY, error, undefined);
          if (fault instanceof StorageError && fault.fault === "precondition") {
            return false;
          }
          throw error;
        }
      },
      remove: () => this.#requests.remove(PROBE_KEY, null, undefined),
    });
    if (!isEnforced) {
      this.#onWarning(
        `S3 service ${this.#settings.endpoint} ignores If-None-Match: each upload looks ` +
          "whether the key is free instead; no other process may write to this prefix",
      );
    }
    return isEnforced;
  }

  #partBytes(request: UploadRequest): number {
    const total = request.source.sizeBytes;
    const partBytes = total > OBJECT_BYTES_MAX
      ? null
      : planPartBytes(total, this.#settings.partBytes, PART_LIMITS);
    if (partBytes !== null) return partBytes;
    throw new StorageError("invalid", {
      operation: "upload",
      key: request.key,
      detail: `it has ${total} bytes, S3 takes ${OBJECT_BYTES_MAX}`,
    });
  }
}
