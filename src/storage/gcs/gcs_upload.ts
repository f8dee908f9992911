/**
 * Uploads to Google: one request for what fits a chunk, a resumable session for the rest.
 *
 * The service verifies the MD5 of a single request, and that of a session, which comes with
 * its last chunk. Services that do not know the latter make an object all the same, so its
 * own MD5 of what it took is compared with ours; an object that differs is deleted by its
 * generation, and the upload fails as `corrupt`. Where that DELETE did not get through, the
 * next upload finds the object, with our hash in its metadata: see `#taken`.
 *
 * @module
 */

import { createHash } from "node:crypto";
import type { ObjectInfo, UploadRequest } from "../backend.ts";
import type { CloudSettings } from "../cloud_settings.ts";
import { Places } from "../limiting_backend.ts";
import { encodeMetadata } from "../object_metadata.ts";
import { type RetryTools, retryTransient } from "../retrying_backend.ts";
import {
  openSourceReader,
  type SourceReader,
  TRANSFER_CHUNK_BYTES,
} from "../source_reader.ts";
import { StorageError } from "../storage_error.ts";
import { gcsError } from "./gcs_errors.ts";
import { infoOfObject } from "./gcs_info.ts";
import type { Answered, GcsObject, GcsRequests } from "./gcs_requests.ts";
import { GcsSession } from "./gcs_session.ts";

export const OBJECT_BYTES_MAX = 5 * 1_024 ** 4;

/** Chunks in memory, of all uploads together. */
const CHUNKS_IN_MEMORY = 16;

export interface GcsUploadParts {
  readonly requests: GcsRequests;
  readonly settings: CloudSettings;
  readonly retry: RetryTools;
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
    const { value, dateMs } = await this.#memory.run(async () => {
      try {
        return isLarge
          ? await this.#resumable(request, reader)
          : await this.#single(request, reader);
      } catch (error) {
        throw await this.#taken(request, error);
      }
    }, signal);
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
    url: string,
    request: UploadRequest,
    reader: SourceReader,
  ): Promise<Answered<GcsObject>> {
    const { key, signal, source: { sizeBytes: totalBytes }, onResend } = request;
    const { requests, retry, settings } = this.#parts;
    const session = new GcsSession({
      ...{ requests, retry, onResend },
      ...{ url, key, totalBytes, signal },
    });
    const md5 = createHash("md5");
    const buffer = new Uint8Array(settings.partBytes);
    let md5Hash: string | null = null;
    for (let offset = 0;;) {
      const count = await reader.fill(buffer);
      const bytes = buffer.subarray(0, count);
      md5.update(bytes);
      if (offset + count === totalBytes) {
        // The last chunk makes the object visible: only if the source kept its word.
        reader.finish();
        md5Hash = md5.digest("base64");
      }
      const answer = await session.send({ offset, bytes, md5Hash });
      offset += count;
      if (answer !== null) return await this.#checked(request, answer, md5Hash);
    }
  }

  /** The object, if the service has the bytes that were sent. */
  async #checked(
    request: UploadRequest,
    answer: Answered<GcsObject>,
    md5Hash: string | null,
  ): Promise<Answered<GcsObject>> {
    const { value } = answer;
    const isWhole = value.md5Hash === md5Hash &&
      Number(value.size) === request.source.sizeBytes;
    if (isWhole) return answer;
    throw await this.#removed(request, value, md5Hash);
  }

  /**
   * What to tell of an upload that found the name taken. Whoever is told so believes an
   * object that has our hash in its metadata and the right size; but the metadata are there
   * before the bytes, and of a session's object that was not removed they are a lie.
   */
  async #taken(request: UploadRequest, error: unknown): Promise<unknown> {
    const { key, metadata, source, signal } = request;
    const fault = gcsError("upload", key, error, signal);
    const isTaken = fault instanceof StorageError && fault.fault === "precondition";
    if (!isTaken || metadata.hash === null) return error;
    const value = await this.#describe(request);
    if (value === null || value.md5Hash === undefined) return error;
    const info = infoOfObject(key, value, null);
    const isSaidToBeOurs = info.metadata?.hash === metadata.hash &&
      info.sizeBytes === source.sizeBytes;
    if (!isSaidToBeOurs) return error;
    const md5Hash = await md5OfSource(request);
    return value.md5Hash === md5Hash
      ? error
      : await this.#removed(request, value, md5Hash);
  }

  async #describe({ key, signal }: UploadRequest): Promise<GcsObject | null> {
    const { requests, settings } = this.#parts;
    try {
      return (await requests.describe(settings.prefix + key, {}, signal)).value;
    } catch (error) {
      const fault = gcsError("head", key, error, signal);
      if (fault instanceof StorageError && fault.fault === "not-found") return null;
      throw fault;
    }
  }

  /** Deletes an object of ours that has other bytes than its metadata say. The error of it. */
  async #removed(
    request: UploadRequest,
    { md5Hash: itsMd5, generation }: GcsObject,
    md5Hash: string | null,
  ): Promise<StorageError> {
    const { key, signal } = request;
    if (generation === undefined) {
      // Without a generation, a DELETE would take whatever has the name.
      const detail = "the answer names no generation: it is of something in between";
      return new StorageError("unavailable", { operation: "upload", key, detail });
    }
    const { requests, settings, retry } = this.#parts;
    const remove = async (): Promise<void> => {
      try {
        await requests.remove(
          settings.prefix + key,
          { generation, ifGenerationMatch: generation },
          undefined,
        );
      } catch (error) {
        const fault = gcsError("delete", key, error, undefined);
        // Gone, perhaps by a DELETE whose answer got lost.
        if (fault instanceof StorageError && fault.fault === "not-found") return;
        throw fault;
      }
    };
    const ours = md5Hash === null ? "and not all yet" : `MD5 ${md5Hash}`;
    const what = `the service has other bytes (MD5 ${itsMd5}) than were sent (${ours})`;
    try {
      await retryTransient(retry, remove, signal);
      const detail = `${what}; they were deleted`;
      return new StorageError("corrupt", { operation: "upload", key, detail });
    } catch (cause) {
      signal?.throwIfAborted();
      const why = cause instanceof Error ? cause.message : String(cause);
      const detail = `${what}, and keeps them: ${why}; delete generation ${generation}`;
      const more = { detail, cause, isPermanent: true };
      return new StorageError("corrupt", { operation: "upload", key, ...more });
    }
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

/** Of all bytes of the source, which hash to what was declared. */
async function md5OfSource(request: UploadRequest): Promise<string> {
  const reader = openSourceReader(request);
  const md5 = createHash("md5");
  const buffer = new Uint8Array(TRANSFER_CHUNK_BYTES);
  for (;;) {
    const count = await reader.fill(buffer);
    if (count === 0) break;
    md5.update(buffer.subarray(0, count));
  }
  reader.finish();
  return md5.digest("base64");
}
