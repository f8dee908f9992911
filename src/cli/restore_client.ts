/**
 * Asks a running daemon to restore files, as the shim does: one connection a request.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import { bytesOf, type DepotPath } from "../core/names.ts";
import { encodeShimRequest, parseShimReply } from "../wire/shim_protocol.ts";

/** What the daemon answered. */
export type RestoreReply =
  | { readonly kind: "restored"; readonly sizeBytes: number }
  | { readonly kind: "missing" }
  | { readonly kind: "failed"; readonly code: string; readonly why: string };

export interface Restorer {
  /** @throws If the daemon cannot be reached, or answers something else. */
  restore(path: DepotPath, signal: AbortSignal): Promise<RestoreReply>;
}

/** Longest reply line; the daemon's own are far shorter. */
const LINE_BYTES_MAX = 4_096;
const BUSY_RETRIES = 20;
const BUSY_DELAY_MS = 250;

/** @param socketPath The daemon's shim.sock. */
export function restorerAt(socketPath: string, clock: Clock): Restorer {
  return {
    async restore(path: DepotPath, signal: AbortSignal): Promise<RestoreReply> {
      for (let attempt = 1;; attempt++) {
        const reply = await ask(socketPath, path, signal);
        const isBusy = reply.kind === "failed" && reply.code === "BUSY";
        if (!isBusy || attempt > BUSY_RETRIES) return reply;
        await clock.sleep(BUSY_DELAY_MS, signal);
      }
    },
  };
}

async function ask(
  socketPath: string,
  path: DepotPath,
  signal: AbortSignal,
): Promise<RestoreReply> {
  signal.throwIfAborted();
  const connection = await Deno.connect({ transport: "unix", path: socketPath });
  const close = (): void => connection.close();
  signal.addEventListener("abort", close, { once: true });
  try {
    const request = bytesOf(`${encodeShimRequest("FETCH", path)}\n`);
    for (let at = 0; at < request.length;) {
      at += await connection.write(request.subarray(at));
    }
    for await (const line of linesOf(connection)) {
      const reply = parseShimReply(line);
      if (reply.kind === "ok") return { kind: "restored", sizeBytes: reply.sizeBytes };
      if (reply.kind !== "error") continue;
      if (reply.code === "NOTFOUND") return { kind: "missing" };
      return { kind: "failed", code: reply.code, why: reply.text };
    }
    const why = "the daemon closed the connection";
    return { kind: "failed", code: "UNAVAILABLE", why };
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener("abort", close);
    if (!signal.aborted) connection.close();
  }
}

async function* linesOf(connection: Deno.Conn): AsyncGenerator<string> {
  const buffer = new Uint8Array(LINE_BYTES_MAX);
  let held = "";
  for (;;) {
    const count = await connection.read(buffer);
    if (count === null) return;
    held += new TextDecoder().decode(buffer.subarray(0, count));
    for (let lf = held.indexOf("\n"); lf >= 0; lf = held.indexOf("\n")) {
      yield held.slice(0, lf);
      held = held.slice(lf + 1);
    }
    if (held.length > LINE_BYTES_MAX) return;
  }
}
