/**
 * Reads a checkpoint and the journals after it, and makes of them the sorted list of claims:
 * which archives must exist.
 *
 * In a journal, rows after the last `@ex@` belong to a transaction that is not complete: they
 * are counted, and not applied.
 *
 * @module
 */

import { type CaseRule, caseRuleOf, foldCase } from "../perforce/archive_path.ts";
import { JournalScanner } from "../perforce/journal_scanner.ts";
import type { JournalEnd, JournalRow } from "../perforce/journal_scanner.ts";
import {
  type ConfigRow,
  type DepotRow,
  hasContent,
  parseConfigRow,
  parseDepotRow,
  parseRevRow,
  parseStorageRow,
  REV_TABLES,
  type RevRow,
  type RevTable,
  RowError,
  STORAGE_TABLES,
} from "../perforce/rows.ts";
import { encodeRevClaim, encodeStorageClaim } from "./claims.ts";
import { ExternalSorter } from "./external_sort.ts";
import { GzipError } from "./gunzip.ts";
import { expectedMd5, inputText, listInput, matchesMd5 } from "./journal_input.ts";
import { JournalOverlay } from "./journal_overlay.ts";
import type { Scratch } from "./scratch.ts";

/** What was read, and whether it may be relied upon. */
export interface Catalog {
  readonly claims: ExternalSorter;
  readonly depots: readonly DepotRow[];
  readonly config: readonly ConfigRow[];
  readonly caseRule: CaseRule;
  /** P4ROOT as the header of the checkpoint has it; "" if there is no header. */
  readonly serverRoot: string;
  /** Latest time that stands in a header or mark, in seconds; 0 if there is none. */
  readonly asOfS: number;
  readonly stats: CatalogStats;
  /** Reasons why the list may lack rows. Empty: it is complete. */
  readonly incomplete: readonly string[];
  readonly warnings: readonly string[];
}

export interface CatalogStats {
  readonly bytesRead: number;
  readonly recordsRead: number;
  readonly rowsByTable: ReadonlyMap<string, number>;
  /** Rows of the rev family after journals: with and without content of their own. */
  readonly revisionRows: number;
  readonly rowsWithoutContent: number;
  readonly storageRows: number;
  readonly malformed: number;
  readonly unknownRecords: number;
  readonly uncommittedRows: number;
}

export interface CatalogOptions {
  /** Null: the journals are all there is. */
  readonly checkpoint: string | null;
  readonly journals: readonly string[];
  readonly scratch: Scratch;
  /** Go on with a checkpoint that is not what its .md5 file says. */
  readonly ignoresMd5: boolean;
  /** Called now and then with the bytes on disk that have been read, of how many. */
  readonly onProgress?: (readBytes: number, totalBytes: number) => void;
  /** Gets each row of the submitted revisions, after journals, in no order. */
  readonly onRevision?: (rev: RevRow, rule: CaseRule) => void;
  /** Make claims. Default true. */
  readonly makesClaims?: boolean;
  /** Ends the reading; what was read is called incomplete. */
  readonly signal?: AbortSignal;
}

/** The inputs cannot be used at all, as given. */
export class CatalogError extends Error {
  override readonly name = "CatalogError";
}

/** Messages kept of each kind; the rest is only counted. */
const MESSAGES_MAX = 20;

const WANTED_TABLES: ReadonlySet<string> = new Set([
  ...Object.keys(REV_TABLES),
  ...STORAGE_TABLES,
  "db.depot",
  "db.config",
]);

export async function readCatalog(options: CatalogOptions): Promise<Catalog> {
  const reader = new CatalogReader(options);
  try {
    return await reader.read();
  } catch (error) {
    reader.close();
    throw error;
  }
}

