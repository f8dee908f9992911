/**
 * A run of the verifier: reads the records, checks each archive that they name, then looks
 * from the other side. Decides the order and what is asked of whom; writes nothing but its
 * resume file.
 *
 * @module
 */

import { bytesOf, type DepotPath, displayPath, firstKeyFor } from "../core/names.ts";
import { DepotMaps, foldCase } from "../perforce/archive_path.ts";
import { createContentHasher } from "../storage/hashing.ts";
import { ArchiveChecker } from "./archive_check.ts";
import { chooseSelection, RecallBudget, Throttle } from "./budget.ts";
import { type Catalog, readCatalog } from "./catalog.ts";
import { type ArchiveGroup, type Claim, groupClaims } from "./claims.ts";
import { CopyReader } from "./copy_reader.ts";
import { GroupChecker, type GroupOutcome } from "./group_check.ts";
import { Inventory } from "./inventory.ts";
import { JudgedNames, leftOutOf } from "./judged_names.ts";
import { lookFromOtherSide, orIncomplete } from "./other_side.ts";
import { checkPacks } from "./pack_check.ts";
import { addTally, type Depth, type Finding } from "./report_types.ts";
import { ResumeLog } from "./resume_log.ts";
import { RunTotals } from "./run_totals.ts";
import { Scratch } from "./scratch.ts";
import type {
  VerifyObserver,
  VerifyOptions,
  VerifyResult,
  VerifySources,
} from "./verify_types.ts";

/** Groups under way at once. Results are taken in order, so this bounds memory too. */
const GROUPS_IN_FLIGHT = 16;
const INTERRUPTED = "the run was interrupted";
const BUDGET_USED_UP =
  "the recall budget is used up: run again with the same resume file to go on";
const MARK_EVERY_MS = 10_000;

/** Archives that a resume file may leave to the next run; with more it is not gone on with. */
const LEFT_MAX = 100_000;

export async function verify(
  options: VerifyOptions,
  sources: VerifySources,
  observer: VerifyObserver,
): Promise<VerifyResult> {
  const scratch = Scratch.open(sources.scratchDirectory);
  try {
    const catalog = await readCatalog({
      checkpoint: options.checkpoint,
      journals: options.journals,
      scratch,
      ignoresMd5: options.ignoresMd5,
      signal: sources.signal,
      onProgress: (done, total) => observer.progress("records", done, total),
    });
    const run = new Run(options, sources, observer, { catalog, scratch });
    try {
      return await run.all();
    } finally {
      run.close();
    }
  } finally {
    scratch.close();
  }
}

interface Checked {
  readonly outcome: GroupOutcome;
  /** Nothing made the run incomplete meanwhile. */
  readonly isWhole: boolean;
}

class Run {
  readonly #options: VerifyOptions;
  readonly #sources: VerifySources;
  readonly #observer: VerifyObserver;
  readonly #catalog: Catalog;
  readonly #maps: DepotMaps;
  readonly #scratch: Scratch;
  readonly #budget: RecallBudget;
  readonly #throttle: Throttle;
  readonly #inventory: Inventory;
  readonly #groups: GroupChecker;
  readonly #resume: ResumeLog | null = null;
  readonly #resumeAfter: string = "";
  /** Archives that an earlier run has found something wrong with. */
  readonly #resumeFound = new Set<string>();
  /** What an earlier run left, or this one leaves. */
  readonly #left = new Set<string>();
  readonly #totals = new RunTotals();
  /** Of what is left to the next run: counted in this one's result, and not in its marks. */
  readonly #leftTotals = new RunTotals();

