/**
 * Drives p4-cache-gate: requests and access events of allowed peers in, answers out.
 *
 * A gate that ends is not started again here. Its peers see their connections close, and ask
 * the next gate; answers to requests of the old one must not be sent to the new one, whose ids
 * mean others.
 *
 * @module
 */

import { assert } from "../core/assert.ts";
import { type Clock, SYSTEM_CLOCK } from "../core/clock.ts";
import type { BytePath } from "../core/names.ts";
import {
  ALLOWED_UIDS_MAX,
  encodeGateCommand,
  type GateMessage,
  type GateReady,
  parseGateMessage,
} from "../wire/gate_message.ts";
import {
  argumentOf,
  HelperError,
  type HelperErrorOptions,
  type HelperFault,
  HelperProcess,
} from "../wire/helper_process.ts";

export type {
  GateAccess,
  GateControl,
  GateCount,
  GateCounter,
  GateGone,
  GateMessage,
  GateRequest,
} from "../wire/gate_message.ts";

/** Why nobody listens for the shim. */
export class GateError extends HelperError {
  override readonly name = "GateError";
}

export interface GateOptions {
  /** `p4-cache-gate`. */
  readonly helperPath: string;
  /** Absolute, of any length up to PATH_MAX; the last name at most 103 bytes. */
  readonly shimSock: BytePath;
  readonly accessSock: BytePath;
  /** Of both sockets, such as `0o660`. */
  readonly socketMode: number;
  /** At most 256. Nobody else is served, root neither. */
  readonly allowUids: readonly number[];
  /** How many FETCHes may wait for an answer here: 1 to 32,768. As many wait in the gate. */
  readonly requestsMax: number;
  /** How long a peer may take for its line. Default 5,000. */
  readonly lineTimeoutMs?: number;
  /** The gate's standard error, line by line. Default: ignored. */
  readonly onStderrLine?: (line: string) => void;
  readonly clock?: Clock;
  /** Ends the waiting for a helper that does not say that it works, and the helper. */
  readonly signal?: AbortSignal;
}

/**
 * The messages, once. Iterating ends after {@linkcode Gate.close}, and throws a
 * {@linkcode GateError} when the helper ended by itself.
 */
export interface Gate extends AsyncIterable<GateMessage> {
  /** The last line of a request, without a line feed. A peer that has left is passed over. */
  reply(id: number, line: string): void;
  /** A WAIT line. One that the peer is too slow to take is left out. */
  wait(id: number, line: string): void;
  /** Who may ask from now on. Connections that are open stay. */
  allow(uids: readonly number[]): void;
  /** Answers that were given are delivered, the sockets removed. Idempotent. */
  close(): Promise<void>;
}

/**
 * Resolves when both sockets are there.
 *
 * @throws {GateError} @throws The signal's reason.
 */
export async function openGate(options: GateOptions): Promise<Gate> {
  const { helperPath, onStderrLine = () => {}, clock = SYSTEM_CLOCK } = options;
  const helper = new HelperProcess<GateReady | GateMessage>({
    helperPath,
    args: argumentsOf(options),
    parse: parseGateMessage,
    onStderrLine,
    errorOf: gateError,
    clock,
  });
  const first = await helper.first(options.signal);
  if (first?.t !== "ready") {
    await helper.close();
    throw gateError("garbled", `"${helperPath}" did not begin with "ready"`);
  }
  return {
    reply: (id, line) => helper.send(encodeGateCommand({ t: "last", id, line })),
    wait: (id, line) => helper.send(encodeGateCommand({ t: "line", id, line })),
    allow: (uids) => helper.send(encodeGateCommand({ t: "allow", uids: checked(uids) })),
    close: () => helper.close(),
    [Symbol.asyncIterator]: () => messagesOf(helper),
  };
}

async function* messagesOf(
  helper: HelperProcess<GateReady | GateMessage>,
): AsyncGenerator<GateMessage> {
  for await (const message of helper) {
    if (message.t !== "ready") yield message;
  }
}

function argumentsOf(options: GateOptions): string[] {
  const args = [
    "--shim-sock",
    socketArgument(options.shimSock),
    "--access-sock",
    socketArgument(options.accessSock),
    "--socket-mode",
    options.socketMode.toString(8).padStart(4, "0"),
    "--max-requests",
    String(options.requestsMax),
  ];
  if (options.lineTimeoutMs !== undefined) {
    args.push("--line-timeout-ms", String(options.lineTimeoutMs));
  }
  for (const uid of checked(options.allowUids)) args.push("--allow-uid", String(uid));
  return args;
}

function socketArgument(path: BytePath): string {
  const argument = argumentOf(path);
  if (argument === null) {
    throw gateError("not-started", `Cannot bind "${path}": its path is not UTF-8`);
  }
  return argument;
}

function checked(uids: readonly number[]): readonly number[] {
  assert(uids.length <= ALLOWED_UIDS_MAX, "the configuration bounds the allowed users");
  return uids;
}

function gateError(
  fault: HelperFault,
  message: string,
  options?: HelperErrorOptions,
): GateError {
  return new GateError(fault, message, options);
}
