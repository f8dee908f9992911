/**
 * Takes over the deletes that the shim could not report, from shim-failed-deletes.log.
 *
 * The file is renamed aside first, so that the shim begins a new one, and each record goes to
 * the ledger exactly once: the manifest keeps how far the file was taken over, and what a
 * crash put into the ledger before that was durable is found there by its mark.
 *
 * A record is a claim of whoever may write the file, not of the user whom it names. It deletes
 * only what a DELETE of each of them would have: a managed name that is absent on the disk, but
 * for a marker that was put back since, whose row is older than the record.
 *
 * @module
 */

import {
  type DepotPath,
  depotPathOrNull,
  displayPath,
  isManaged,
} from "../core/names.ts";
import { NotCaughtUpError } from "../engine/caught_up.ts";
import { type EngineContext, shown } from "../engine/engine_context.ts";
import { deleteFile, type DeleteOutcome, deleteRow } from "../engine/delete.ts";
import { type Deleter, mayDelete } from "../engine/may_delete.ts";
import { type FileEntry, ManifestError } from "../manifest/manifest.ts";
import { PosixError } from "../posix/posix.ts";
import { messageOf } from "./state_directory.ts";
import { type Line, linesOf } from "./failed_delete_lines.ts";
import { type FailedDelete, isOlder, parseFailedDelete } from "./failed_delete_record.ts";

const LOG_NAME = "shim-failed-deletes.log";
const DRAINING = `${LOG_NAME}.draining-`;
/** In the manifest's meta: the id of each file that is being taken over, and how far it was. */
const POSITIONS = "failed_deletes_drained";

/** For a shim that had opened the file just before it was renamed. */
export const FAILED_DELETES_SETTLE_MS = 1_000;

const LOOK_MS = 2_000;

/** What became of a record, as the ledger tells it. */
type Outcome = DeleteOutcome | "unmanaged" | "failed";

/** Of a record, in the ledger: its file's id, and where it begins in it. */
const MARK = /"record":"([0-9A-Za-z]+)@(\d+)"/g;

/** Taken over at a time: they share their waits, and one change of the manifest. */
const LINES_AT_ONCE = 64;

export interface FailedDeletesReport {
  /** Records that are in the ledger now and were not before. */
  readonly recorded: number;
  /** Of these, the ones whose file was deleted by it. */
  readonly applied: number;
}

