/**
 * Sends a source in parts: read and hashed in order, a few in flight.
 *
 * Each part is a buffer of its own, because it must be signed and may be sent again; the
 * places bound how many there are, in one upload and in the whole backend.
 *
 * @module
 */

import { Places } from "./limiting_backend.ts";
import { planRanges } from "./plan_ranges.ts";
import type { SourceReader } from "./source_reader.ts";

export interface PartUpload {
  readonly totalBytes: number;
  readonly partBytes: number;
  readonly reader: SourceReader;
  /** Parts in flight in this upload. */
  readonly threads: number;
  /** Parts in memory, of all uploads of the backend. */
  readonly memory: Places;
  readonly signal: AbortSignal | undefined;
}

/**
 * Sends every part, and resolves with what `send` told of each, in order. After the first
 * failure no further part is begun, those in flight are waited for, and it is thrown.
 */
export async function sendParts<T>(
  upload: PartUpload,
  send: (bytes: Uint8Array<ArrayBuffer>, index: number) => Promise<T>,
): Promise<T[]> {
  const own = new Places(upload.threads);
  const results: T[] = [];
  const inFlight: Promise<void>[] = [];
  let failure: { readonly error: unknown } | null = null;
  const ranges = planRanges(upload.totalBytes, upload.partBytes);
  for (const [index, range] of ranges.entries()) {
    const { promise: isRead, resolve: onRead } = Promise.withResolvers<void>();
    const sendOne = async (): Promise<void> => {
      const bytes = new Uint8Array(range.end - range.start);
      await upload.reader.fill(bytes);
      onRead();
      results[index] = await send(bytes, index);
    };
    const part = own.run(
      () => upload.memory.run(sendOne, upload.signal),
      upload.signal,
    );
    inFlight.push(part.catch((error) => {
      failure ??= { error };
      onRead();
    }));
    // The next part begins where this one's reading ended.
    await isRead;
    if (failure !== null) break;
  }
  await Promise.all(inFlight);
  if (failure !== null) throw (failure as { error: unknown }).error;
  return results;
}
