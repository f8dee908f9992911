/**
 * Answers the operator's commands, which the gate passes on from root and the daemon's own
 * user only. What a command does is the engine's; here are its bounds, its answer and its
 * line in the log.
 *
 * A command whose client has gone is given up between two files.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import { type DepotPath, depotPathOrNull, displayPath } from "../core/names.ts";
import type { Engine } from "../engine/engine.ts";
import type { Verdict } from "../engine/verdict.ts";
import type { Gate, GateControl } from "../gate/gate.ts";
import type { Manifest, PathAndEntry } from "../manifest/manifest.ts";
import type { Logger } from "../obs/logger.ts";
import {
  type ControlAnswer,
  type ControlRequest,
  encodeControlAnswer,
  fittingCount,
  parseControlRequest,
} from "../wire/control.ts";
import { WireError } from "../wire/wire_error.ts";
import { messageOf } from "./state_directory.ts";

/** A client that hears nothing for longer cannot tell a slow daemon from a dead one. */
const WAIT_MS = 1_000;

/** Commands at a time: each holds one of the gate's places for requests of p4d. */
const COMMANDS_MAX = 16;

/** Rows looked at for one page of a list. */
const PAGE_ROWS = 64;

/** Lists that somebody may still go on with. */
const CURSORS_MAX = 256;

/** Longest path in a list, however its bytes are written; a longer one is cut. */
const LISTED_PATH_MAX = 600;

export interface ControlDeps {
  readonly engine: Engine;
  readonly manifest: Manifest;
  readonly isReadOnly: () => boolean;
  readonly hasSecondary: boolean;
  readonly status: () => Promise<ControlAnswer>;
  /** Whether every write before the call is in the manifest, as far as can be told at once. */
  readonly isCaughtUp: () => Promise<boolean>;
  /** Resolves when every write before the call is in the manifest; false if it cannot be told. */
  readonly catchUp: (signal: AbortSignal) => Promise<boolean>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** The command cannot be done now, or (CONFIG) not by a daemon that is configured so. */
class CommandError extends Error {
  override readonly name = "CommandError";
  readonly code: "BADREQ" | "CONFIG" | "BUSY";

  constructor(code: CommandError["code"], message: string) {
    super(message);
    this.code = code;
  }
}

type ControlSelection = { readonly selection: string; readonly dryRun: boolean };

interface Running {
  readonly signal: AbortSignal;
  progress(done: number, total: number): void;
}

export class ControlServer {
  readonly #deps: ControlDeps;
  readonly #running = new Map<number, AbortController>();
  /** Where lists go on: the last row of a page, by the name that its client got. */
  readonly #cursors = new Map<string, PathAndEntry>();
  #nextCursor = 1;

  constructor(deps: ControlDeps) {
    this.#deps = deps;
  }

  /** The client of a command has left. */
  gone(id: number): void {
    this.#running.get(id)?.abort(new Error("the client has left"));
  }

  /** The gate has ended, and all clients with it. */
  allGone(): void {
    for (const id of this.#running.keys()) this.gone(id);
  }

  /** Answers, whatever happens. */
  async answer(gate: Gate, { id, text, uid, pid }: GateControl): Promise<void> {
    if (this.#running.size >= COMMANDS_MAX) {
      return gate.reply(id, "ERR BUSY too many commands at a time");
    }
    const ended = new AbortController();
    this.#running.set(id, ended);
    try {
      const request = parseControlRequest(text);
      this.#audit(request, { uid, pid });
      const answer = await this.#withProgress(gate, id, ended.signal, request);
      gate.reply(id, encodeControlAnswer(answer));
    } catch (error) {
      // Also where nobody reads it: with the last line its place is free.
      const isLeft = ended.signal.aborted;
      gate.reply(id, isLeft ? "ERR BUSY the client has left" : this.#errorLine(error));
    } finally {
      ended.abort();
      this.#running.delete(id);
    }
  }

  #errorLine(error: unknown): string {
    if (error instanceof WireError) return `ERR BADREQ ${error.message}`;
    if (error instanceof CommandError) return `ERR ${error.code} ${error.message}`;
    if (error instanceof Error && error.name === "InvariantError") throw error;
    if (this.#deps.signal.aborted) return "ERR BUSY the daemon is stopping";
    this.#deps.log.error(`a command failed: ${messageOf(error)}`);
    return `ERR UNAVAILABLE ${messageOf(error)}`;
  }

  /** Whoever changes something by hand is on record. */
  #audit(request: ControlRequest, who: { uid: number; pid: number }): void {
    if (request.op === "status" || request.op === "conflicts") return;
    const { op, ...rest } = request;
    const facts = Object.fromEntries(
      Object.entries(rest).map(([name, value]) => [
        name,
        typeof value === "string" ? displayPath(value) : value,
      ]),
    );
    this.#deps.log.info("an operator's command", { op, ...facts, ...who });
  }

  async #withProgress(
    gate: Gate,
    id: number,
    signal: AbortSignal,
    request: ControlRequest,
  ): Promise<ControlAnswer> {
    const { clock } = this.#deps;
    let [done, total] = [0, 0];
    const finished = new AbortController();
    const telling = (async (): Promise<void> => {
      for (;;) {
        await clock.sleep(WAIT_MS, finished.signal);
        gate.wait(id, `WAIT ${done} ${total}`);
      }
    })().catch(() => {});
    try {
      return await this.#run(request, {
        signal: AbortSignal.any([signal, this.#deps.signal]),
        progress: (nowDone, nowTotal) => void ([done, total] = [nowDone, nowTotal]),
      });
    } finally {
      finished.abort();
      await telling;
    }
  }

