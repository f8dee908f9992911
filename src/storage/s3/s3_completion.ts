/**
 * The end of an upload in parts: CompleteMultipartUpload, whose answer may get lost.
 *
 * A service goes on completing after a proxy in front of it gave up, after our wait for it
 * stalled, and after we stopped. To abort the upload then may take the bytes away from an
 * object that is there: Ceph before its change 60771 names the object in lists and answers
 * HEAD, and GET finds nothing. So what was sent, and not refused in the service's own words,
 * is never aborted; it is sent again, or looked for, and else left to s3_abandoned.ts.
 *
 * @module
 */

import type { ObjectInfo, UploadRequest } from "../backend.ts";
import { isWhatWasSent, retryPart, type RetryTools } from "../retrying_backend.ts";
import { StorageError } from "../storage_error.ts";
import { isRefusal, isUploadGone, s3Error } from "./s3_errors.ts";

export interface CompletionParts {
  readonly request: UploadRequest;
  readonly retry: RetryTools;
  /** Sends it once; throws the SDK's errors. */
  readonly send: () => Promise<ObjectInfo>;
  /** Describes the object at the key, or null; throws the SDK's errors. */
  readonly look: () => Promise<ObjectInfo | null>;
}

export class Completion {
  readonly #parts: CompletionParts;
  #mayGoOn = false;

  constructor(parts: CompletionParts) {
    this.#parts = parts;
  }

  /** The service may be completing, or be done: the upload must not be aborted. */
  get mayGoOn(): boolean {
    return this.#mayGoOn;
  }

  /** Once. Without an answer it is sent again, and the parts are not. */
  run(): Promise<ObjectInfo> {
    const { retry, request } = this.#parts;
    return retryPart(
      retry,
      (failureCount) => failureCount === 0 ? this.#send() : this.#sendAgain(),
      request.signal,
    );
  }

  async #sendAgain(): Promise<ObjectInfo> {
    const { key, ifAbsent } = this.#parts.request;
    const info = await this.#look();
    if (info === null || ifAbsent === false) return await this.#send();
    if (this.#isOurs(info)) return info;
    const detail = "it exists, and it must not";
    throw new StorageError("precondition", { operation: "upload", key, detail });
  }

  async #send(): Promise<ObjectInfo> {
    const { request: { key, signal }, send } = this.#parts;
    const isRepeat = this.#mayGoOn;
    this.#mayGoOn = true;
    try {
      return await send();
    } catch (error) {
      const isGone = isUploadGone(error);
      // Refused because the one before it was done, perhaps.
      if (isGone || (isRepeat && isRefusal(error))) {
        const info = await this.#look();
        if (info !== null && this.#isOurs(info)) return info;
      }
      if (!isRepeat && isRefusal(error)) this.#mayGoOn = false;
      // As it is: sending it again cannot help, beginning the upload anew may.
      if (isGone || isRefusal(error)) throw error;
      throw s3Error("upload", key, error, signal);
    }
  }

  async #look(): Promise<ObjectInfo | null> {
    const { request: { key, signal }, look } = this.#parts;
    try {
      return await look();
    } catch (error) {
      throw s3Error("upload", key, error, signal);
    }
  }

  /** Who overwrites may find an older object with the same content, and of another class. */
  #isOurs(info: ObjectInfo): boolean {
    const { request } = this.#parts;
    return request.ifAbsent !== false && isWhatWasSent(info, request);
  }
}
