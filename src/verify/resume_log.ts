/**
 * The file that lets a run of days go on after an interruption.
 *
 * One JSON object a line: first what the run is, then findings as they come, and now and then
 * a mark: every archive up to it is done, with the counts so far. A reader believes what is
 * up to the last mark only; what is after it is found again. The order of archives is that of
 * their names, so a mark means the same in every run over the same inputs.
 *
 * What could not be looked at in full is left to the next run by its name: neither its counts
 * nor its findings are in the file.
 *
 * @module
 */

import type { Finding, Tally } from "./report_types.ts";

export interface ResumePoint {
  /** Archives up to and including this one are done; "" for none. */
  readonly after: string;
  readonly tallies: Readonly<Record<string, Tally>>;
  readonly reasons: Readonly<Record<string, number>>;
  readonly findings: readonly Finding[];
  /** Archives up to `after` that are not done all the same. */
  readonly left: ReadonlySet<string>;
}

interface Mark {
  readonly after: string;
  readonly tallies: Readonly<Record<string, Tally>>;
  readonly reasons: Readonly<Record<string, number>>;
}

interface Entry {
  readonly run?: string;
  readonly finding?: Finding;
  readonly left?: string;
  readonly isLeft?: boolean;
  readonly mark?: Mark;
}

/** The resume file is of another run, or another run has it open. */
export class ResumeError extends Error {
  override readonly name = "ResumeError";
}

export class ResumeLog {
  readonly #file: Deno.FsFile;

  private constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  /**
   * Opens or makes the file at `path`, for this run alone until it is closed: two would each
   * write over what the other found.
   *
   * @param identity What must be the same for a run to go on: inputs and choices.
   * @throws {ResumeError} If the file is of another run, or another run has it open.
   */
  static open(path: string, identity: string): { log: ResumeLog; point: ResumePoint } {
    const file = Deno.openSync(path, { read: true, write: true, create: true });
    try {
      if (!file.tryLockSync(true)) {
        throw new ResumeError(`${path} is in use: another run writes to it now`);
      }
      const text = new TextDecoder().decode(readAll(file));
      const { point, goodBytes } = parse(path, text, identity);
      file.truncateSync(goodBytes);
      file.seekSync(0, Deno.SeekMode.End);
      const log = new ResumeLog(file);
      if (goodBytes === 0) {
        log.#write({ run: identity });
        file.syncSync();
      }
      return { log, point };
    } catch (error) {
      file.close();
      throw error;
    }
  }

  finding(finding: Finding): void {
    this.#write({ finding });
  }

  /** An archive is left to the next run, or is done that was left by an earlier one. */
  left(key: string, isLeft: boolean): void {
    this.#write({ left: key, isLeft });
  }

  /** Everything before is durable when this returns. */
  mark(mark: Mark): void {
    this.#write({ mark });
    this.#file.syncDataSync();
  }

  close(): void {
    this.#file.close();
  }

  #write(line: unknown): void {
    const bytes = new TextEncoder().encode(JSON.stringify(line) + "\n");
    for (let at = 0; at < bytes.length;) at += this.#file.writeSync(bytes.subarray(at));
  }
}

function readAll(file: Deno.FsFile): Uint8Array {
  const bytes = new Uint8Array(file.statSync().size);
  for (let at = 0; at < bytes.length;) {
    const count = file.readSync(bytes.subarray(at));
    if (count === null) return bytes.subarray(0, at);
    at += count;
  }
  return bytes;
}

function parse(
  path: string,
  text: string,
  identity: string,
): { point: ResumePoint; goodBytes: number } {
  let point: ResumePoint = {
    after: "",
    tallies: {},
    reasons: {},
    findings: [],
    left: new Set(),
  };
  let pending: Finding[] = [];
  const left = new Set<string>();
  let goodBytes = 0;
  let at = 0;
  let bytes = 0;
  const encoder = new TextEncoder();
  for (const [index, line] of text.split("\n").entries()) {
    const isWhole = at + line.length < text.length;
    at += line.length + 1;
    if (!isWhole) break;
    bytes += encoder.encode(line).length + 1;
    let entry: Entry;
    try {
      entry = JSON.parse(line);
    } catch {
      if (index === 0) throw new ResumeError(`${path} is no resume file`);
      break; // torn by a crash
    }
    if (index === 0) {
      if (entry.run !== identity) {
        throw new ResumeError(
          `${path} is of another run (other inputs or options): remove it to start anew`,
        );
      }
      goodBytes = bytes;
    } else if (entry.finding !== undefined) {
      pending.push(entry.finding);
    } else if (entry.left !== undefined) {
      if (entry.isLeft) left.add(entry.left);
      else left.delete(entry.left);
    } else if (entry.mark !== undefined) {
      const findings = [...point.findings, ...pending];
      point = { ...entry.mark, findings, left: new Set(left) };
      pending = [];
      goodBytes = bytes;
    }
  }
  return { point, goodBytes };
}
