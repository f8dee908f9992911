/**
 * A server that answers every request with one recorded answer, and what a backend makes of
 * it. The answers are as the vendors' public documentation shows them.
 *
 * @module
 */

import { ok, strictEqual } from "node:assert/strict";
import { MemoryTarget, metadataOf, sourceOf } from "../conformance/test_bytes.ts";
import { objectKeyOf } from "../../src/core/names.ts";
import type { StorageBackend } from "../../src/storage/backend.ts";
import { StorageError, type StorageFault } from "../../src/storage/storage_error.ts";

export interface Recorded {
  /** Which request it answers. */
  readonly request: "upload" | "download" | "head" | "delete" | "list";
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly fault: StorageFault;
  /** What the message has to tell a person. */
  readonly says?: RegExp;
  readonly retryAfterMs?: number;
}

const KEY = objectKeyOf("depot/a,v");
const BYTES = new TextEncoder().encode("head     1.1;\n");

const REQUESTS: Readonly<
  Record<Recorded["request"], (backend: StorageBackend) => Promise<unknown>>
> = {
  upload: (backend) => {
    const metadata = metadataOf(BYTES);
    return backend.upload({ key: KEY, source: sourceOf(BYTES), metadata });
  },
  download: (backend) => {
    const target = new MemoryTarget();
    return backend.download({ key: KEY, target, sizeBytes: BYTES.length });
  },
  head: (backend) => backend.head(KEY),
  delete: (backend) => backend.delete({ key: KEY }),
  list: (backend) => Array.fromAsync(backend.list("")),
};

export async function expectFaults(
  open: (origin: string) => Promise<StorageBackend>,
  recorded: readonly Recorded[],
  /** Requests that come before the one that is meant, such as for a token. */
  before: (request: Request) => Response | null = () => null,
): Promise<void> {
  let answer: Recorded | null = null;
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: (): void => {} },
    async (request) => {
      await request.body?.cancel();
      const { status, headers = {}, body = null } = answer!;
      const isBodiless = request.method === "HEAD" || status === 304;
      const all = { date: "Thu, 02 Jan 2025 03:04:05 GMT", ...headers };
      return before(request) ??
        new Response(isBodiless ? null : body, { status, headers: all });
    },
  );
  const backend = await open(`http://127.0.0.1:${server.addr.port}`);
  try {
    for (answer of recorded) {
      const what = `${answer.request} ${answer.status} ${answer.body ?? ""}`;
      const error = await REQUESTS[answer.request](backend).then(() => null, (e) => e);
      ok(error instanceof StorageError, `${what}: ${error}`);
      strictEqual(error.fault, answer.fault, `${what}: ${error.message}`);
      strictEqual(error.retryAfterMs, answer.retryAfterMs ?? null, what);
      ok((answer.says ?? /./).test(error.message), `${what}: ${error.message}`);
      ok(!error.message.includes("\n"), error.message);
    }
  } finally {
    await backend.close();
    await server.shutdown();
  }
}
