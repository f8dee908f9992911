/**
 * Sends the chunks of one resumable upload.
 *
 * A chunk that fails is sent again from memory, and only what of it did not arrive, after the
 * same pauses as every other request. Each answer that brings the session on begins the count
 * of attempts anew; one that does not is a failure, whatever its status.
 *
 * @module
 */

import type { ObjectKey } from "../../core/names.ts";
import type { OnResend } from "../backend.ts";
import { retryPart, type RetryTools } from "../retrying_backend.ts";
import { StorageError } from "../storage_error.ts";
import { gcsError, isSessionGone } from "./gcs_errors.ts";
import type { Answered, GcsChunk, GcsObject, GcsRequests } from "./gcs_requests.ts";

/** What a session answers: the object, once it is whole, or how far it is. */
type Progress = Answered<GcsObject | { readonly receivedBytes: number }>;

export interface GcsSessionParts {
  readonly requests: GcsRequests;
  readonly retry: RetryTools;
  /** Waited for before bytes of a chunk are sent once more. */
  readonly onResend: OnResend | undefined;
  /** The session's URL. */
  readonly url: string;
  readonly key: ObjectKey;
  readonly totalBytes: number;
  readonly signal: AbortSignal | undefined;
}

export class GcsSession {
  readonly #parts: GcsSessionParts;

  constructor(parts: GcsSessionParts) {
    this.#parts = parts;
  }

  /** Null: more chunks are wanted. */
  async send(chunk: GcsChunk): Promise<Answered<GcsObject> | null> {
    const { totalBytes } = this.#parts;
    const end = chunk.offset + chunk.bytes.length;
    for (let from = chunk.offset;;) {
      const { value, dateMs } = await this.#advance(chunk, from);
      if (!("receivedBytes" in value)) return { value, dateMs };
      const { receivedBytes } = value;
      // What came before the chunk is not in memory any more: the upload begins anew.
      if (receivedBytes < from || receivedBytes > end) {
        throw this.#unavailable(`the service has ${receivedBytes} bytes, not ${from}`);
      }
      if (receivedBytes === end && end < totalBytes) return null;
      from = receivedBytes;
    }
  }

  /** The first answer by which the session is not at `from` any more. */
  #advance(chunk: GcsChunk, from: number): Promise<Progress> {
    const { key, signal, retry, onResend } = this.#parts;
    const rest = {
      ...chunk,
      offset: from,
      bytes: chunk.bytes.subarray(from - chunk.offset),
    };
    const isAt = ({ value }: Progress): boolean =>
      "receivedBytes" in value && value.receivedBytes === from;
    return retryPart(retry, async (failureCount) => {
      try {
        if (failureCount > 0 || rest.bytes.length === 0) {
          const asked = await this.#put(null);
          if (!isAt(asked)) return asked;
        }
        if (rest.bytes.length > 0) {
          const isSentAgain = failureCount > 0 || from > chunk.offset;
          if (isSentAgain) await onResend?.(rest.bytes.length, signal);
          const sent = await this.#put(rest);
          if (!isAt(sent)) return sent;
        }
      } catch (error) {
        // As it is: asking again cannot help, beginning the upload anew can.
        if (isSessionGone(error)) throw error;
        throw gcsError("upload", key, error, signal);
      }
      throw this.#unavailable(`the service has ${from} bytes, and goes no further`);
    }, signal);
  }

  #put(chunk: GcsChunk | null): Promise<Progress> {
    const { requests, url, totalBytes, signal } = this.#parts;
    return requests.putChunk(url, chunk, totalBytes, signal);
  }

  #unavailable(detail: string): StorageError {
    const { key } = this.#parts;
    return new StorageError("unavailable", { operation: "upload", key, detail });
  }
}
