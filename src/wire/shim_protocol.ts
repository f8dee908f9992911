/**
 * The lines between the shim and the daemon, as docs/protocol.md has them: one request, any
 * number of WAIT lines, one last line. Here without their line feeds.
 *
 * @module
 */

import { WireError } from "./wire_error.ts";

export type ShimOperation = "FETCH" | "STAT" | "DELETE";

/** Why a request is refused. BUSY, BADREQ and RESERVED are the gate's as well. */
export type ShimErrorCode =
  | "NOTFOUND" //    neither the manifest nor the store has it
  | "DENIED" //      this user may not
  | "CORRUPT" //     what the store has is not what was stored
  | "UNAVAILABLE" // the store cannot be reached, or the daemon is ending
  | "FULL" //        no room to restore into
  | "QUOTA" //       a recall limit of the day is reached
  | "BUSY" //        ask again
  | "BADREQ" //      not a request
  | "RESERVED"; //   the daemon's own directory

/** One line of a reply. */
export type ShimReply =
  | { readonly kind: "wait"; readonly doneBytes: number; readonly totalBytes: number }
  | { readonly kind: "ok"; readonly sizeBytes: number }
  | { readonly kind: "stat"; readonly stat: ShimStat }
  | { readonly kind: "error"; readonly code: ShimErrorCode; readonly text: string };

/** What a plain stat() would say. */
export interface ShimStat {
  readonly sizeBytes: number;
  readonly mtimeNs: bigint;
  /** Permission bits, 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly isResident: boolean;
}

/** One line. `text` of an error may hold anything: the gate's command makes it one line. */
export function encodeShimReply(reply: ShimReply): string {
  switch (reply.kind) {
    case "wait":
      return `WAIT ${reply.doneBytes} ${reply.totalBytes}`;
    case "ok":
      return `OK ${reply.sizeBytes}`;
    case "stat": {
      const { sizeBytes, mtimeNs, mode, uid, gid, isResident } = reply.stat;
      return `OK ${sizeBytes} ${mtimeNs} ${mode.toString(8)} ${uid} ${gid} ` +
        (isResident ? "resident" : "evicted");
    }
    case "error":
      return `ERR ${reply.code} ${reply.text}`;
  }
}

const WAIT = /^WAIT (\d{1,15}) (\d{1,15})$/;
const OK = /^OK (\d{1,15})$/;
const STAT =
  /^OK (\d{1,15}) (-?\d{1,19}) ([0-7]{1,4}) (\d{1,10}) (\d{1,10}) (resident|evicted)$/;
const ERROR =
  /^ERR (NOTFOUND|DENIED|CORRUPT|UNAVAILABLE|FULL|QUOTA|BUSY|BADREQ|RESERVED) (.*)$/s;

/** The inverse of {@linkcode encodeShimReply}. @throws {WireError} */
export function parseShimReply(line: string): ShimReply {
  const wait = WAIT.exec(line);
  if (wait !== null) {
    return { kind: "wait", doneBytes: Number(wait[1]), totalBytes: Number(wait[2]) };
  }
  const ok = OK.exec(line);
  if (ok !== null) return { kind: "ok", sizeBytes: Number(ok[1]) };
  const stat = STAT.exec(line);
  if (stat !== null) return { kind: "stat", stat: statOf(stat) };
  const error = ERROR.exec(line);
  if (error === null) throw new WireError(line, "it is no reply of P4CACHE/1");
  return { kind: "error", code: error[1] as ShimErrorCode, text: error[2]! };
}

function statOf(fields: RegExpExecArray): ShimStat {
  return {
    sizeBytes: Number(fields[1]),
    mtimeNs: BigInt(fields[2]!),
    mode: parseInt(fields[3]!, 8),
    uid: Number(fields[4]),
    gid: Number(fields[5]),
    isResident: fields[6] === "resident",
  };
}

/** A request, for tools that ask the daemon as the shim does. `path`: one character per byte. */
export function encodeShimRequest(op: ShimOperation, path: string): string {
  return `P4CACHE/1 ${op} ${path}`;
}
