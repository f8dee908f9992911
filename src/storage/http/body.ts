/**
 * The body of an answer, as something to read from: no stream, because each layer of
 * streams costs as much time a chunk as the network does.
 *
 * @module
 */

import { AsyncLocalStorage } from "node:async_hooks";
import { InvariantError } from "../../core/assert.ts";

export interface Body {
  /** The next bytes, in memory that is used again by the next call; null at the end. */
  read(): Promise<Uint8Array<ArrayBuffer> | null>;
  /** No more is wanted. Does not wait for the peer. */
  cancel(): void;
}

export const EMPTY_BODY: Body = {
  read: () => Promise.resolve(null),
  cancel: () => {},
};

/** `body`, with its errors translated. */
export function mappedBody(body: Body, translate: (error: unknown) => unknown): Body {
  const rethrow = (error: unknown): never => {
    throw translate(error);
  };
  return {
    read: () => body.read().catch(rethrow),
    cancel: () => body.cancel(),
  };
}

/** `body` as a stream, for an SDK that parses it. */
export function streamOf(body: Body): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    async pull(controller): Promise<void> {
      const bytes = await body.read();
      if (bytes === null) controller.close();
      else controller.enqueue(bytes.slice());
    },
    cancel: () => body.cancel(),
  }, { highWaterMark: 0 });
}

/** Everything, of a body that is small. @throws {RangeError} Over `bytesMax`. */
export async function readAll(
  body: Body,
  bytesMax: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let count = 0;
  for (let bytes = await body.read(); bytes !== null; bytes = await body.read()) {
    chunks.push(bytes.slice());
    count += bytes.length;
    if (count <= bytesMax) continue;
    body.cancel();
    throw new RangeError(`an answer has more than ${bytesMax} bytes`);
  }
  const all = new Uint8Array(count);
  let offset = 0;
  for (const chunk of chunks) {
    all.set(chunk, offset);
    offset += chunk.length;
  }
  return all;
}

interface Holder {
  body: Body | null;
}

const holders = new AsyncLocalStorage<Holder>();

/** Runs the one request whose answer has the body that is wanted. */
export type Exchange = <T>(request: () => Promise<T>) => Promise<T>;

/**
 * Runs a download of an SDK and gives the body that came with it.
 *
 * The SDKs would wrap the body in streams of their own. They get an empty one instead, and
 * the body goes past them, by way of the asynchronous context of `exchange`. What an SDK
 * asks beside, of a service of credentials for one, belongs outside of it: the answer would
 * be taken for the content.
 */
export async function takeBody<T>(
  download: (exchange: Exchange) => Promise<T>,
): Promise<{ output: T; body: Body }> {
  const holder: Holder = { body: null };
  try {
    const output = await download((request) => holders.run(holder, request));
    return { output, body: holder.body ?? EMPTY_BODY };
  } catch (error) {
    holder.body?.cancel();
    throw error;
  }
}

/**
 * Called by a transport's adapter: true if a {@linkcode takeBody} took `body`.
 *
 * @throws {InvariantError} If it has one: nobody can say which of the two is the content.
 */
export function handOver(body: Body): boolean {
  const holder = holders.getStore();
  if (holder === undefined) return false;
  if (holder.body !== null) {
    body.cancel();
    throw new InvariantError("A download has two bodies");
  }
  holder.body = body;
  return true;
}
