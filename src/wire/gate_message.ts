/**
 * What p4-cache-gate says, and what it is told.
 *
 * @module
 */

import { bytePathOf } from "../core/names.ts";
import { encodeJsonLine, Members } from "./json_lines.ts";
import type { ShimOperation } from "./shim_protocol.ts";
import type { HelperFatal } from "./watch_message.ts";

/** A whole request of an allowed peer. It is answered by one `reply` of its id. */
export interface GateRequest {
  readonly t: "req";
  /** Never used again by the same gate. */
  readonly id: number;
  readonly op: ShimOperation;
  /** Relative, no NUL, no empty, `.` or `..` segment, not the daemon's own; else unchecked. */
  readonly path: string;
  readonly uid: number;
  readonly gid: number;
  /** For logs: a child that inherits a connection keeps its parent's. */
  readonly pid: number;
}

/** An operator's command (control.ts), from root or the user that the gate runs as. */
export interface GateControl {
  readonly t: "control";
  /** As of a request, and answered alike. */
  readonly id: number;
  /** In braces, without NUL or line feed; else unread. One character per byte. */
  readonly text: string;
  readonly uid: number;
  readonly pid: number;
}

/** The peer of a request or command left before its last line. A DELETE counts all the same. */
export interface GateGone {
  readonly t: "gone";
  readonly id: number;
}

/** One datagram of an allowed sender. */
export interface GateAccess {
  readonly t: "access";
  readonly uid: number;
  readonly pid: number;
  /** One character per byte. */
  readonly data: string;
}

/** Something that the gate dealt with alone, `n` times since it last said so. */
export interface GateCount {
  readonly t: "count";
  readonly name: GateCounter;
  readonly n: number;
}

export type GateCounter = (typeof COUNTERS)[number];

export type GateMessage =
  | GateRequest
  | GateControl
  | GateGone
  | GateAccess
  | GateCount;

/** The first line: both sockets are there. */
export interface GateReady {
  readonly t: "ready";
}

const COUNTERS = [
  "rejected_peer", //     a peer whose uid is not allowed
  "legacy_unprefixed", // a request without a version
  "bad_request", //       BADREQ and RESERVED
  "access_rejected", //   a datagram whose sender's uid is not allowed
  "turned_away", //       BUSY: more of a user, or of all, than the gate holds
  "access_dropped", //    a datagram that was too long
  "timeout", //           a peer that did not send its line, or take the last one, in time
] as const;
const KINDS = ["ready", "req", "gone", "access", "count", "fatal"] as const;
const OPERATIONS = ["FETCH", "STAT", "DELETE", "CONTROL"] as const;

/** @throws {WireError} If the line is not one of a gate of this build. */
export function parseGateMessage(line: string): GateReady | GateMessage | HelperFatal {
  const m = new Members(line);
  const t = m.oneOf("t", KINDS);
  switch (t) {
    case "ready":
      return { t };
    case "req":
      return requestOf(m);
    case "gone":
      return { t, id: m.count("id") };
    case "access":
      return { t, uid: m.count("uid"), pid: m.count("pid"), data: m.text("data") };
    case "count":
      return { t, name: m.oneOf("name", COUNTERS), n: m.count("n") };
    case "fatal":
      return { t, code: m.text("code"), why: m.text("why") };
  }
}

function requestOf(m: Members): GateRequest | GateControl {
  const op = m.oneOf("op", OPERATIONS);
  const [id, uid, pid] = [m.count("id"), m.count("uid"), m.count("pid")];
  if (op === "CONTROL") return { t: "control", id, text: m.text("path"), uid, pid };
  return { t: "req", id, op, path: m.text("path"), uid, gid: m.count("gid"), pid };
}

/** `line`: more lines follow. `last`: the answer; the gate closes. `allow`: in place of the old. */
export type GateCommand =
  | { readonly t: "line" | "last"; readonly id: number; readonly line: string }
  | { readonly t: "allow"; readonly uids: readonly number[] };

/** What one line for the shim may have, without its line feed. */
export const REPLY_BYTES_MAX = 4_607;

/** The gate's own bound. */
export const ALLOWED_UIDS_MAX = 256;

/**
 * A command and its line feed. A line for the shim is made one: control characters become
 * spaces, characters above 255 their UTF-8 bytes, and what is too long is cut.
 */
export function encodeGateCommand(command: GateCommand): string {
  if (command.t === "allow") return encodeJsonLine({ ...command });
  return encodeJsonLine({ ...command, line: replyLineOf(command.line) });
}

function replyLineOf(text: string): string {
  return text
    .replace(/[\u0100-\uffff]+/g, bytePathOf)
    // deno-lint-ignore no-control-regex
    .replace(/[\x00-\x1f\x7f]/g, " ")
    .slice(0, REPLY_BYTES_MAX);
}
