/**
 * Gives a running daemon an operator's command, and makes what it cannot do an exit status.
 *
 * @module
 */

import { loadConfig } from "../config/load_config.ts";
import type { Config } from "../config/key_table.ts";
import { EXIT, type ExitStatus, StartError } from "../daemon/start_error.ts";
import {
  type ControlRequest,
  encodeControlRequest,
  parseControlReply,
} from "../wire/control.ts";
import type { Members } from "../wire/json_lines.ts";
import { UsageError } from "./command.ts";
import { linesOfAnswer } from "./daemon_connection.ts";

export type OnControlProgress = (done: number, total: number) => void;

export interface ControlClient {
  readonly config: Config;
  /** Resolves with the answer. @throws {StartError} */
  ask(request: ControlRequest, onProgress?: OnControlProgress): Promise<Members>;
}

/** The daemon of a configuration. It is first asked by {@linkcode ControlClient.ask}. */
export function controlOf(configPath: string, signal: AbortSignal): ControlClient {
  const config = loadConfig(configPath);
  const socketPath = shimSocketOf(config);
  return {
    config,
    async ask(request, onProgress = () => {}): Promise<Members> {
      const line = encodeControlRequest(request);
      if (line === null) throw new UsageError("the path is too long for a command");
      try {
        for await (const text of linesOfAnswer(socketPath, line, signal)) {
          const reply = parseControlReply(text);
          if (reply.kind === "ok") return reply.answer;
          if (reply.kind === "error") throw failure(reply.code, reply.why);
          onProgress(reply.done, reply.total);
        }
      } catch (error) {
        throw unreachableBy(error, socketPath);
      }
      throw new StartError(
        EXIT.incomplete,
        "the daemon ended before it answered: see its log",
      );
    },
  };
}

export function shimSocketOf(config: Config): string {
  return `${config.depotPath.replace(/\/+$/, "")}/.p4cache/shim.sock`;
}

const STATUS_OF_CODE: Readonly<Record<string, ExitStatus>> = {
  CONFIG: EXIT.configuration,
  DENIED: EXIT.denied,
  UNAVAILABLE: EXIT.storeUnavailable,
};

function failure(code: string, why: string): StartError {
  const isOlder = code === "BADREQ" && why.startsWith("not a request");
  return new StartError(
    STATUS_OF_CODE[code] ?? EXIT.incomplete,
    isOlder ? "the running daemon is older and does not know this command" : why,
  );
}

/** Whether `error` says that no daemon listens, and nothing else is wrong. */
export function isNobodyThere(error: unknown): boolean {
  return error instanceof StartError &&
    (error.cause instanceof Deno.errors.NotFound ||
      error.cause instanceof Deno.errors.ConnectionRefused);
}

/** What a failed connection means. Anything else stays what it is. */
export function unreachableBy(error: unknown, socketPath: string): unknown {
  if (!(error instanceof Error)) return error;
  const isNobody = error instanceof Deno.errors.NotFound ||
    error instanceof Deno.errors.ConnectionRefused;
  if (isNobody) {
    return new StartError(
      EXIT.incomplete,
      `No daemon listens on ${socketPath}: start it, or correct --config`,
      { cause: error },
    );
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return new StartError(
      EXIT.denied,
      `May not connect to ${socketPath}: run as root or as the user that p4-cache runs as`,
      { cause: error },
    );
  }
  return error;
}
