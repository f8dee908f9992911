/**
 * Retries transient faults. The only place in the program that retries a store.
 *
 * A backend is given the same tools for what is a part of a request of ours: the pages of a
 * listing, the parts of an upload.
 *
 * An upload whose answer got lost may have succeeded: its retry is then told that the
 * object exists. That is resolved here, by asking whether the object is the one we sent.
 * A DELETE whose answer got lost may succeed later, also after its retry was answered: that is
 * told to who asked for it.
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
import { StorageError } from "./storage_error.ts";

export interface RetryPolicy {
  /** Attempts in all, the first one included. At least 1. */
  readonly attemptsMax: number;
  readonly delayMsMin: number;
  readonly delayMsMax: number;
  /** Longest wait that a store may ask for by Retry-After. */
  readonly retryAfterMsMax: number;
  /** Told of each failure that is going to be retried, for a metric and a debug line. */
  readonly onRetry?: (error: StorageError, attemptCount: number, delayMs: number) => void;
}

/** The initial attempt and 3 retries. */
export const DEFAULT_RETRY_POLICY: RetryPolicy = {
  attemptsMax: 4,
  delayMsMin: 500,
  delayMsMax: 30_000,
  retryAfterMsMax: 120_000,
};

/**
 * Full jitter: after an outage every waiting transfer would otherwise come back in the
 * same second and cause the next one. What the store asked for is a lower bound.
 *
 * @param attemptCount Attempts that failed so far, from 1.
 * @param random In [0, 1).
 */
export function planRetryDelayMs(
  policy: RetryPolicy,
  attemptCount: number,
  retryAfterMs: number | null,
  random: number,
): number {
  const capMs = Math.min(policy.delayMsMax, policy.delayMsMin * 2 ** (attemptCount - 1));
  const askedMs = Math.min(retryAfterMs ?? 0, policy.retryAfterMsMax);
  return askedMs + capMs * random;
}

/** What a retry needs besides the request. */
export interface RetryTools {
  readonly policy: RetryPolicy;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
}

/**
 * Runs `attempt` until it succeeds, fails for good, or was tried `attemptsMax` times.
 *
 * @param attempt Given how often it failed before, from 0.
 */
export async function retryTransient<T>(
  tools: RetryTools,
  attempt: (failureCount: number) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const { policy, clock, random } = tools;
  for (let failureCount = 0;;) {
    signal?.throwIfAborted();
    try {
      return await attempt(failureCount);
    } catch (error) {
      failureCount += 1;
      const isTransient = error instanceof StorageError && error.isTransient;
      if (!isTransient || failureCount >= policy.attemptsMax) throw error;
      const delayMs = planRetryDelayMs(
        policy,
        failureCount,
        error.retryAfterMs,
        random(),
      );
      policy.onRetry?.(error, failureCount, delayMs);
      await clock.sleep(delayMs, signal);
    }
  }
}

/**
 * Retries one of the requests that an upload is made of.
 *
 * When it has been tried often enough the upload is not worth being begun anew at once:
 * whoever retries the whole would multiply the attempts, and send all the other parts again.
 */
export async function retryPart<T>(
  tools: RetryTools,
  attempt: (failureCount: number) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  try {
    return await retryTransient(tools, attempt, signal);
  } catch (error) {
    throw error instanceof StorageError && error.isTransient ? error.givenUp() : error;
  }
}

/**
 * `backend` with retries.
 *
 * `list()` is not repeated here, since half a listing repeated would yield objects twice;
 * a backend that lists in pages retries each page.
 */
export function withRetry(
  backend: StorageBackend,
  policy: RetryPolicy,
  clock: Clock,
  random: () => number,
): StorageBackend {
  return new RetryingBackend(backend, { policy, clock, random });
}

class RetryingBackend implements StorageBackend {
  readonly name: string;
  readonly #inner: StorageBackend;
  readonly #tools: RetryTools;

  constructor(inner: StorageBackend, tools: RetryTools) {
    this.name = inner.name;
    this.#inner = inner;
    this.#tools = tools;
  }

  capabilities(): StorageCapabilities {
    return this.#inner.capabilities();
  }

  upload(request: UploadRequest): Promise<ObjectInfo> {
    return retryTransient(this.#tools, async (failureCount) => {
      try {
        return await this.#inner.upload(request);
      } catch (error) {
        const mayBeOurs = failureCount > 0 && error instanceof StorageError &&
          error.fault === "precondition";
        if (!mayBeOurs) throw error;
        const info = await this.#inner.head(request.key, request.signal);
        if (info === null || !isWhatWasSent(info, request)) throw error;
        return info;
      }
    }, request.signal);
  }

  download(request: DownloadRequest): Promise<DownloadResult> {
    return retryTransient(
      this.#tools,
      () => this.#inner.download(request),
      request.signal,
    );
  }

  head(key: ObjectKey, signal?: AbortSignal): Promise<ObjectInfo | null> {
    return retryTransient(this.#tools, () => this.#inner.head(key, signal), signal);
  }

  retrieve(request: RetrieveRequest): Promise<RetrieveState> {
    return retryTransient(
      this.#tools,
      () => this.#inner.retrieve(request),
      request.signal,
    );
  }

  delete(request: DeleteRequest): Promise<void> {
    return retryTransient(this.#tools, async () => {
      try {
        await this.#inner.delete(request);
      } catch (error) {
        // Also a 503: what is in between may say so of a request that it has passed on.
        const mayGoOn = error instanceof StorageError && error.isTransient;
        if (mayGoOn) request.onUnanswered?.();
        throw error;
      }
    }, request.signal);
  }

  list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo> {
    return this.#inner.list(prefix, signal);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}

/** Only a hash proves it: two versions of a file may well have one size. */
export function isWhatWasSent(info: ObjectInfo, request: UploadRequest): boolean {
  return request.metadata.hash !== null &&
    info.metadata?.hash === request.metadata.hash &&
    info.sizeBytes === request.source.sizeBytes;
}
