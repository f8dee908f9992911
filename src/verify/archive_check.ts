/**
 * Checks one archive file: the local copy, the copy in the store, or both, at the depth that
 * was asked for.
 *
 * Everything is read while a server may be writing. So a finding counts only if disk and
 * manifest say the same of the file after it as before; a file that is written, evicted or
 * restored under our hands is looked at again as what it is by then. What could not be read
 * for reasons of our own (permissions, a store that does not answer) is never a finding: it
 * makes the run incomplete.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import { depotPathOrNull } from "../core/names.ts";
import { ArchiveFinder, type Place } from "./archive_finder.ts";
import type { ArchiveFile } from "./archive_plan.ts";
import { sizeFault } from "./copy_faults.ts";
import type { CopyReport } from "./copy_reader.ts";
import { type FileOutcome, OutcomeDraft } from "./outcome_draft.ts";
import {
  type LocalEntry,
  LocalFileError,
  type LocalFiles,
  type ManifestRow,
  StoreReadError,
} from "./sources.ts";
import { StoreChecker, type StoreCheckOptions } from "./store_check.ts";

export interface CheckOptions extends StoreCheckOptions {
  readonly clock: Clock;
  readonly files: LocalFiles;
  /** Says why the run cannot be called complete. */
  readonly onIncomplete: (why: string) => void;
}

/** A file younger than this is not compared with the manifest. */
const FRESH_MS = 60_000;
/** How often a file that changes under our hands is looked at again. */
const LOOKS_MAX = 4;

/** What disk and manifest said when a file was looked at. */
interface Seen {
  place: Place | null;
  row: ManifestRow | null;
}

export class ArchiveChecker {
  readonly #options: CheckOptions;
  readonly #finder: ArchiveFinder;
  readonly #store: StoreChecker;

  constructor(options: CheckOptions) {
    this.#options = options;
    this.#store = new StoreChecker(options);
    this.#finder = new ArchiveFinder(options.files, options.manifest);
  }

  /** @param reads Whether this file is in the sample of those that are read. */
  async check(file: ArchiveFile, reads: boolean): Promise<FileOutcome> {
    const spent = { bytesRead: 0, bytesRecalled: 0 };
    for (let look = 1;; look++) {
      const seen: Seen = { place: null, row: null };
      const draft = await this.#draftOf(file, reads, seen);
      // Something changed while it was looked at: what was seen may be neither.
      const isStill = draft !== null &&
        (draft.findings.length === 0 || this.#isAsSeen(file, seen));
      if (draft !== null && (isStill || look === LOOKS_MAX)) {
        draft.tally.bytesRead += spent.bytesRead;
        draft.tally.bytesRecalled += spent.bytesRecalled;
        return draft.outcome();
      }
      if (look === LOOKS_MAX) return lostUnderOurHands(file);
      spent.bytesRead += draft?.tally.bytesRead ?? 0;
      spent.bytesRecalled += draft?.tally.bytesRecalled ?? 0;
    }
  }

  /** Whether disk and manifest still say of a file what they said when it was looked at. */
  #isAsSeen(file: ArchiveFile, seen: Seen): boolean {
    try {
      const place = this.#finder.locate(file.names);
      const row = place.kind === "absent" ? null : this.#finder.rowOf(place.path);
      return JSON.stringify({ place, row }) === JSON.stringify(seen);
    } catch (error) {
      // What cannot be looked at does not get better by looking at it again.
      if (error instanceof LocalFileError || error instanceof StoreReadError) return true;
      throw error;
    }
  }

