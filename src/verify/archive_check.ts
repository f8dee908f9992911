/**
 * Checks one archive file: the local copy, the copy in the store, or both, at the depth that
 * was asked for.
 *
 * Everything is read while a server may be writing. So a finding counts only if disk and
 * manifest say the same of the file after it as before; a file that is written, evicted or
 * restored under our hands is looked at again as what it is by then. What could not be read for reasons of our own (permissions, a
 * store that does not answer) is never a finding: it makes the run incomplete.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import { type DepotPath, depotPathOrNull } from "../core/names.ts";
import { ArchiveFinder } from "./archive_finder.ts";
import type { ArchiveFile } from "./archive_plan.ts";
import { objectFault, sizeFault } from "./copy_faults.ts";
import type { CopyReader, CopyReport } from "./copy_reader.ts";
import { type FileOutcome, OutcomeDraft } from "./outcome_draft.ts";
import type { Depth, Finding } from "./report_types.ts";
import {
  type ArchiveStore,
  type LocalEntry,
  LocalFileError,
  type LocalFiles,
  type ManifestRow,
  type ManifestView,
  StoreReadError,
} from "./sources.ts";

export interface CheckOptions {
  readonly clock: Clock;
  readonly files: LocalFiles;
  /** Null where only the disk is looked at. */
  readonly manifest: ManifestView | null;
  readonly store: ArchiveStore | null;
  readonly depth: Depth;
  /** Read the store's copies of files that are also on disk. */
  readonly readsAllCopies: boolean;
  /** The store's list is compared later: no request is made per object for its existence. */
  readonly storeIsListed: boolean;
  readonly reader: CopyReader;
  /** The key that an object of `path` would have if the manifest did not know. */
  readonly keyOf: (path: DepotPath) => string;
  /** Says why the run cannot be called complete. */
  readonly onIncomplete: (why: string) => void;
}

/** A file younger than this is not compared with the manifest. */
const FRESH_MS = 60_000;
/** How often a file that changes under our hands is looked at again. */
const LOOKS_MAX = 4;
export class ArchiveChecker {
  readonly #options: CheckOptions;
  readonly #finder: ArchiveFinder;

  constructor(options: CheckOptions) {
    this.#options = options;
    this.#finder = new ArchiveFinder(options.files, options.manifest);
  }

  /** @param reads Whether this file is in the sample of those that are read. */
  async check(file: ArchiveFile, reads: boolean): Promise<FileOutcome> {
    const spent = { bytesRead: 0, bytesRecalled: 0 };
    for (let look = 1;; look++) {
      const before = this.#snapshotOf(file);
      const draft = await this.#draftOf(file, reads);
      // Something changed while it was looked at: what was seen may be neither.
      const isStill = draft !== null &&
        (draft.findings.length === 0 || this.#snapshotOf(file) === before);
      if (draft === null || (!isStill && look < LOOKS_MAX)) {
        spent.bytesRead += draft?.tally.bytesRead ?? 0;
        spent.bytesRecalled += draft?.tally.bytesRecalled ?? 0;
        if (look < LOOKS_MAX) continue;
        const lost = new OutcomeDraft(file);
        lost.missing(
          file.names[0]!,
          ["local"],
          [],
          "it vanishes whenever it is looked at",
        );
        return lost.outcome();
      }
      draft.tally.bytesRead += spent.bytesRead;
      draft.tally.bytesRecalled += spent.bytesRecalled;
      return draft.outcome();
    }
  }

  /** What disk and manifest say of a file at this moment. */
  #snapshotOf(file: ArchiveFile): string {
    try {
      const place = this.#finder.locate(file.names);
      const row = place.kind === "absent" ? null : this.#finder.rowOf(place.path);
      return JSON.stringify([place, row]);
    } catch (error) {
      const isUnread = error instanceof LocalFileError || error instanceof StoreReadError;
      if (isUnread) return error.message;
      throw error;
    }
  }

