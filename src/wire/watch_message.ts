/**
 * What p4-cache-fanotify says.
 *
 * Every event is a hint that something may have changed under a name: a fresh lstat decides.
 * Events of one name that wait in the kernel are merged, so an event may stand for several of
 * its kind, and for later ones than its place in the order says.
 *
 * Paths are relative to the first root, one character per byte, not yet checked as depot
 * paths.
 *
 * @module
 */

import { Members } from "./json_lines.ts";

/**
 * How the writer's uid is known: from the process, held by a descriptor (`pidfd`) or by its
 * number only (`proc`); from the file, as the process had ended (`owner`); or not: others than
 * the owner may write the file, too (`other`), or it is gone, and an event that says so follows
 * (`none`).
 */
export type WriterAuth = "pidfd" | "proc" | "owner" | "other" | "none";

interface Writer {
  readonly pid: number;
  /** Effective uid of the writer; null with `other` and `none` alone. */
  readonly uid: number | null;
  readonly auth: WriterAuth;
}

/** A file was closed after writing. */
export interface CloseEvent extends Writer {
  readonly t: "close";
  readonly path: string;
}

/**
 * A file or directory has another name. A side outside the depot is null; so is the `from` of
 * a name that link(2) made. Before Linux 5.17 (`rename: false`) each side comes as an event of
 * its own, the other null.
 */
export interface MoveEvent extends Writer {
  readonly t: "move";
  readonly from: string | null;
  readonly to: string | null;
  /** What was renamed; null where it is gone by now, and before Linux 5.17. */
  readonly ino: bigint | null;
  readonly dir: boolean;
  /** Known to be neither a file nor a directory nor a socket, as a marker is. */
  readonly other: boolean;
}

/**
 * A name was removed. When whole trees are, names whose directory was already gone when the
 * event was read are left out: that of the directory stands for them.
 */
export interface DeleteEvent extends Writer {
  readonly t: "delete";
  readonly path: string;
  readonly dir: boolean;
}

/** The kernel's queue was full: any number of events are missing. */
export interface OverflowEvent {
  readonly t: "overflow";
}

/** One event could not be given a name. */
export interface LostEvent {
  readonly t: "lost";
  readonly why: string;
}

export type WatchEvent =
  | CloseEvent
  | MoveEvent
  | DeleteEvent
  | OverflowEvent
  | LostEvent;

/** The first line: from here on events are seen. */
export interface WatchReady {
  readonly t: "ready";
  /** `content`: only closes are seen, because the kernel or the file system is too old. */
  readonly mode: "fid" | "content";
  /** Whether both sides of a rename come in one event. */
  readonly rename: boolean;
  readonly pidfd: boolean;
}

/** The last line of a helper that cannot go on. */
export interface HelperFatal {
  readonly t: "fatal";
  /** Such as `EPERM`. */
  readonly code: string;
  readonly why: string;
}

export type WatchMessage = WatchReady | WatchEvent | HelperFatal;

const KINDS = [
  "ready",
  "close",
  "move",
  "delete",
  "overflow",
  "lost",
  "fatal",
] as const;
const AUTHS = ["pidfd", "proc", "owner", "other", "none"] as const;

/** @throws {WireError} If the line is not one of a helper of this build. */
export function parseWatchMessage(line: string): WatchMessage {
  const m = new Members(line);
  const t = m.oneOf("t", KINDS);
  switch (t) {
    case "ready":
      return {
        t,
        mode: m.oneOf("mode", ["fid", "content"]),
        rename: m.flag("rename"),
        pidfd: m.flag("pidfd"),
      };
    case "close":
      return { t, path: m.text("path"), ...writerOf(m) };
    case "move":
      return {
        t,
        from: m.textOrNull("from"),
        to: m.textOrNull("to"),
        ino: inodeOf(m.textOrNull("ino")),
        dir: m.flag("dir"),
        other: m.flag("other"),
        ...writerOf(m),
      };
    case "delete":
      return { t, path: m.text("path"), dir: m.flag("dir"), ...writerOf(m) };
    case "overflow":
      return { t };
    case "lost":
      return { t, why: m.text("why") };
    case "fatal":
      return { t, code: m.text("code"), why: m.text("why") };
  }
}

function inodeOf(text: string | null): bigint | null {
  return text !== null && /^\d{1,20}$/.test(text) ? BigInt(text) : null;
}

function writerOf(m: Members): Writer {
  const auth = m.oneOf("auth", AUTHS);
  const isUnknown = auth === "other" || auth === "none";
  const uid = isUnknown ? m.countOrNull("uid") : m.count("uid");
  return { pid: m.count("pid"), uid, auth };
}