class CatalogReader {
  readonly #options: CatalogOptions;
  readonly #claims: ExternalSorter;
  readonly #overlay: JournalOverlay;
  readonly #depots = new Map<string, DepotRow>();
  readonly #config: ConfigRow[] = [];
  readonly #incomplete: string[] = [];
  readonly #warnings = new Set<string>();
  readonly #rowsByTable = new Map<string, number>();
  #caseRule: CaseRule = { ignoresCase: false, isUnicode: false };
  #serverRoot = "";
  #asOfS = 0;
  #counts = {
    bytesRead: 0,
    recordsRead: 0,
    revisionRows: 0,
    rowsWithoutContent: 0,
    storageRows: 0,
    malformed: 0,
    refused: 0,
    unknownRecords: 0,
  };
  #diskBytes = 0;
  #totalBytes = 0;

  constructor(options: CatalogOptions) {
    this.#options = options;
    this.#claims = new ExternalSorter(options.scratch);
    this.#overlay = new JournalOverlay(options.scratch, () => this.#caseRule);
  }

  close(): void {
    this.#claims.close();
    this.#overlay.close();
  }

  async read(): Promise<Catalog> {
    const { checkpoint, journals } = this.#options;
    const checkpointFiles = checkpoint === null ? [] : await listInput(checkpoint);
    const journalFiles = (await Promise.all(journals.map(listInput))).flat();
    if (checkpointFiles.length + journalFiles.length === 0) {
      throw new CatalogError(`Cannot read ${checkpoint}: it is an empty directory`);
    }
    this.#totalBytes = [...checkpointFiles, ...journalFiles]
      .reduce((sum, file) => sum + file.sizeBytes, 0);
    const checkpointPaths = checkpointFiles.map((file) => file.path);
    await this.#checkMd5([...checkpointPaths, ...journalFiles.map((file) => file.path)]);
    const headerS = await this.#readHeader(
      checkpoint === null ? journalFiles.map((file) => file.path) : checkpointPaths,
    );
    const isDirectory = checkpointFiles.length > 0 &&
      checkpointFiles[0]!.path !== checkpoint;
    for (const [index, { path }] of journalFiles.entries()) {
      await this.#readJournal(path, headerS, index === journalFiles.length - 1);
    }
    for (const path of checkpointPaths) await this.#readCheckpoint(path, isDirectory);
    this.#settleOverlay();
    return this.#result();
  }

  async #checkMd5(paths: readonly string[]): Promise<void> {
    for (const path of paths) {
      const expected = await expectedMd5(path);
      if (expected === null) continue;
      const matches = await matchesMd5(path, expected).catch((error) => {
        if (error instanceof GzipError) return false;
        throw error;
      });
      if (matches) continue;
      const why = `${path} is not what its .md5 file says`;
      if (this.#options.ignoresMd5) this.#warnings.add(why);
      else this.#incomplete.push(why);
    }
  }

  /** Case rule and root, which must be known before any row; the header's time. */
  async #readHeader(paths: readonly string[]): Promise<number> {
    let foundS = -1;
    for (const path of paths) {
      const scanner = new JournalScanner({
        wants: () => false,
        row: () => {},
        mark: () => {},
        unknown: () => {},
        malformed: () => {},
        note: (type, timeS, fields) => {
          if (type !== 0 || foundS >= 0) return;
          foundS = timeS;
          if (!/^\d{1,4}$/.test(fields[1] ?? "")) {
            this.#incomplete.push(`${path}: its header does not say how names compare`);
          }
          this.#caseRule = caseRuleOf(Number(fields[1]));
          this.#serverRoot = fields[6] ?? "";
        },
      });
      try {
        for await (const chunk of inputText(path)) {
          scanner.push(chunk);
          break; // the header is the first record
        }
      } catch (error) {
        if (!(error instanceof GzipError)) throw error;
      }
      if (foundS >= 0) return foundS;
    }
    this.#warnings.add(
      "no header was found: names are taken to be case-sensitive",
    );
    return 0;
  }

  async #readJournal(path: string, headerS: number, isLast: boolean): Promise<void> {
    const before = this.#asOfS;
    const file = await this.#scan(
      path,
      (row) => this.#orRefuse(() => this.#overlay.add(row)),
      () => this.#overlay.commit(),
    );
    if (
      headerS > 0 && file.lastS > 0 && file.lastS < headerS && this.#options.checkpoint
    ) {
      throw new CatalogError(
        `Cannot apply ${path}: it ends before the checkpoint was taken; leave it out`,
      );
    }
    if (file.firstS > 0 && file.firstS < before - 1) {
      this.#warnings.add(
        `${path} begins before the journal in front of it ends: are they in order?`,
      );
    }
    if (file.damage !== null) this.#incomplete.push(`${path}: ${file.damage}`);
    if (file.end.insideRecord && !isLast) {
      this.#incomplete.push(`${path} ends inside a record`);
    }
  }

  async #readCheckpoint(path: string, isDirectory: boolean): Promise<void> {
    const file = await this.#scan(path, (row) => {
      if (row.op !== "pv") {
        this.#refuse(
          new RowError(`${path} has a @${row.op}@ record: it is no checkpoint`),
        );
      } else {
        this.#orRefuse(() => {
          if (!this.#overlay.takes(row)) this.#accept(row);
        });
      }
    });
    if (file.damage !== null) this.#incomplete.push(`${path}: ${file.damage}`);
    if (file.end.insideRecord) this.#incomplete.push(`${path} ends inside a record`);
    else if (file.openRows) this.#incomplete.push(`${path} ends inside a table`);
    else if (file.end.bytes === 0) this.#incomplete.push(`${path} is empty`);
    if (!isDirectory && !file.hasHeader) {
      this.#incomplete.push(`${path} has no header: is it a checkpoint?`);
    }
    if ((file.hasHeader || !isDirectory) && !file.hasTrailer) {
      this.#incomplete.push(`${path} has no trailer: it is truncated`);
    }
  }

  /** Reads one file to its end, or to where it is damaged. */
  async #scan(
    path: string,
    onRow: (row: JournalRow) => void,
    onCommit: () => void = () => {},
  ): Promise<ScannedFile> {
    const file = new ScannedFile();
    const scanner = new JournalScanner({
      wants: (table) => WANTED_TABLES.has(table),
      row: (row) => {
        file.openRows = true;
        onRow(row);
      },
      mark: (kind, timeS) => {
        if (kind === "ex") {
          file.openRows = false;
          onCommit();
          if (file.sawTrailerNote) file.hasTrailer = true;
        }
        file.sawTime(timeS);
      },
      note: (type, timeS) => {
        if (type === 0) file.hasHeader = true;
        file.sawTrailerNote = type === 1;
        file.sawTime(timeS);
      },
      unknown: (op) => {
        this.#counts.unknownRecords++;
        this.#warnings.add(`${path} has records of the unknown kind @${op}@; skipped`);
      },
      malformed: (offset, why) => {
        this.#counts.malformed++;
        if (this.#incomplete.length < MESSAGES_MAX) {
          this.#incomplete.push(`${path} is malformed at byte ${offset}: ${why}`);
        }
      },
    });
    try {
      const onRead = (chunk: Uint8Array): void => {
        this.#diskBytes += chunk.length;
        this.#options.onProgress?.(this.#diskBytes, this.#totalBytes);
      };
      for await (const chunk of inputText(path, onRead)) {
        scanner.push(chunk);
        if (this.#options.signal?.aborted) {
          file.damage = "the run was interrupted while it was read";
          break;
        }
      }
    } catch (error) {
      if (!(error instanceof GzipError)) throw error;
      file.damage = error.message;
    }
    file.end = scanner.finish();
    this.#counts.bytesRead += file.end.bytes;
    for (const [table, rows] of file.end.rowsByTable) {
      this.#rowsByTable.set(table, (this.#rowsByTable.get(table) ?? 0) + rows);
      this.#counts.recordsRead += rows;
    }
    this.#asOfS = Math.max(this.#asOfS, file.lastS);
    return file;
  }

  /** What the journals left of the rows that they touch. */
  #settleOverlay(): void {
    for (const row of this.#overlay.settled()) this.#accept(row);
    const { uncommittedRows } = this.#overlay;
    if (uncommittedRows > 0) {
      this.#warnings.add(
        `${uncommittedRows} rows at the end of the journals belong to a transaction that ` +
          `is not complete; they are not applied`,
      );
    }
  }

  /** Calls `take`, and refuses the row that it throws a RowError for. */
  #orRefuse(take: () => void): void {
    try {
      take();
    } catch (error) {
      if (!(error instanceof RowError)) throw error;
      this.#refuse(error);
    }
  }

  #accept(row: JournalRow): void {
    this.#orRefuse(() => {
      if (row.table === "db.depot") {
        const depot = parseDepotRow(row);
        this.#depots.set(depot.name, depot);
      } else if (row.table === "db.config") {
        this.#config.push(parseConfigRow(row));
      } else if (STORAGE_TABLES.includes(row.table)) {
        this.#acceptStorage(row);
      } else {
        this.#acceptRevision(row);
      }
    });
  }

  #acceptStorage(row: JournalRow): void {
    const storage = parseStorageRow(row);
    this.#counts.storageRows++;
    if (row.version > 1) this.#warnVersion(row);
    if (this.#options.makesClaims === false) return;
    this.#claims.add(
      encodeStorageClaim(storage, foldCase(storage.lbrFile, this.#caseRule)),
    );
  }

  #acceptRevision(row: JournalRow): void {
    const rev = parseRevRow(row);
    this.#counts.revisionRows++;
    if (row.version > 9) this.#warnVersion(row);
    if (row.table === "db.rev") this.#options.onRevision?.(rev, this.#caseRule);
    if (!hasContent(rev)) this.#counts.rowsWithoutContent++;
    else if (this.#options.makesClaims !== false) {
      const kind = REV_TABLES[row.table as RevTable];
      this.#claims.add(encodeRevClaim(kind, rev, foldCase(rev.lbrFile, this.#caseRule)));
    }
  }

  #warnVersion(row: JournalRow): void {
    this.#warnings.add(
      `Version ${row.version} of ${row.table} is newer than any known; its leading ` +
        `columns are taken to be the same`,
    );
  }

  #refuse(error: RowError): void {
    this.#counts.refused++;
    if (this.#incomplete.length < MESSAGES_MAX) this.#incomplete.push(error.message);
  }

  #result(): Catalog {
    const { malformed, refused, ...counts } = this.#counts;
    const isEmpty = counts.revisionRows + counts.storageRows === 0;
    if (this.#options.checkpoint !== null && isEmpty) {
      this.#incomplete.push(
        `${this.#options.checkpoint} names no revision at all: is it the right one?`,
      );
    }
    return {
      claims: this.#claims,
      depots: [...this.#depots.values()],
      config: this.#config,
      caseRule: this.#caseRule,
      serverRoot: this.#serverRoot,
      asOfS: this.#asOfS,
      stats: {
        ...counts,
        malformed: malformed + refused,
        rowsByTable: this.#rowsByTable,
        uncommittedRows: this.#overlay.uncommittedRows,
      },
      incomplete: this.#incomplete,
      warnings: [...this.#warnings],
    };
  }
}

/** What one file said of itself. */
class ScannedFile {
  hasHeader = false;
  sawTrailerNote = false;
  hasTrailer = false;
  /** Rows of wanted tables stand after the last `@ex@`. */
  openRows = false;
  firstS = 0;
  lastS = 0;
  damage: string | null = null;
  end: JournalEnd = { bytes: 0, rowsByTable: new Map(), insideRecord: false };

  sawTime(timeS: number): void {
    if (this.firstS === 0) this.firstS = timeS;
    this.lastS = Math.max(this.lastS, timeS);
  }
}
