/**
 * Uploads to Google: one request for what fits a chunk, a resumable session for the rest.
 *
 * The service verifies the MD5 of a single request. Of a session it knows no hash before
 * the end, so its own MD5 of what it took is compared with ours; an object that differs is
 * deleted by its generation, and the upload fails as `corrupt`.
 *
 * @module
 */

import { createHash } from "node:crypto";
import type { ObjectInfo, UploadRequest } from "../backend.ts";
import type { CloudSettings } from "../cloud_settings.ts";
import { Places } from "../limiting_backend.ts";
import { encodeMetadata } from "../object_metadata.ts";
import { openSourceReader, type SourceReader } from "../source_reader.ts";
import { StorageError } from "../storage_error.ts";
import { gcsError } from "./gcs_errors.ts";
import { infoOfObject } from "./gcs_info.ts";
import type { Answered, GcsObject, GcsRequests } from "./gcs_requests.ts";

export const OBJECT_BYTES_MAX = 5 * 1_024 ** 4;

/** Chunks in memory, of all uploads together. */
const CHUNKS_IN_MEMORY = 16;

/** How often one chunk may break before the upload fails. */
const RESUMES_MAX = 4;

export interface GcsUploadParts {
  readonly requests: GcsRequests;
  readonly settings: CloudSettings;
  readonly storageClass: string | null;
  readonly watermark: Readonly<Record<string, string>>;
}

export class GcsUpload {
  readonly #parts: GcsUploadParts;
  readonly #memory = new Places(CHUNKS_IN_MEMORY);

  constructor(parts: GcsUploadParts) {
    this.#parts = parts;
  }

  async run(request: UploadRequest): Promise<ObjectInfo> {
    const { key, source, signal } = request;
    if (source.sizeBytes > OBJECT_BYTES_MAX) {
      const detail = `it has ${source.sizeBytes} bytes, Google takes ${OBJECT_BYTES_MAX}`;
      throw new StorageError("invalid", { operation: "upload", key, detail });
    }
    const reader = openSourceReader(request);
    const isLarge = source.sizeBytes > this.#parts.settings.partBytes;
    const { value, dateMs } = await this.#memory.run(
      () => isLarge ? this.#resumable(request, reader) : this.#single(request, reader),
      signal,
    );
    return infoOfObject(key, value, dateMs);
  }

  async #single(
    request: UploadRequest,
    reader: SourceReader,
  ): Promise<Answered<GcsObject>> {
    const bytes = new Uint8Array(request.source.sizeBytes);
    await reader.fill(bytes);
    reader.finish();
    const md5Hash = createHash("md5").update(bytes).digest("base64");
    const resource = { ...this.#resource(request), md5Hash };
    return await this.#parts.requests.put(
      resource,
      bytes,
      conditionOf(request),
      request.signal,
    );
  }

  async #resumable(
    request: UploadRequest,
    reader: SourceReader,
  ): Promise<Answered<GcsObject>> {
    const { requests } = this.#parts;
    const session = await requests.beginSession(
      this.#resource(request),
      request.source.sizeBytes,
      conditionOf(request),
      request.signal,
    );
    let isDone = false;
    try {
      const sent = await this.#sendChunks(session, request, reader);
      isDone = true;
      return sent;
    } finally {
      // Not under the signal: what was sent should go at once, not in a week.
      if (!isDone) await requests.cancelSession(session).catch(() => {});
    }
  }

  async #sendChunks(
    session: string,
    request: UploadRequest,
    reader: SourceReader,
  ): Promise<Answered<GcsObject>> {
    const { sizeBytes } = request.source;
    const md5 = createHash("md5");
    const buffer = new Uint8Array(this.#parts.settings.partBytes);
    for (let offset = 0;;) {
      const count = await reader.fill(buffer);
      const bytes = buffer.subarray(0, count);
      md5.update(bytes);
      // The last chunk makes the object visible: only if the source kept its word.
      if (offset + count === sizeBytes) reader.finish();
      const answer = await this.#sendChunk(session, request, offset, bytes);
      offset += count;
      if (answer === null) continue;
      return await this.#checked(request, answer, md5.digest("base64"));
    }
  }

  /** Sends one chunk, and what of it did not arrive again. Null: more are wanted. */
  async #sendChunk(
    session: string,
    request: UploadRequest,
    offset: number,
    bytes: Uint8Array<ArrayBuffer>,
  ): Promise<Answered<GcsObject> | null> {
    const { source: { sizeBytes }, signal, key } = request;
    const end = offset + bytes.length;
    let isAsking = false;
    let failureCount = 0;
    for (let from = offset;;) {
      try {
        const chunk = { offset: from, bytes: bytes.subarray(from - offset) };
        const { value, dateMs } = await this.#parts.requests.putChunk(
          session,
          isAsking ? null : chunk,
          sizeBytes,
          signal,
        );
        if (!("receivedBytes" in value)) return { value, dateMs };
        if (value.receivedBytes === end && end < sizeBytes) return null;
        if (value.receivedBytes < offset || value.receivedBytes > end) {
          const detail = `the service has ${value.receivedBytes} bytes, not ${from}`;
          throw new StorageError("unavailable", { operation: "upload", key, detail });
        }
        from = value.receivedBytes;
        isAsking = false;
      } catch (error) {
        const fault = gcsError("upload", key, error, signal);
        const mayResume = fault instanceof StorageError && fault.isTransient &&
          fault.retryAfterMs === null && failureCount < RESUMES_MAX;
        if (!mayResume) throw error;
        failureCount += 1;
        isAsking = true;
      }
    }
  }

  async #checked(
    request: UploadRequest,
    answer: Answered<GcsObject>,
    md5Hash: string,
  ): Promise<Answered<GcsObject>> {
    const { key, source } = request;
    const { value } = answer;
    if (value.md5Hash === md5Hash && Number(value.size) === source.sizeBytes) {
      return answer;
    }
    const generation = value.generation ?? null;
    await this.#parts.requests.remove(
      this.#parts.settings.prefix + key,
      { generation, ifGenerationMatch: generation },
      undefined,
    );
    const detail = `the service has other bytes (MD5 ${value.md5Hash}) than were sent ` +
      `(${md5Hash}); they were deleted`;
    throw new StorageError("corrupt", { operation: "upload", key, detail });
  }

  #resource(request: UploadRequest): object {
    const storageClass = request.storageClass ?? this.#parts.storageClass;
    return {
      name: this.#parts.settings.prefix + request.key,
      contentType: "application/octet-stream",
      metadata: encodeMetadata(request.metadata, "-", this.#parts.watermark),
      ...(storageClass === null ? {} : { storageClass }),
    };
  }
}

function conditionOf(request: UploadRequest): Record<string, string> {
  return request.ifAbsent === false ? {} : { ifGenerationMatch: "0" };
}