  constructor(
    options: VerifyOptions,
    sources: VerifySources,
    observer: VerifyObserver,
    found: { catalog: Catalog; scratch: Scratch },
  ) {
    const { catalog, scratch } = found;
    this.#options = options;
    this.#sources = sources;
    this.#observer = observer;
    this.#catalog = catalog;
    this.#scratch = scratch;
    for (const warning of catalog.warnings) this.#totals.addWarning(warning);
    this.#maps = new DepotMaps(
      catalog.depots,
      catalog.caseRule,
      depotRoots(catalog, sources),
    );
    if (options.resumePath !== null) {
      const { log, point } = ResumeLog.open(
        options.resumePath,
        identityOf(options, catalog),
      );
      this.#resume = log;
      this.#resumeAfter = point.after;
      this.#totals.restore(point.tallies, point.reasons);
      for (const key of point.left) this.#left.add(key);
      for (const finding of point.findings) {
        this.#resumeFound.add(finding.archive);
        observer.finding(finding);
      }
    }
    // The budget is that of this run: each run may spend it.
    this.#budget = new RecallBudget(options.recallBytesMax);
    this.#throttle = new Throttle(sources.clock, options.bytesPerSecond);
    this.#inventory = new Inventory({
      files: sources.files,
      manifest: sources.manifest,
      store: sources.store,
      scratch,
      caseRule: catalog.caseRule,
      checksSize: options.depth !== "exists",
      orphansBeforeMs: catalog.asOfS * 1000 - options.orphanAgeMs,
      judged: new JudgedNames(
        leftOutOf(this.#maps, options.checksArchiveDepots),
        catalog.caseRule,
      ),
    });
    this.#groups = new GroupChecker({
      maps: this.#maps,
      checker: this.#makeChecker(options.depth),
      passer: this.#makeChecker("exists"),
      doneUpTo: this.#resumeAfter,
      left: new Set(this.#left),
      selection: chooseSelection(options.sampling, catalog.asOfS),
      checksArchiveDepots: options.checksArchiveDepots,
      onWarning: (why) => this.#totals.addWarning(why),
    });
  }

  close(): void {
    this.#resume?.close();
    this.#inventory.close();
    this.#catalog.claims.close();
  }

  #makeChecker(depth: Depth): ArchiveChecker {
    const { files, store, manifest, signal, clock } = this.#sources;
    const onIncomplete = (why: string): void => this.#totals.addIncomplete(why);
    const reader = new CopyReader({
      files,
      store,
      scratch: this.#scratch,
      budget: this.#budget,
      throttle: this.#throttle,
      signal,
      onIncomplete,
    });
    return new ArchiveChecker({
      clock,
      files,
      manifest,
      store,
      depth,
      readsAllCopies: this.#options.readsAllCopies,
      storeIsListed: this.#listsStore(),
      reader,
      keyOf,
      onIncomplete,
    });
  }

  #listsStore(): boolean {
    return this.#sources.store !== null && this.#options.depotPrefix === null;
  }

  async all(): Promise<VerifyResult> {
    const isDone = await this.#checkArchives();
    this.#totals.restore(
      Object.fromEntries(this.#leftTotals.tallies),
      Object.fromEntries(this.#leftTotals.reasons),
    );
    if (isDone) await this.#checkGraphDepots();
    const omitted = isDone
      ? await lookFromOtherSide({
        wanted: this.#options,
        hasStore: this.#sources.store !== null,
        hasAllRows: this.#catalog.incomplete.length === 0,
        inventory: this.#inventory,
        totals: this.#totals,
        observer: this.#observer,
      })
      : "the run did not come so far";
    const { incomplete, stats, asOfS } = this.#catalog;
    const { tallies, reasons, orphans, strays, warnings } = this.#totals;
    return {
      tallies,
      total: this.#totals.total(),
      reasons,
      orphans,
      strays,
      inventory: omitted === null ? this.#inventory.counts : null,
      inventoryOmitted: omitted,
      truncated: incomplete.length > 0,
      incomplete: [...incomplete, ...this.#totals.incomplete],
      warnings,
      stats,
      asOfS,
    };
  }

  /** True if it came to the end. */
  async #checkArchives(): Promise<boolean> {
    const underWay: Promise<Checked>[] = [];
    const state = { claims: 0, last: this.#resumeAfter, markedMs: this.#nowMs() };
    let stopped: string | null = null;
    const settleOldest = async (): Promise<void> => {
      const { outcome, isWhole } = await underWay.shift()!;
      // With a resume file what was not read is left, with all that follows, to the next run.
      if (this.#isForLater(outcome)) stopped ??= BUDGET_USED_UP;
      if (this.#sources.signal.aborted) stopped ??= INTERRUPTED;
      if (stopped !== null) return;
      this.#settle(outcome, isWhole, state);
      if (this.#nowMs() - state.markedMs > MARK_EVERY_MS) this.#mark(state);
    };
    let wantedCount = 0;
    for (const group of groupClaims(this.#catalog.claims.sorted(), this.#wanted())) {
      if (this.#sources.signal.aborted) stopped ??= INTERRUPTED;
      if (stopped !== null) break;
      if (group.isWanted) wantedCount++;
      const checking = this.#check(group);
      // A failure is thrown when its turn comes, also if the run ends before.
      checking.catch(() => {});
      underWay.push(checking);
      if (underWay.length >= GROUPS_IN_FLIGHT) await settleOldest();
    }
    while (underWay.length > 0) await settleOldest();
    this.#mark(state);
    if (stopped !== null) this.#totals.addIncomplete(stopped);
    else if (wantedCount === 0) this.#addNothingWanted();
    return stopped === null;
  }

  /** Names are compared as the server compares them. */
  #wanted(): (claim: Claim) => boolean {
    const { caseRule } = this.#catalog;
    const { depotPrefix } = this.#options;
    if (depotPrefix === null) return () => true;
    const prefix = foldCase(depotPrefix, caseRule);
    return ({ depotFile, lbrFile }) =>
      foldCase(depotFile === "" ? lbrFile : depotFile, caseRule).startsWith(prefix);
  }

  /** A path that is not written as in the records must not look like one that is good. */
  #addNothingWanted(): void {
    const { depotPrefix } = this.#options;
    if (depotPrefix === null) return;
    const rule = this.#catalog.caseRule.ignoresCase ? "in any case" : "in exact case";
    this.#totals.addIncomplete(
      `no revision with content lies below ${displayPath(depotPrefix)}... ` +
        `(compared ${rule}): nothing was checked`,
    );
  }

  /** Neighbours that are under way at the same time may be taken for incomplete along with it. */
  async #check(group: ArchiveGroup): Promise<Checked> {
    const before = this.#totals.incompleteCount;
    const outcome = await this.#groups.check(group);
    return { outcome, isWhole: this.#totals.incompleteCount === before };
  }

  #isForLater(outcome: GroupOutcome): boolean {
    return this.#resume !== null && this.#budget.isExhausted &&
      outcome.files.some((file) => file.tally.deferred > 0);
  }

  #nowMs(): number {
    return this.#sources.clock.monotonicMs();
  }

  #settle(
    outcome: GroupOutcome,
    isWhole: boolean,
    state: { claims: number; last: string },
  ): void {
    state.claims += outcome.claims;
    this.#inventory.addNames(outcome.otherNames);
    for (const file of outcome.files) {
      this.#inventory.addNames(file.names);
      const wasFound = file.names.some((name) => this.#resumeFound.has(name));
      if (wasFound || file.findings.length > 0) this.#inventory.addDoubt(file.names);
      if (file.expected === null || this.#resumeFound.has(file.expected.path)) continue;
      this.#inventory.addExpected(file.expected, outcome.depot);
    }
    if (!this.#groups.isDone(outcome.key)) this.#count(outcome, isWhole, state);
    this.#observer.progress("archives", state.claims, this.#catalog.claims.count);
  }

  #count(outcome: GroupOutcome, isWhole: boolean, state: { last: string }): void {
    const isLeft = !isWhole && this.#resume !== null;
    if (isLeft) this.#left.add(outcome.key);
    if (isLeft || this.#left.delete(outcome.key)) {
      this.#resume?.left(outcome.key, isLeft);
    }
    const totals = isLeft ? this.#leftTotals : this.#totals;
    addTally(totals.tallyOf(outcome.depot), outcome.tally);
    for (const file of outcome.files) {
      addTally(totals.tallyOf(outcome.depot), file.tally);
      for (const finding of file.findings) this.#report(finding, isLeft);
      totals.addReasons(file.reasons);
    }
    totals.addReasons(outcome.reasons);
    if (outcome.key > state.last) state.last = outcome.key;
  }

  #mark(state: { last: string; markedMs: number }): void {
    state.markedMs = this.#nowMs();
    if (this.#left.size > LEFT_MAX) return;
    this.#resume?.mark({
      after: state.last,
      tallies: Object.fromEntries(this.#totals.tallies),
      reasons: Object.fromEntries(this.#totals.reasons),
    });
  }

  #report(finding: Finding, isLeft: boolean): void {
    if (!isLeft) this.#resume?.finding(finding);
    this.#observer.finding(finding);
  }

  async #checkGraphDepots(): Promise<void> {
    if (this.#options.depotPrefix !== null) return;
    for (const depot of this.#maps.depots()) {
      if (depot.type !== "graph") continue;
      const { path } = this.#maps.mapped(depot, "");
      await orIncomplete(this.#totals, async () => {
        const { files } = this.#sources;
        const { depth } = this.#options;
        const { tally, findings } = await checkPacks(files, path, depth, this.#throttle);
        addTally(this.#totals.tallyOf(depot.name), tally);
        for (const finding of findings) this.#observer.finding(finding);
      });
    }
  }
}

/** The key of the first version of a path. */
function keyOf(path: DepotPath): string {
  return firstKeyFor(path, () => {
    const hasher = createContentHasher();
    hasher.update(bytesOf(path));
    return hasher.digestHex();
  });
}

/** Directories that absolute depot maps may begin with, and that are the depot root here. */
function depotRoots(catalog: Catalog, sources: VerifySources): string[] {
  const configured = catalog.config
    .filter((row) => row.name === "server.depot.root")
    .map((row) => row.value);
  return [sources.depotRoot, ...configured, catalog.serverRoot];
}

/** What two runs must have in common for one to go on where the other stopped. */
function identityOf(options: VerifyOptions, catalog: Catalog): string {
  const { depth, sampling, depotPrefix, checkpoint, journals } = options;
  return JSON.stringify({
    version: 2,
    depth,
    sampling,
    depotPrefix,
    checkpoint,
    journals,
    readsAllCopies: options.readsAllCopies,
    checksArchiveDepots: options.checksArchiveDepots,
    asOfS: catalog.asOfS,
    bytes: catalog.stats.bytesRead,
    records: catalog.stats.recordsRead,
    claims: catalog.claims.count,
  });
}