  /** Null if the file vanished, or was evicted, under our hands. */
  async #draftOf(file: ArchiveFile, reads: boolean): Promise<OutcomeDraft | null> {
    const draft = new OutcomeDraft(file);
    try {
      await this.#look(draft, reads);
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

  async #look(draft: OutcomeDraft, reads: boolean): Promise<void> {
    const place = this.#finder.locate(draft.file.names);
    const known = place.kind === "absent" ? null : this.#finder.rowOf(place.path);
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
        return await this.#evicted(draft, place.path, row, reads);
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
    const good = await this.#goodStoreCopy(draft, path, row, reads);
    draft.allBad(path, ["local"], good, what);
    draft.expect(path, row, true);
  }

  async #resident(
    draft: OutcomeDraft,
    path: string,
    entry: LocalEntry,
    row: ManifestRow | null,
    reads: boolean,
  ): Promise<void> {
    const { depth } = this.#options;
    if (row !== null && row.isClean) draft.expect(path, row, true);
    if (depth === "exists") return draft.all("ok");
    const wrongSize = sizeFault(draft.file, path, entry, row, depth, reads);
    const readsThis = reads && depth !== "size";
    if (!readsThis) {
      if (depth !== "size") draft.tally.notSampled += draft.file.revisions.length;
      if (wrongSize === null) return draft.all("ok");
      const good = await this.#goodStoreCopy(draft, path, row, false);
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
      await this.#checkStoreBeside(draft, path, row!);
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
    const good = await this.#goodStoreCopy(draft, path, row, true);
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
    const good = await this.#goodStoreCopy(draft, path, row, true);
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

  /** The store's copy of a file whose local copy is right. */
  async #checkStoreBeside(
    draft: OutcomeDraft,
    path: string,
    row: ManifestRow,
  ): Promise<void> {
    const { reader, store, readsAllCopies } = this.#options;
    if (store === null) return;
    const local = [{ side: "local" as const, isVerified: true }];
    if (readsAllCopies) {
      const report = await reader.readObject(row.stored!, path, draft.file);
      if (report === "deferred") {
        draft.tally.deferred += draft.file.revisions.length;
        return;
      }
      draft.tally.bytesRecalled += report.bytesRead;
      const why = objectFault(report, row, draft.file);
      if (report.fault?.kind === "absent") {
        draft.replaceMissing(path, ["store"], local, "the store has no such object");
      } else if (why !== null) {
        draft.replace(path, ["store"], local, why);
      }
      return;
    }
    const object = await reader.head(row.stored!.key);
    if (object === null) {
      draft.replaceMissing(path, ["store"], local, "the store has no such object");
    } else if (object.sizeBytes !== row.stored!.sizeBytes) {
      const why = `the object has ${object.sizeBytes} bytes, ${
        row.stored!.sizeBytes
      } were stored`;
      draft.replace(path, ["store"], local, why);
    } else if (
      object.hash !== null && row.stored!.hash !== null &&
      object.hash !== row.stored!.hash
    ) {
      draft.replace(
        path,
        ["store"],
        local,
        `the object says it is ${object.hash}, ${row.stored!.hash} was stored`,
      );
    }
  }

  async #evicted(
    draft: OutcomeDraft,
    path: string,
    row: ManifestRow | null,
    reads: boolean,
  ): Promise<void> {
    const { depth, manifest, store, storeIsListed, reader } = this.#options;
    if (manifest === null) {
      return draft.unverifiable("it is evicted, and no store was given (--config)");
    }
    if (row === null) return await this.#markerWithoutRow(draft, path);
    if (row.stored === null) {
      return draft.missing(path, ["local"], [], "the file was never stored, and is gone");
    }
    if (store === null) {
      return draft.unverifiable("it is evicted, and no store was given");
    }
    if (!row.isClean) {
      const good = [{ side: "store" as const, isVerified: false }];
      const why =
        "the newest bytes were not stored yet, and are gone; an older version is";
      draft.allBad(path, ["local"], good, why);
      return;
    }
    const readsThis = reads && (depth === "hash" || depth === "content");
    if (!readsThis) {
      if (depth === "hash" || depth === "content") {
        draft.tally.notSampled += draft.file.revisions.length;
      }
      if (storeIsListed && !row.isElsewhere) draft.expect(path, row, false);
      else return await this.#headEvicted(draft, path, row);
      return draft.all("ok");
    }
    draft.expect(path, row, false);
    const report = await reader.readObject(
      row.stored,
      path,
      depth === "hash" ? null : draft.file,
    );
    if (report === "deferred") {
      draft.tally.deferred += draft.file.revisions.length;
      return await this.#headEvicted(draft, path, row);
    }
    draft.tally.bytesRecalled += report.bytesRead;
    this.#judgeObject(draft, path, row, report);
  }

  /** Without its marker a server that runs without the shim takes the file for a new one. */
  async #unmarked(
    draft: OutcomeDraft,
    path: string,
    row: ManifestRow,
    reads: boolean,
  ): Promise<void> {
    await this.#evicted(draft, path, row, reads);
    if (draft.findings.length > 0 || row.stored === null) return;
    const isVerified = draft.tally.bytesRecalled > 0;
    if (!isVerified && this.#options.store !== null) {
      await this.#headEvicted(draft, path, row);
      if (draft.findings.length > 0) return;
    }
    const good = this.#options.store === null
      ? []
      : [{ side: "store" as const, isVerified }];
    const hint = this.#finder.hintOf([path]);
    const why = `neither the file nor its marker is on disk${hint}`;
    draft.replaceMissing(path, ["local"], good, why);
  }

  async #headEvicted(draft: OutcomeDraft, path: string, row: ManifestRow): Promise<void> {
    const object = await this.#options.reader.head(row.stored!.key);
    if (object === null) {
      draft.missing(path, ["store"], [], "evicted, and the store has no such object");
    } else if (
      this.#options.depth !== "exists" && object.sizeBytes !== row.stored!.sizeBytes
    ) {
      const why = `evicted, and the object has ${object.sizeBytes} bytes, ` +
        `${row.stored!.sizeBytes} were stored`;
      draft.allBad(path, ["store"], [], why);
    } else {
      draft.all("ok");
    }
  }

  #judgeObject(
    draft: OutcomeDraft,
    path: string,
    row: ManifestRow,
    report: CopyReport,
  ): void {
    if (report.fault !== null) {
      if (report.fault.kind === "absent") {
        return draft.missing(
          path,
          ["store"],
          [],
          "evicted, and the store has no such object",
        );
      }
      if (report.fault.kind === "damaged") {
        return draft.allBad(path, ["store"], [], `evicted, and ${report.fault.why}`);
      }
      return draft.unverifiable(
        report.fault.kind === "archived"
          ? "the object is in an archive class"
          : "the store could not be read",
      );
    }
    const hash = row.stored!.hash;
    const differs = hash !== null && hash !== report.hash;
    if (report.revisions === null) {
      if (hash === null) return draft.unverifiable("the manifest has no hash of it");
      if (!differs) return draft.all("ok");
    } else {
      draft.judge(path, report, "store");
      if (draft.findings.length > 0 || !differs) return;
      draft.restart();
    }
    const why = `evicted, and the object is ${report.hash}, ${hash} was stored`;
    draft.allBad(path, ["store"], [], why);
  }

  async #markerWithoutRow(draft: OutcomeDraft, path: string): Promise<void> {
    const name = depotPathOrNull(path);
    const object = name === null || this.#options.store === null
      ? null
      : await this.#options.reader.head(this.#options.keyOf(name));
    draft.missing(
      path,
      ["manifest"],
      object === null ? [] : [{ side: "store", isVerified: false }],
      "a marker stands here, and the manifest has no row for it" +
        (object === null ? "" : "; the store has an object of its name"),
    );
  }

  /** Whether the store still has what the local copy should be. */
  async #goodStoreCopy(
    draft: OutcomeDraft,
    path: string,
    row: ManifestRow | null,
    reads: boolean,
  ): Promise<Finding["good"]> {
    const { depth, reader, store } = this.#options;
    if (row === null || row.stored === null || store === null) return [];
    if (reads && (depth === "hash" || depth === "content")) {
      const report = await reader.readObject(
        row.stored,
        path,
        depth === "content" ? draft.file : null,
      );
      if (report !== "deferred") {
        draft.tally.bytesRecalled += report.bytesRead;
        if (report.fault?.kind === "failed") return [];
        const isGood = objectFault(report, row, draft.file) === null;
        return isGood ? [{ side: "store", isVerified: true }] : [];
      }
    }
    const object = await reader.head(row.stored.key);
    return object !== null && object.sizeBytes === row.stored.sizeBytes
      ? [{ side: "store", isVerified: false }]
      : [];
  }
}