  #run(request: ControlRequest, running: Running): Promise<ControlAnswer> {
    switch (request.op) {
      case "status":
        return this.#deps.status();
      case "conflicts":
        return Promise.resolve(this.#conflicts(request.cursor));
      case "evict":
        return this.#evict(request, running);
      case "migrate":
        return this.#migrate(request, running);
      case "pin":
        return this.#pin(request, running);
      case "undelete":
      case "accept":
      case "restore":
        return this.#onFile(request);
      case "retry":
        return this.#retry(request);
      case "drain":
        return this.#drain(request, running);
    }
  }

  #mayChange(): void {
    if (!this.#deps.isReadOnly()) return;
    throw new CommandError("CONFIG", "this daemon is read_only");
  }

  /** Whether it has everything can tell only who watches the depot, or has looked at it. */
  #mayKnow(): void {
    if (!this.#deps.isReadOnly()) return;
    throw new CommandError(
      "CONFIG",
      "this daemon is read_only: it neither watches the depot nor uploads, and cannot tell " +
        "what the store does not have",
    );
  }

  async #evict(
    { selection, dryRun }: ControlSelection,
    { signal, progress }: Running,
  ): Promise<ControlAnswer> {
    this.#mayChange();
    const all = this.#fileCount();
    const { kept, ...report } = await this.#deps.engine.evictSelected({
      selection,
      dryRun,
      signal,
      onProgress: (done) => progress(done, selection === "" ? all : 0),
    });
    return { ...report, ...prefixed("kept", kept) };
  }

  async #migrate(
    { selection, dryRun }: ControlSelection,
    { signal, progress }: Running,
  ): Promise<ControlAnswer> {
    this.#mayChange();
    const { engine, hasSecondary } = this.#deps;
    if (!hasSecondary) {
      throw new CommandError("CONFIG", "this daemon has no secondary store to copy from");
    }
    const all = selection === "" ? this.#fileCount() : 0;
    const { objects, copiedBytes } = await engine.migrate({
      selection,
      dryRun,
      signal,
      onProgress: (done) => progress(Math.min(done, all), all),
    });
    return { ...suffixed("Objects", objects), copiedBytes };
  }

  #fileCount(): number {
    const { cleanFiles, dirtyFiles, uploadingFiles } = this.#deps.manifest.counters();
    return cleanFiles + dirtyFiles + uploadingFiles;
  }

  async #pin(
    { selection, pinned, dryRun }: Extract<ControlRequest, { op: "pin" }>,
    { signal }: Running,
  ): Promise<ControlAnswer> {
    this.#mayChange();
    const { engine } = this.#deps;
    return { ...await engine.pinSelected({ selection, pinned, dryRun, signal }) };
  }

  async #onFile(
    { op, path: text, dryRun }: Extract<ControlRequest, { path: string }>,
  ): Promise<ControlAnswer> {
    this.#mayChange();
    const path = depotPathOrNull(text);
    if (path === null) throw new CommandError("BADREQ", "that is no depot path");
    const { engine } = this.#deps;
    switch (op) {
      case "undelete":
        return answerOf(await engine.undelete(path, dryRun));
      case "accept":
        return answerOf(await engine.acceptLocal(path, dryRun));
      case "restore": {
        const verdict = await engine.restoreStored(path, dryRun);
        return verdict.isDone
          ? { ...answerOf(verdict), keptAs: verdict.keptAs }
          : answerOf(verdict);
      }
    }
  }

  async #retry(
    { dryRun }: Extract<ControlRequest, { op: "retry" }>,
  ): Promise<ControlAnswer> {
    this.#mayChange();
    const files = this.#deps.manifest.retryCount();
    if (!dryRun) await this.#deps.engine.retryFailed();
    return { files };
  }

  async #drain(
    { wait }: Extract<ControlRequest, { op: "drain" }>,
    { signal, progress }: Running,
  ): Promise<ControlAnswer> {
    this.#mayKnow();
    const { engine, isCaughtUp, catchUp } = this.#deps;
    const isKnown = wait ? await catchUp(signal) : await isCaughtUp();
    if (wait && !isKnown) {
      throw new CommandError(
        "BUSY",
        "the watcher reports nothing just now, or a scan of the depot fails: see the " +
          "daemon's log",
      );
    }
    if (wait) await engine.retryFailed();
    const state = await engine.drain({ wait, signal, onProgress: progress });
    // What the last scan has left says nothing of a write that nobody has told of since.
    return isKnown ? { ...state } : { ...state, isDrained: false, unprovenFiles: null };
  }

  #conflicts(cursor: string | null): ControlAnswer {
    const { manifest } = this.#deps;
    const after = cursor === null ? null : this.#cursors.get(cursor);
    if (after === undefined) {
      throw new CommandError("BADREQ", "the daemon started anew: list again");
    }
    const rows = manifest.conflicts(after, PAGE_ROWS);
    const items = rows.map(({ path, entry }) => this.#conflictOf(path, entry));
    const count = fittingCount(items);
    const isLast = count === rows.length && rows.length < PAGE_ROWS;
    const next = isLast ? null : this.#keepCursor(rows[count - 1]!);
    return { items: items.slice(0, count), next };
  }

  #conflictOf(path: DepotPath, entry: PathAndEntry["entry"]): ControlAnswer {
    const local = this.#deps.engine.localFile(path);
    // Cut by what it becomes in JSON: six characters for one that is not ASCII.
    const shownPath = path.length > LISTED_PATH_MAX
      ? path.slice(0, LISTED_PATH_MAX)
      : path;
    return {
      path: shownPath,
      isCut: shownPath.length < path.length,
      kind: entry.flags.foreign ? "foreign" : "conflict",
      localBytes: local?.sizeBytes ?? null,
      localMtimeMs: msOf(local?.mtimeNs),
      storedBytes: entry.stored?.sizeBytes ?? null,
      storedMtimeMs: msOf(entry.stored?.mtimeNs),
    };
  }

  #keepCursor(row: PathAndEntry): string {
    const name = String(this.#nextCursor++);
    this.#cursors.set(name, row);
    if (this.#cursors.size > CURSORS_MAX) {
      this.#cursors.delete(this.#cursors.keys().next().value!);
    }
    return name;
  }
}

function answerOf(verdict: Verdict): ControlAnswer {
  return verdict.isDone
    ? { isDone: true, why: null }
    : { isDone: false, why: verdict.why };
}

/** `dirty` of `kept` is `keptDirty`: answers are flat. */
function prefixed(
  prefix: string,
  counts: Readonly<Record<string, number>>,
): Record<string, number> {
  return Object.fromEntries(
    Object.entries(counts).map(([name, count]) => [
      `${prefix}${name[0]!.toUpperCase()}${name.slice(1)}`,
      count,
    ]),
  );
}

/** `copied` with "Objects" is `copiedObjects`. */
export function suffixed(
  suffix: string,
  counts: Readonly<Record<string, number>>,
): Record<string, number> {
  return Object.fromEntries(
    Object.entries(counts).map(([name, count]) => [name + suffix, count]),
  );
}

function msOf(ns: bigint | undefined): number | null {
  return ns === undefined ? null : Math.max(0, Number(ns / 1_000_000n));
}
