/**
 * Answers the shim: takes requests from the gate, asks the engine, and writes the reply
 * lines of docs/protocol.md.
 *
 * @module
 */

import { type DepotPath, depotPathOrNull, isManaged } from "../core/names.ts";
import { unreachable } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import type { Engine } from "../engine/engine.ts";
import { RestoreError } from "../engine/restore_error.ts";
import type { EngineSettings } from "../engine/engine_context.ts";
import type { Gate, GateRequest } from "../gate/gate.ts";
import type { Logger } from "../obs/logger.ts";
import type { Metrics } from "../obs/metrics.ts";

/** A WAIT line at least this often: it extends the shim's deadline. */
const WAIT_MS = 2_000;

/** A reason of our own: the default one is an error, with a stack, for each request. */
const ANSWERED = Symbol("answered");

/** Reply codes of the protocol that the daemon itself gives. */
type ReplyCode = "NOTFOUND" | "DENIED" | "CORRUPT" | "UNAVAILABLE" | "FULL" | "QUOTA";

export interface ShimServerDeps {
  readonly engine: Engine;
  readonly settings: () => EngineSettings;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Aborted when the daemon stops. */
  readonly signal: AbortSignal;
}

/** The WAIT lines of one gate's FETCHes: nobody reads those of a peer that has left. */
export class Waits {
  readonly #ended = new Map<number, AbortController>();

  constructor(readonly gate: Gate) {}

  /** Aborts when no more WAIT lines are wanted. */
  begin(id: number): AbortSignal {
    const ended = new AbortController();
    this.#ended.set(id, ended);
    return ended.signal;
  }

  /** The FETCH is answered, or its peer has left. */
  end(id: number): void {
    this.#ended.get(id)?.abort(ANSWERED);
    this.#ended.delete(id);
  }

  /** The gate has ended, and all its peers are gone. */
  endAll(): void {
    for (const id of [...this.#ended.keys()]) this.end(id);
  }
}

/**
 * Answers one request, whatever happens: no request is left without its last line, also where its
 * peer has left, which frees its place in the gate; but those that fail because the daemon stops.
 * Their shims wait for the next daemon.
 */
export async function answer(
  deps: ShimServerDeps,
  waits: Waits,
  request: GateRequest,
): Promise<void> {
  const { op, id } = request;
  let line: string;
  try {
    line = await replyTo(deps, waits, request);
  } catch (error) {
    line = errorLine(error);
    if (!(error instanceof RestoreError)) {
      const message = error instanceof Error ? error.message : String(error);
      deps.log.error(`cannot answer a ${op}: ${message}`);
    }
  }
  if (deps.signal.aborted && !line.startsWith("OK")) return;
  const code = line.startsWith("OK") ? "OK" : line.split(" ")[1] ?? "UNAVAILABLE";
  deps.metrics.count("p4cache_shim_requests_total", { op, code: code as "OK" });
  waits.gate.reply(id, line);
}

function replyTo(
  deps: ShimServerDeps,
  waits: Waits,
  request: GateRequest,
): Promise<string> | string {
  const path = depotPathOrNull(request.path);
  if (path === null || !(isManaged(path, deps.settings().manage) || isOwed(deps, path))) {
    return errLine("NOTFOUND", "not a managed name");
  }
  switch (request.op) {
    case "FETCH":
      return fetch(deps, waits, request, path);
    case "STAT":
      return stat(deps, path);
    case "DELETE":
      return remove(deps, request, path);
    default:
      return unreachable(request.op);
  }
}

/** Evicted while `manage` took its name: it has no other way back. */
function isOwed({ engine }: ShimServerDeps, path: DepotPath): boolean {
  return engine.isMarker(path);
}

async function fetch(
  { engine, clock }: ShimServerDeps,
  waits: Waits,
  { id, uid, pid }: GateRequest,
  path: DepotPath,
): Promise<string> {
  let done = 0;
  let total = 0;
  const ended = waits.begin(id);
  const keepWaiting = async (): Promise<void> => {
    while (!ended.aborted) {
      await clock.sleep(WAIT_MS, ended).catch(() => {});
      if (!ended.aborted) waits.gate.wait(id, `WAIT ${done} ${total}`);
    }
  };
  const waiting = keepWaiting();
  try {
    const sizeBytes = await new Promise<number>((resolve, reject) => {
      // What fails after it is readable is the engine's to log: this peer has its file.
      engine.restore(path, {
        client: { uid, pid },
        onReadable: resolve,
        onProgress: (doneBytes, totalBytes) => {
          [done, total] = [doneBytes, totalBytes];
        },
      }).then((restored) => resolve(restored.sizeBytes), reject);
    });
    return `OK ${sizeBytes}`;
  } finally {
    waits.end(id);
    await waiting;
  }
}

async function stat({ engine }: ShimServerDeps, path: DepotPath): Promise<string> {
  const answer = await engine.stat(path);
  if (answer === null) return errLine("NOTFOUND", "no such file");
  const { sizeBytes, mtimeNs, mode, uid, gid } = answer.stat;
  const where = answer.resident ? "resident" : "evicted";
  return `OK ${sizeBytes} ${mtimeNs} ${mode.toString(8)} ${uid} ${gid} ${where}`;
}

async function remove(
  { engine, settings }: ShimServerDeps,
  { uid, gid }: GateRequest,
  path: DepotPath,
): Promise<string> {
  if (settings().readOnly) return errLine("DENIED", "this daemon is read_only");
  const outcome = await engine.delete(path, { uid, gid });
  switch (outcome) {
    case "deleted":
    case "kept":
      return "OK 0";
    case "unknown":
      return errLine("NOTFOUND", "no such file");
    case "refused":
      return errLine("DENIED", "this user may not remove a name from its directory");
    default:
      return unreachable(outcome);
  }
}

function errorLine(error: unknown): string {
  if (error instanceof RestoreError) return errLine(error.fault, error.message);
  return errLine("UNAVAILABLE", error instanceof Error ? error.message : String(error));
}

/** One line for people: ASCII, without line feeds, short enough for the shim's buffer. */
function errLine(code: ReplyCode, why: string): string {
  return `ERR ${code} ${why.replace(/[^\x20-\x7e]+/g, "?").slice(0, 400)}`;
}
