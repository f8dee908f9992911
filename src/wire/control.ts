/**
 * The operator's commands to a running daemon, as docs/protocol.md has them: one JSON object
 * after CONTROL, and one after the last OK. Paths in them are depot paths, one character per
 * byte; everything else is ordinary text.
 *
 * @module
 */

import { assert } from "../core/assert.ts";
import { REPLY_BYTES_MAX } from "./gate_message.ts";
import { Members } from "./json_lines.ts";
import { WireError } from "./wire_error.ts";

/** `selection`: a file, else a directory, else ("") everything. */
export type ControlRequest =
  | { readonly op: "status" }
  | {
    readonly op: "evict" | "migrate";
    readonly selection: string;
    readonly dryRun: boolean;
  }
  | {
    readonly op: "pin";
    readonly selection: string;
    readonly pinned: boolean;
    readonly dryRun: boolean;
  }
  | {
    readonly op: "undelete" | "accept" | "restore";
    readonly path: string;
    readonly dryRun: boolean;
  }
  /** One page of the list; `cursor` is null, or what the page before gave as `next`. */
  | { readonly op: "conflicts"; readonly cursor: string | null }
  | { readonly op: "retry"; readonly dryRun: boolean }
  | { readonly op: "drain"; readonly wait: boolean };

const OPERATIONS = [
  "status",
  "evict",
  "migrate",
  "pin",
  "undelete",
  "accept",
  "restore",
  "conflicts",
  "retry",
  "drain",
] as const;

const PREFIX = "P4CACHE/1 CONTROL ";

/** The gate's bound of a line, less its line feed. */
const REQUEST_BYTES_MAX = 4_607;

/** The line without its line feed. Null if it would be too long: only a path can be. */
export function encodeControlRequest(request: ControlRequest): string | null {
  const line = PREFIX + JSON.stringify(request);
  return line.length <= REQUEST_BYTES_MAX ? line : null;
}

/** @param text The JSON object. @throws {WireError} */
export function parseControlRequest(text: string): ControlRequest {
  const m = new Members(text);
  const op = m.oneOf("op", OPERATIONS);
  switch (op) {
    case "status":
      return { op };
    case "evict":
    case "migrate":
      return { op, selection: m.text("selection"), dryRun: m.flag("dryRun") };
    case "pin":
      return {
        op,
        selection: m.text("selection"),
        pinned: m.flag("pinned"),
        dryRun: m.flag("dryRun"),
      };
    case "undelete":
    case "accept":
    case "restore":
      return { op, path: m.text("path"), dryRun: m.flag("dryRun") };
    case "conflicts":
      return { op, cursor: m.textOrNull("cursor") };
    case "retry":
      return { op, dryRun: m.flag("dryRun") };
    case "drain":
      return { op, wait: m.flag("wait") };
  }
}

/** The members of an answer. */
export type ControlAnswer = Readonly<Record<string, unknown>>;

/** The last line. An answer that is too long for a line is a bug: lists go in pages. */
export function encodeControlAnswer(answer: ControlAnswer): string {
  const line = `OK ${asciiOf(answer)}`;
  assert(line.length <= REPLY_BYTES_MAX, "an answer must fit a line");
  return line;
}

/**
 * How many of `items` fit the answer `{"items":[...],"next":...}`; at least one, which its
 * maker keeps small enough.
 */
export function fittingCount(items: readonly ControlAnswer[]): number {
  let room = REPLY_BYTES_MAX - PAGE_FRAME_BYTES;
  for (const [count, item] of items.entries()) {
    room -= asciiOf(item).length + 1;
    if (room < 0 && count > 0) return count;
  }
  return items.length;
}

/** `OK {"items":[],"next":"<20 digits>"}` and some. */
const PAGE_FRAME_BYTES = 100;

/** JSON that passes the gate unchanged: no character that it would take for a control. */
function asciiOf(value: ControlAnswer): string {
  return JSON.stringify(value).replace(
    /[\x7f-\uffff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

const WAIT = /^WAIT (\d{1,15}) (\d{1,15})$/;
const ERROR = /^ERR ([A-Z]{1,20}) (.*)$/;

export type ControlReply =
  | { readonly kind: "wait"; readonly done: number; readonly total: number }
  | { readonly kind: "ok"; readonly answer: Members }
  | { readonly kind: "error"; readonly code: string; readonly why: string };

/** One line of the daemon. @throws {WireError} */
export function parseControlReply(line: string): ControlReply {
  const wait = WAIT.exec(line);
  if (wait !== null) {
    return { kind: "wait", done: Number(wait[1]), total: Number(wait[2]) };
  }
  if (line.startsWith("OK ")) return { kind: "ok", answer: new Members(line.slice(3)) };
  const error = ERROR.exec(line);
  if (error === null) throw new WireError(line, "it is no reply of P4CACHE/1");
  return { kind: "error", code: error[1]!, why: error[2]! };
}
