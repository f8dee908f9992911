/**
 * Sends a source in parts: read and hashed in order, a few in flight.
 *
 * Each part is a buffer of its own, because it must be signed and may be sent again; the
 * places bound how many there are, in one upload and in the whole backend.
 *
 * @module
 */

import type { OnResend } from "./backend.ts";
import { Places } from "./limiting_backend.ts";
import { planRanges } from "./plan_ranges.ts";
import { retryPart, type RetryTools } from "./retrying_backend.ts";
import type { SourceReader } from "./source_reader.ts";

export interface PartUpload {
  readonly totalBytes: number;
  readonly partBytes: number;
  readonly reader: SourceReader;
  /** Parts in flight in this upload. */
  readonly threads: number;
  /** Parts in memory, of all uploads of the backend. */
  readonly memory: Places;
  /** A part that fails is sent again from memory; the others are not. */
  readonly retry: RetryTools;
  /** Waited for before that. */
  readonly onResend: OnResend | undefined;
  readonly signal: AbortSignal | undefined;
}

/**
 * Sends every part, and resolves with what `send` told of each, in order. A part is sent
 * again while `send` throws a StorageError that is transient. After the first part that
 * failed for good none is begun or sent again, those in flight are waited for, and its error
 * is thrown.
 */
export async function sendParts<T>(
  upload: PartUpload,
  send: (bytes: Uint8Array<ArrayBuffer>, index: number) => Promise<T>,
): Promise<T[]> {
  const own = new Places(upload.threads);
  const results: T[] = [];
  const inFlight: Promise<void>[] = [];
  let failure: { readonly error: unknown } | null = null;
  const pauses = new AbortController();
  const onAbort = (): void => pauses.abort(upload.signal?.reason);
  upload.signal?.addEventListener("abort", onAbort, { once: true });
  const ranges = planRanges(upload.totalBytes, upload.partBytes);
  for (const [index, range] of ranges.entries()) {
    const { promise: isRead, resolve: onRead } = Promise.withResolvers<void>();
    const sendOne = async (): Promise<void> => {
      const bytes = new Uint8Array(range.end - range.start);
      await upload.reader.fill(bytes);
      onRead();
      results[index] = await retryPart(upload.retry, async (failureCount) => {
        if (failureCount > 0) await upload.onResend?.(bytes.length, pauses.signal);
        return await send(bytes, index);
      }, pauses.signal);
    };
    const part = own.run(
      () => upload.memory.run(sendOne, upload.signal),
      upload.signal,
    );
    inFlight.push(part.catch((error) => {
      failure ??= { error };
      // Others that wait to be sent again need not.
      pauses.abort(error);
      onRead();
    }));
    // The next part begins where this one's reading ended.
    await isRead;
    if (failure !== null) break;
  }
  await Promise.all(inFlight);
  upload.signal?.removeEventListener("abort", onAbort);
  if (failure !== null) throw (failure as { error: unknown }).error;
  return results;
}