export class FailedDeletes {
  readonly #context: EngineContext;
  readonly #directory: string;
  /** Texts of the ledger's newest files, to know a record again. */
  readonly #readLedger: () => string[];
  /** Of each file, where records begin that are in the ledger and past the position that is kept. */
  readonly #known = new Map<string, Set<number>>();
  #recorded = 0;
  #applied = 0;
  /** Some of what is written down waits, for the watcher or for a manifest that can be written. */
  #isLate = false;
  /** The turn of whoever came last: one at a time. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(context: EngineContext, readLedger: () => string[]) {
    this.#context = context;
    this.#directory = `${context.root}/.p4cache`;
    this.#readLedger = readLedger;
  }

  /**
   * Takes over everything that is there. A shim that had opened the file just before its
   * rename may still add one record: call {@linkcode finish} a moment later.
   */
  drain(): Promise<FailedDeletesReport> {
    return this.#inTurn(async () => {
      let isWhole = false;
      try {
        isWhole = await this.#takeOverAll();
      } finally {
        this.#isLate = !isWhole;
      }
    });
  }

  /** False if some waits for the watcher. */
  async #takeOverAll(): Promise<boolean> {
    const { posix, newId } = this.#context;
    for (const name of this.#drainingNames()) {
      // In the order in which they were written down.
      if (await this.#takeOver(name) === "late") return false;
    }
    if (!this.#hasNew()) return true;
    // A name of its own for each: a position in one says nothing about the next.
    const id = newId();
    const name = `${DRAINING}${id}`;
    posix.rename(`${this.#directory}/${LOG_NAME}`, `${this.#directory}/${name}`);
    this.#known.set(id, new Set());
    await posix.fsyncPath(this.#directory);
    return await this.#takeOver(name) !== "late";
  }

  /**
   * Takes over what came since, and removes the files. Where the disk or the manifest refuses,
   * they stay for the next look.
   */
  finish(): Promise<FailedDeletesReport> {
    return this.#inTurn(() =>
      this.#unlessRefused(async () => {
        for (const name of this.#drainingNames()) {
          const taken = await this.#takeOver(name);
          if (taken === "late") this.#isLate = true;
          if (taken !== "whole") continue;
          this.#context.posix.unlink(`${this.#directory}/${name}`);
          this.#known.delete(name.slice(DRAINING.length));
        }
      })
    );
  }

  /** At the start: {@linkcode drain}, and what is refused then is left to {@linkcode run}. */
  async begin(): Promise<void> {
    await this.#unlessRefused(() => this.drain());
  }

  /** What the disk or the manifest refuses is where it was, for the next look. */
  async #unlessRefused(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!isRefusal(error)) throw error;
      this.#isLate = true;
      this.#context.log.error(`cannot take over failed deletes: ${error.message}`);
    }
  }

  /**
   * While the daemon serves: a program that could not reach it wrote a delete down, before it
   * went on. Costs one look where nothing was written, and nothing is being taken over. False
   * if some could not be applied yet.
   */
  async takeOverNew(): Promise<boolean> {
    if (this.#isLate || this.#hasNew()) {
      await this.drain();
      const { clock, signal } = this.#context;
      void clock.sleep(FAILED_DELETES_SETTLE_MS, signal).then(
        () => this.finish(),
        () => {},
      );
    } else await this.#turn;
    return !this.#isLate;
  }

  /** Takes over what comes, where nobody else asks for it. Until the signal aborts. */
  async run(): Promise<void> {
    const { clock, signal } = this.#context;
    while (!signal.aborted) {
      await clock.sleep(LOOK_MS, signal).catch(() => {});
      try {
        if (!signal.aborted) await this.#unlessRefused(() => this.takeOverNew());
      } catch (error) {
        if (signal.aborted) return;
        throw error;
      }
    }
  }

  /**
   * Applies, ahead of their turn, the records of names below a directory that is about to get
   * another name. All events of before are in, and nothing waits for one: what the watcher told
   * to be gone, and the shim wrote down, is deleted.
   */
  async applyBelow(directory: DepotPath): Promise<void> {
    for (const name of [LOG_NAME, ...this.#drainingNames()]) {
      try {
        for await (const { line, writers } of this.#linesOf(name, 0)) {
          const record = parseFailedDelete(line);
          if (record !== null) await this.#applyToDeparted(record, writers, directory);
        }
      } catch (error) {
        // Mostly there is none; another reason is told when its turn comes.
        if (!(error instanceof PosixError)) throw error;
      }
    }
  }

  async #applyToDeparted(
    { path, tsMs }: FailedDelete,
    by: readonly Deleter[],
    directory: DepotPath,
  ): Promise<void> {
    const { manifest, departures } = this.#context;
    const told = depotPathOrNull(path);
    if (told === null) return;
    const row = departures.rowOf(told);
    if (row === null || !row.startsWith(`${directory}/`)) return;
    const entry = manifest.get(row);
    if (entry === null || !isOlder(entry, tsMs)) return;
    if (!mayDelete(this.#context, { path: told, row, entry }, by)) return;
    await deleteRow(this.#context, row, entry);
  }

  #hasNew(): boolean {
    return this.#context.posix.lstat(`${this.#directory}/${LOG_NAME}`)?.kind === "file";
  }

  #linesOf(name: string, start: number): AsyncGenerator<Line> {
    return linesOf(this.#context.posix, { directory: this.#directory, name }, start);
  }

  #inTurn(work: () => Promise<void>): Promise<FailedDeletesReport> {
    const done = this.#turn.then(() => this.#telling(work));
    this.#turn = done.catch(() => {});
    return done.then(() => ({ recorded: this.#recorded, applied: this.#applied }));
  }

  /** Whichever look took some over, also one that failed half-way. */
  async #telling(work: () => Promise<void>): Promise<void> {
    const before = { recorded: this.#recorded, applied: this.#applied };
    try {
      await work();
    } finally {
      const recorded = this.#recorded - before.recorded;
      const applied = this.#applied - before.applied;
      if (recorded > 0) {
        this.#context.log.warn("took over deletes that the shim could not report", {
          recorded,
          applied,
        });
      }
    }
  }

  #drainingNames(): string[] {
    return (this.#context.posix.readDirectory(this.#directory) ?? [])
      .map(({ path }) => path)
      .filter((name) => name.startsWith(DRAINING))
      .sort();
  }

  /** What is not taken over whole stays: for the next start, or until the watcher tells. */
  async #takeOver(name: string): Promise<"whole" | "late" | "unreadable"> {
    try {
      await this.#takeOverLines(name);
      return "whole";
    } catch (error) {
      if (error instanceof NotCaughtUpError) {
        this.#context.log.warn(error.message);
        return "late";
      }
      if (!(error instanceof PosixError)) throw error;
      this.#context.log.error(
        `cannot take over failed deletes: ${error.message}; give the file to the user that ` +
          `p4-cache runs as, and start it again`,
        { file: `.p4cache/${name}` },
      );
      return "unreadable";
    }
  }

  async #takeOverLines(name: string): Promise<void> {
    const id = name.slice(DRAINING.length);
    const start = this.#positions().get(id) ?? 0;
    let lines: Line[] = [];
    for await (const line of this.#linesOf(name, start)) {
      lines.push(line);
      if (lines.length < LINES_AT_ONCE) continue;
      await this.#takeOverSome(id, lines);
      lines = [];
    }
    if (lines.length > 0) await this.#takeOverSome(id, lines);
  }

  /** Together, because each waits for the watcher; into the ledger in their order. */
  async #takeOverSome(id: string, lines: readonly Line[]): Promise<void> {
    const { manifest, log } = this.#context;
    const known = this.#knownOf(id);
    const records = lines.map(({ line }) => parseFailedDelete(line));
    const outcomes = await Promise.all(
      records.map((record, i) =>
        record === null ? null : this.#applyOrLog(record, lines[i]!.writers)
      ),
    );
    for (const [i, { offset }] of lines.entries()) {
      const record = records[i]!;
      const outcome = outcomes[i]!;
      if (record === null) log.warn(`a line of ${LOG_NAME} is no record`, { offset });
      else if (!known.has(offset)) this.#append(record, `${id}@${offset}`, outcome!);
      known.add(offset);
    }
    const positions = this.#positions().set(id, lines.at(-1)!.end);
    const pairs = [...positions].map(([name, end]) => `${name} ${end}`);
    await manifest.setMeta(POSITIONS, pairs.join(" "));
    for (const { offset } of lines) known.delete(offset);
  }

  /** Where each file that is still there goes on. */
  #positions(): Map<string, number> {
    const known = (this.#context.manifest.meta(POSITIONS) ?? "").split(" ");
    const positions = new Map<string, number>();
    for (const name of this.#drainingNames()) {
      const id = name.slice(DRAINING.length);
      const at = known.indexOf(id);
      if (at >= 0) positions.set(id, Number(known[at + 1]));
    }
    return positions;
  }

  /** The ledger is read only for a file that a daemon before had begun, and once: it is large. */
  #knownOf(id: string): Set<number> {
    let known = this.#known.get(id);
    if (known !== undefined) return known;
    known = new Set();
    try {
      for (const text of this.#readLedger()) {
        for (const [, file, offset] of text.matchAll(MARK)) {
          if (file === id) known.add(Number(offset));
        }
      }
    } catch (error) {
      this.#context.log.error(
        `cannot read the ledger: ${messageOf(error)}; failed deletes may be in it twice`,
      );
    }
    this.#known.set(id, known);
    return known;
  }

  #append(record: FailedDelete, mark: string, outcome: Outcome): void {
    const { path, tsMs, pid, uid, why } = record;
    const applied = outcome === "deleted";
    this.#context.failedOps.append({
      op: "delete",
      path: displayPath(path),
      error: `the shim could not report a delete: ${why}`,
      deletedAt: new Date(tsMs).toISOString(),
      pid,
      uid,
      applied,
      outcome,
      record: mark,
    });
    this.#recorded += 1;
    if (applied) this.#applied += 1;
  }

  /** One name that cannot be looked at keeps no other from being taken over. */
  async #applyOrLog(
    record: FailedDelete,
    by: readonly Deleter[],
  ): Promise<Outcome> {
    try {
      return await this.#apply(record, by);
    } catch (error) {
      if (!(error instanceof PosixError)) throw error;
      this.#context.log.warn(`cannot apply a failed delete: ${error.message}`);
      return "failed";
    }
  }

  /** @throws {NotCaughtUpError} */
  async #apply(
    { path: text, tsMs }: FailedDelete,
    by: readonly Deleter[],
  ): Promise<Outcome> {
    const { manifest, settings, log } = this.#context;
    const path = depotPathOrNull(text);
    if (path === null || !isManaged(path, settings().manage)) return "unmanaged";
    const isMeant = (entry: FileEntry): boolean => isOlder(entry, tsMs);
    const outcome = await deleteFile(this.#context, path, { by, isMeant });
    if (outcome === "refused") {
      log.warn(
        "a delete that was written down is not applied: whoever may write the file may " +
          "not remove a name from its directory",
        shown(path),
      );
    }
    if (outcome !== "unknown") return outcome;
    // Before its directory moved, or before a crash.
    const isDeleted = manifest.tombstonesOf(path).some(({ reason, atMs }) =>
      reason === "deleted" && atMs >= tsMs
    );
    return isDeleted ? "deleted" : "unknown";
  }
}

/** Of the disk or the manifest: what was to be done is done at the next look. */
function isRefusal(error: unknown): error is ManifestError | PosixError {
  return error instanceof ManifestError || error instanceof PosixError;
}
