/**
 * Decompression as a stream of chunks, strict: every member must be whole and its checksum
 * right, and nothing but zeros may follow the last one.
 *
 * @module
 */

import { createGunzip } from "node:zlib";

/** Shortest gzip file: a header, an empty block, a trailer. */
const GZIP_BYTES_MIN = 20;

/** The compressed bytes are not a whole gzip file. */
export class GzipError extends Error {
  override readonly name = "GzipError";
}

export function hasGzipMagic(bytes: Uint8Array): boolean {
  return bytes.length >= 3 && bytes[0] === 0x1f && bytes[1] === 0x8b && bytes[2] === 8;
}

/**
 * The content of `source`, which may have several members.
 *
 * @throws {GzipError} If it is damaged, cut off, or no gzip at all. An error of `source`
 * comes through as it is.
 */
export async function* gunzip(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const inflate = createGunzip({ chunkSize: 1 << 18 });
  const feed = { bytes: 0, error: null as unknown };
  const feeding = feedInto(inflate, source, feed);
  try {
    for await (const chunk of inflate) yield chunk as Uint8Array;
  } catch (error) {
    if (feed.error !== null) throw feed.error;
    throw new GzipError(`it cannot be decompressed: ${messageOf(error)}`, {
      cause: error,
    });
  } finally {
    inflate.destroy();
    await feeding;
  }
  // A stream of nothing ends without an error.
  if (feed.bytes < GZIP_BYTES_MIN) throw new GzipError("it is too short to be gzip");
}

/** Resolves when all is written or the stream is closed; an error ends the stream. */
async function feedInto(
  inflate: ReturnType<typeof createGunzip>,
  source: AsyncIterable<Uint8Array>,
  feed: { bytes: number; error: unknown },
): Promise<void> {
  let wake = (): void => {};
  inflate.on("drain", () => wake());
  inflate.on("close", () => wake());
  inflate.on("error", () => wake());
  try {
    for await (const chunk of source) {
      if (inflate.destroyed) return;
      feed.bytes += chunk.length;
      if (!inflate.write(chunk) && !inflate.destroyed) {
        await new Promise<void>((resolve) => wake = resolve);
      }
    }
    inflate.end();
  } catch (error) {
    feed.error = error;
    inflate.destroy(error instanceof Error ? error : new Error(String(error)));
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
