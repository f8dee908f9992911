/**
 * Uploads to S3: one PutObject for what fits a part, a multipart upload for the rest.
 *
 * @module
 */

import type { Clock } from "../../core/clock.ts";
import { objectKeyOf } from "../../core/names.ts";
import type { ObjectInfo, UploadRequest } from "../backend.ts";
import type { CloudSettings } from "../cloud_settings.ts";
import { Places } from "../limiting_backend.ts";
import { sendParts } from "../part_upload.ts";
import { planPartBytes } from "../plan_ranges.ts";
import type { RetryTools } from "../retrying_backend.ts";
import { openSourceReader, type SourceReader } from "../source_reader.ts";
import { StorageError } from "../storage_error.ts";
import { abortAbandoned, SWEEP_EVERY_MS, SWEEP_UPTIME_MS } from "./s3_abandoned.ts";
import {
  type ConditionRule,
  KeyTurns,
  probeConditionalPut,
} from "./conditional_writes.ts";
import { Completion } from "./s3_completion.ts";
import { isNotImplemented, isUploadGone, s3Error } from "./s3_errors.ts";
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
  readonly clock: Clock;
}

export class S3Upload {
  readonly #requests: S3Requests;
  readonly #settings: CloudSettings;
  readonly #retry: RetryTools;
  readonly #look: S3UploadParts["look"];
  readonly #onWarning: (message: string) => void;
  readonly #clock: Clock;
  readonly #closed = new AbortController();
  #sweepFromMs = SWEEP_UPTIME_MS;
  readonly #memory = new Places(PARTS_IN_MEMORY);
  readonly #turns = new KeyTurns();
  #probe: Promise<ConditionRule> | null = null;

  constructor(parts: S3UploadParts) {
    this.#requests = parts.requests;
    this.#settings = parts.settings;
    this.#retry = parts.retry;
    this.#look = parts.look;
    this.#onWarning = parts.onWarning;
    this.#clock = parts.clock;
  }

  /** Nothing that runs beside the uploads goes on. */
  close(): void {
    this.#closed.abort(new Error("the store is closed"));
  }

  async run(request: UploadRequest): Promise<ObjectInfo> {
    // Who uploads is the writer of the prefix; a reader must not abort anything.
    if (this.#clock.monotonicMs() >= this.#sweepFromMs) this.#abortAbandoned();
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
    const rule = await this.#ruleFor(request);
    const put = (): Promise<ObjectInfo> =>
      this.#requests.put(request, bytes, sendsCondition(rule));
    if (rule === null || rule === "enforced") return await put();
    return await this.#afterLook(request, put);
  }

  async #inParts(request: UploadRequest, reader: SourceReader): Promise<ObjectInfo> {
    const { key, signal } = request;
    const requests = this.#requests;
    const partBytes = this.#partBytes(request);
    const rule = await this.#ruleFor(request);
    // Before gigabytes are sent: an upload whose end was not answered may be whole by now.
    if (rule !== null) await this.#expectFree(request);
    const upload = await requests.beginParts(request);
    const uploadId = upload.UploadId ?? "";
    let parts: SentPart[] = [];
    const completion = new Completion({
      request,
      retry: this.#retry,
      send: () => requests.finishParts(upload, parts, request, sendsCondition(rule)),
      look: () => this.#look(key, signal),
    });
    ACTIVE.add(uploadId);
    try {
      parts = await sendParts({
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
      const info = rule === null
        ? await completion.run()
        : await this.#afterLook(request, () => completion.run());
      return await this.#withEtag(info, signal);
    } catch (error) {
      // Not under the signal, and whatever it says: the parts cost money until they go.
      if (!completion.mayGoOn) await requests.abortParts(upload).catch(() => {});
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

  /** Once a day, beside an upload, which does not wait for it. */
  async #abortAbandoned(): Promise<void> {
    this.#sweepFromMs = this.#clock.monotonicMs() + SWEEP_EVERY_MS;
    const { signal } = this.#closed;
    const requests = this.#requests;
    try {
      const count = await abortAbandoned({
        begunUploads: (from) => requests.begunUploads(from, signal),
        abortParts: (upload) => requests.abortParts(upload),
        // Amazon ends the list of an upload with the upload; not so every other service.
        hasObject: async (key) =>
          this.#settings.endpoint !== null &&
          await this.#look(objectKeyOf(key), signal) !== null,
      }, { nowMs: () => this.#clock.nowMs(), active: ACTIVE, signal });
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
    return this.#turns.run(request.key, async () => {
      await this.#expectFree(request);
      return await write();
    });
  }

  /** @throws {StorageError} `precondition` */
  async #expectFree({ key, signal }: UploadRequest): Promise<void> {
    if (await this.#look(key, signal) === null) return;
    const detail = "it exists, and it must not";
    throw new StorageError("precondition", { operation: "upload", key, detail });
  }

  /** What the service makes of If-None-Match, asked once; null: `request` may overwrite. */
  async #ruleFor(request: UploadRequest): Promise<ConditionRule | null> {
    if (request.ifAbsent === false) return null;
    if (this.#settings.endpoint === null) return "enforced";
    this.#probe ??= this.#probePut().catch((error) => {
      this.#probe = null;
      throw error;
    });
    return await this.#probe;
  }

  async #probePut(): Promise<ConditionRule> {
    const rule = await probeConditionalPut({
      putNew: async (): Promise<"put" | "exists" | "refused"> => {
        try {
          await this.#requests.putEmpty(PROBE_KEY);
          return "put";
        } catch (error) {
          if (isNotImplemented(error)) return "refused";
          const fault = s3Error("upload", PROBE_KEY, error, undefined);
          if (fault instanceof StorageError && fault.fault === "precondition") {
            return "exists";
          }
          throw error;
        }
      },
      remove: () => this.#requests.remove(PROBE_KEY, null, undefined),
    });
    if (rule !== "enforced") {
      const verb = rule === "ignored" ? "ignores" : "does not know";
      this.#onWarning(
        `S3 service ${this.#settings.endpoint} ${verb} If-None-Match: each upload looks ` +
          "whether the key is free instead; no other process may write to this prefix",
      );
    }
    return rule;
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

/** Whether If-None-Match is sent. One that is ignored does no harm. */
function sendsCondition(rule: ConditionRule | null): boolean {
  return rule !== null && rule !== "refused";
}
