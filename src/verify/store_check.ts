/**
 * Checks the copy in the store: of an evicted file, and beside one that is on disk.
 *
 * @module
 */

import { type DepotPath, depotPathOrNull } from "../core/names.ts";
import { objectFault } from "./copy_faults.ts";
import type { CopyReader, CopyReport } from "./copy_reader.ts";
import type { OutcomeDraft } from "./outcome_draft.ts";
import type { Depth, Finding } from "./report_types.ts";
import type { ArchiveStore, ManifestRow, ManifestView, StoredObject } from "./sources.ts";

export interface StoreCheckOptions {
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
}

export class StoreChecker {
  readonly #options: StoreCheckOptions;

  constructor(options: StoreCheckOptions) {
    this.#options = options;
  }

  /** The store's copy of a file whose local copy is right. */
  async checkBeside(
    draft: OutcomeDraft,
    path: string,
    row: ManifestRow,
  ): Promise<void> {
    const { reader, store, readsAllCopies } = this.#options;
    if (store === null || row.isElsewhere) return;
    const local = [{ side: "local" as const, isVerified: true }];
    if (readsAllCopies) {
      const report = await reader.readObject(row.stored!, path, draft.file);
      if (report === "deferred") {
        draft.tally.deferred += draft.file.revisions.length;
        return;
      }
      draft.tally.bytesRecalled += report.bytesRead;
      // No answer says nothing of the object; the reader has made the run incomplete.
      if (report.fault?.kind === "failed" || report.fault?.kind === "archived") return;
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
    } else if (isOtherContent(object, row)) {
      draft.replace(
        path,
        ["store"],
        local,
        `the object says it is ${object.hash}, ${row.stored!.hash} was stored`,
      );
    }
  }

  async checkEvicted(
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
      const why =
        "the newest bytes were not stored yet, and are gone; the store has an older version";
      draft.allBad(path, ["local"], [], why);
      return;
    }
    if (row.isElsewhere) {
      return draft.unverifiable(
        "it is evicted, and its object is in the secondary store or a read prefix",
      );
    }
    const readsThis = reads && (depth === "hash" || depth === "content");
    if (!readsThis) {
      if (depth === "hash" || depth === "content") {
        draft.tally.notSampled += draft.file.revisions.length;
      }
      if (storeIsListed) draft.expect(path, row);
      else return await this.headEvicted(draft, path, row);
      return draft.all("ok");
    }
    draft.expect(path, row);
    const report = await reader.readObject(
      row.stored,
      path,
      depth === "hash" ? null : draft.file,
    );
    if (report === "deferred") {
      draft.tally.deferred += draft.file.revisions.length;
      return await this.headEvicted(draft, path, row);
    }
    draft.tally.bytesRecalled += report.bytesRead;
    this.#judgeObject(draft, path, row, report);
  }

  async headEvicted(draft: OutcomeDraft, path: string, row: ManifestRow): Promise<void> {
    const object = await this.#options.reader.head(row.stored!.key);
    if (object === null) {
      draft.missing(path, ["store"], [], "evicted, and the store has no such object");
    } else if (
      this.#options.depth !== "exists" && object.sizeBytes !== row.stored!.sizeBytes
    ) {
      const why = `evicted, and the object has ${object.sizeBytes} bytes, ` +
        `${row.stored!.sizeBytes} were stored`;
      draft.allBad(path, ["store"], [], why);
    } else if (this.#options.depth !== "exists" && isOtherContent(object, row)) {
      const why = `evicted, and the object says it is ${object.hash}, ` +
        `${row.stored!.hash} was stored`;
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
  async goodCopy(
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

/** By the hash that the object carries, where both are known. */
function isOtherContent({ hash }: StoredObject, row: ManifestRow): boolean {
  const known = row.stored!.hash;
  return hash !== null && known !== null && hash !== known;
}
