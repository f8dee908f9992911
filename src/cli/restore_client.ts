/**
 * Asks a running daemon to restore files, as the shim does: one connection a request.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import type { DepotPath } from "../core/names.ts";
import { encodeShimRequest, parseShimReply } from "../wire/shim_protocol.ts";
import { unreachableBy } from "./control_client.ts";
import { linesOfAnswer } from "./daemon_connection.ts";

/** What the daemon answered. */
export type RestoreReply =
  | { readonly kind: "restored"; readonly sizeBytes: number }
  | { readonly kind: "missing" }
  | { readonly kind: "failed"; readonly code: string; readonly why: string };

export interface Restorer {
  /** @throws If the daemon cannot be reached, or answers something else. */
  restore(path: DepotPath, signal: AbortSignal): Promise<RestoreReply>;
}

const BUSY_RETRIES = 20;
const BUSY_DELAY_MS = 250;

/** @param socketPath The daemon's shim.sock. */
export function restorerAt(socketPath: string, clock: Clock): Restorer {
  return {
    async restore(path: DepotPath, signal: AbortSignal): Promise<RestoreReply> {
      for (let attempt = 1;; attempt++) {
        const reply = await askOrSayWhy(socketPath, path, signal);
        const isBusy = reply.kind === "failed" && reply.code === "BUSY";
        if (!isBusy || attempt > BUSY_RETRIES) return reply;
        await clock.sleep(BUSY_DELAY_MS, signal);
      }
    },
  };
}

/** @throws {StartError} If nobody listens, or not to us. */
async function askOrSayWhy(
  socketPath: string,
  path: DepotPath,
  signal: AbortSignal,
): Promise<RestoreReply> {
  try {
    return await ask(socketPath, path, signal);
  } catch (error) {
    throw unreachableBy(error, socketPath);
  }
}

async function ask(
  socketPath: string,
  path: DepotPath,
  signal: AbortSignal,
): Promise<RestoreReply> {
  const request = encodeShimRequest("FETCH", path);
  for await (const line of linesOfAnswer(socketPath, request, signal)) {
    const reply = parseShimReply(line);
    if (reply.kind === "ok") return { kind: "restored", sizeBytes: reply.sizeBytes };
    if (reply.kind !== "error") continue;
    if (reply.code === "NOTFOUND") return { kind: "missing" };
    return { kind: "failed", code: reply.code, why: reply.text };
  }
  const why = "the daemon closed the connection";
  return { kind: "failed", code: "UNAVAILABLE", why };
}