  /** Null if the file vanished, or was evicted, under our hands. */
  async #draftOf(
    file: ArchiveFile,
    reads: boolean,
    seen: Seen,
  ): Promise<OutcomeDraft | null> {
    const draft = new OutcomeDraft(file);
    try {
      await this.#look(draft, reads, seen);
      return draft;
    } catch (error) {
      const failed = new OutcomeDraft(file);
      failed.tally.bytesRead = draft.tally.bytesRead;
      failed.tally.bytesRecalled = draft.tally.bytesRecalled;
      if (error instanceof StoreReadError) {
        this.#options.onIncomplete(error.message);
        failed.unverifiable("the store or the manifest could not be asked");
        return failed;
      }
      if (!(error instanceof LocalFileError)) throw error;
      if (error.fault === "gone") return null;
      if (error.fault === "io") {
        failed.allBad(file.names[0]!, ["local"], [], error.message);
      } else {
        this.#options.onIncomplete(error.message);
        failed.unverifiable("the local copy could not be read");
      }
      return failed;
    }
  }

  async #look(draft: OutcomeDraft, reads: boolean, seen: Seen): Promise<void> {
    const place = this.#finder.locate(draft.file.names);
    const known = place.kind === "absent" ? null : this.#finder.rowOf(place.path);
    seen.place = place;
    seen.row = known;
    // The daemon may not have heard yet of a file that was written just now.
    const isFresh = place.kind === "file" &&
      place.entry.mtimeMs > this.#options.clock.nowMs() - FRESH_MS;
    const row = isFresh && known !== null ? { ...known, isClean: false } : known;
    switch (place.kind) {
      case "absent":
        return await this.#absent(draft);
      case "odd":
        return await this.#odd(draft, place.path, place.entry, row, reads);
      case "file":
        return await this.#resident(draft, place.path, place.entry, row, reads);
      case "evicted":
        return await this.#store.checkEvicted(draft, place.path, row, reads);
      case "unmarked":
        return await this.#unmarked(draft, place.path, row!, reads);
    }
  }

  async #absent(draft: OutcomeDraft): Promise<void> {
    const { store, keyOf } = this.#options;
    if (draft.file.revisions.every((revision) => revision.excuse !== null)) {
      return draft.all("excused");
    }
    const path = draft.file.names[0]!;
    const name = depotPathOrNull(path);
    if (store !== null && name !== null) {
      const object = await this.#options.reader.head(keyOf(name));
      if (object !== null) {
        draft.missing(
          path,
          ["local", "manifest"],
          [{ side: "store", isVerified: false }],
          "neither the disk nor the manifest has it; the store has an object of its name",
        );
        return;
      }
    }
    const hint = this.#finder.hintOf(draft.file.names);
    draft.missing(path, ["local"], [], `no such file${hint}`);
  }

  async #odd(
    draft: OutcomeDraft,
    path: string,
    entry: LocalEntry,
    row: ManifestRow | null,
    reads: boolean,
  ): Promise<void> {
    const what = entry.kind === "directory"
      ? "a directory stands in its place"
      : "something that is no file stands in its place";
    const good = await this.#store.goodCopy(draft, path, row, reads);
    draft.allBad(path, ["local"], good, what);
    draft.expect(path, row);
  }

  async #resident(
    draft: OutcomeDraft,
    path: string,
    entry: LocalEntry,
    row: ManifestRow | null,
    reads: boolean,
  ): Promise<void> {
    const { depth } = this.#options;
    if (row !== null && row.isClean) draft.expect(path, row);
    if (depth === "exists") return draft.all("ok");
    const wrongSize = sizeFault(draft.file, path, entry, row, depth, reads);
    const readsThis = reads && depth !== "size";
    if (!readsThis) {
      if (depth !== "size") draft.tally.notSampled += draft.file.revisions.length;
      if (wrongSize === null) return draft.all("ok");
      const good = await this.#store.goodCopy(draft, path, row, false);
      return draft.allBad(path, ["local"], good, wrongSize);
    }
    const report = depth === "hash"
      ? await this.#options.reader.hashLocal(path)
      : await this.#options.reader.readLocal(path, draft.file);
    draft.tally.bytesRead += report.bytesRead;
    const stored = row !== null && row.isClean ? row.stored : null;
    const differs = stored !== null && stored.hash !== null &&
      stored.hash !== report.hash;
    if (depth === "hash") await this.#judgeHash(draft, path, row, report, differs);
    else await this.#judgeLocal(draft, path, row, report, differs);
    if (draft.findings.length === 0 && stored !== null) {
      await this.#store.checkBeside(draft, path, row!);
    }
  }

  async #judgeHash(
    draft: OutcomeDraft,
    path: string,
    row: ManifestRow | null,
    report: CopyReport,
    differs: boolean,
  ): Promise<void> {
    const hash = row?.stored?.hash ?? null;
    if (row === null || !row.isClean || hash === null) {
      return draft.unverifiable("the manifest has no hash of it yet");
    }
    if (!differs) return draft.all("ok");
    const good = await this.#store.goodCopy(draft, path, row, true);
    draft.allBad(
      path,
      ["local"],
      good,
      `BLAKE3 ${report.hash}, the manifest has ${hash}`,
    );
  }

  async #judgeLocal(
    draft: OutcomeDraft,
    path: string,
    row: ManifestRow | null,
    report: CopyReport,
    differs: boolean,
  ): Promise<void> {
    draft.judge(path, report, "local");
    if (draft.findings.length === 0) {
      if (differs) this.#judgeDifference(draft, path, report.hash, row!.stored!.hash!);
      return;
    }
    if (row === null || row.stored === null) return;
    if (row.isClean && !differs && row.stored.hash !== null) {
      draft.amend((finding) => ({
        ...finding,
        why: `${finding.why}; the bytes are those that were stored, so both copies or ` +
          `the record are wrong`,
        wrong: finding.wrong.includes("record") ? finding.wrong : ["local", "store"],
      }));
      return;
    }
    const good = await this.#store.goodCopy(draft, path, row, true);
    draft.amend((finding) =>
      finding.wrong.includes("local") ? { ...finding, good } : finding
    );
  }

  /** No revision is wrong here, and yet these are not the bytes that were stored. */
  #judgeDifference(draft: OutcomeDraft, path: string, here: string, there: string): void {
    const bytes = `${here} here, ${there} there`;
    if (draft.isAllOk()) {
      const why = `the local file is right and is not what was stored: ${bytes}`;
      draft.replace(path, ["store"], [{ side: "local", isVerified: true }], why);
    } else {
      const why = `the local file is not what was stored, and no digest tells which of ` +
        `them is right: ${bytes}`;
      draft.replace(path, ["local", "store"], [], why);
    }
  }

  /** Without its marker a server that runs without the shim takes the file for a new one. */
  async #unmarked(
    draft: OutcomeDraft,
    path: string,
    row: ManifestRow,
    reads: boolean,
  ): Promise<void> {
    await this.#store.checkEvicted(draft, path, row, reads);
    if (draft.findings.length > 0 || row.stored === null) return;
    const isVerified = draft.tally.bytesRecalled > 0;
    const isInStore = this.#options.store !== null && !row.isElsewhere;
    if (!isVerified && isInStore) {
      await this.#store.headEvicted(draft, path, row);
      if (draft.findings.length > 0) return;
    }
    const good = isInStore ? [{ side: "store" as const, isVerified }] : [];
    const hint = this.#finder.hintOf([path]);
    const why = `neither the file nor its marker is on disk${hint}`;
    draft.replaceMissing(path, ["local"], good, why);
  }
}

function lostUnderOurHands(file: ArchiveFile): FileOutcome {
  const lost = new OutcomeDraft(file);
  lost.missing(file.names[0]!, ["local"], [], "it vanishes whenever it is looked at");
  return lost.outcome();
}
