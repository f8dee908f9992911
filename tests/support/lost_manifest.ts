/**
 * A depot whose manifest is lost and built again: the real engine, real system calls, a
 * manifest in LMDB with its copy, and a store in memory. No daemon tells what happens: each
 * step is called by name.
 *
 * @module
 */

import { strictEqual } from "node:assert/strict";
import { type Clock, SYSTEM_CLOCK } from "../../src/core/clock.ts";
import { type BytePath, bytePathOf, type DepotPath } from "../../src/core/names.ts";
import { rebuildDepot } from "../../src/cli/sources.ts";
import { adoptFromStore } from "../../src/engine/adopt.ts";
import { deleteFile, TombstoneSweeper } from "../../src/engine/delete.ts";
import { Engine } from "../../src/engine/engine.ts";
import type { EngineContext } from "../../src/engine/engine_context.ts";
import { evict } from "../../src/engine/evict.ts";
import { observe, REPORTED_APART, SCAN } from "../../src/engine/observe.ts";
import { RecallBudget } from "../../src/engine/recall_budget.ts";
import { moveRow } from "../../src/engine/rename.ts";
import { Restorer } from "../../src/engine/restore.ts";
import type { ScanReport } from "../../src/engine/scan.ts";
import { SpaceLedger } from "../../src/engine/space.ts";
import { undeleteFile } from "../../src/engine/undelete.ts";
import { upload } from "../../src/engine/upload.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import type { FileEntry, Manifest } from "../../src/manifest/manifest.ts";
import { rebuildManifest } from "../../src/manifest/rebuild.ts";
import type { RebuildResult } from "../../src/manifest/rebuild_run.ts";
import type { RebuildStore } from "../../src/manifest/rebuild_sides.ts";
import type { createMemoryLogger } from "../../src/obs/logger.ts";
import { openMemBackend } from "../../src/storage/mem/mem_backend.ts";
import {
  type EngineFixture,
  type FixtureOptions,
  openEngineFixture,
} from "./engine_fixture.ts";

export const HOUR_MS = 3_600_000;

export const GRACE_HOURS = 24;

/** Real time, and more of it. */
class PassingClock implements Clock {
  #passedMs = 0;
  nowMs(): number {
    return SYSTEM_CLOCK.nowMs() + this.#passedMs;
  }
  monotonicMs(): number {
    return SYSTEM_CLOCK.monotonicMs() + this.#passedMs;
  }
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return SYSTEM_CLOCK.sleep(ms, signal);
  }
  pass(ms: number): void {
    this.#passedMs += ms;
  }
}

export interface RebuildOptions {
  /** Default: from the copy, if there is one. */
  readonly fromNothing?: boolean;
  readonly store?: RebuildStore;
  readonly signal?: AbortSignal;
}

export class LostManifest implements AsyncDisposable {
  readonly fixture: EngineFixture;
  readonly clock: PassingClock;
  readonly #directory: string;
  #manifest: Manifest;
  #count = 0;
  #copy: string | null = null;

  private constructor(
    fixture: EngineFixture,
    { directory, manifest, clock }: {
      readonly directory: string;
      readonly manifest: Manifest;
      readonly clock: PassingClock;
    },
  ) {
    this.fixture = fixture;
    this.clock = clock;
    this.#directory = directory;
    this.#manifest = manifest;
  }

  static async open(options: FixtureOptions = {}): Promise<LostManifest> {
    const settings = { deleteGraceSecs: GRACE_HOURS * 3_600, ...options.settings };
    const clock = new PassingClock();
    const primary = options.primary ?? openMemBackend({ nowMs: () => clock.nowMs() });
    const fixture = await openEngineFixture({ ...options, primary, settings });
    const directory = await Deno.makeTempDir({ prefix: "p4cache-lost-" });
    const manifest = await openManifest({ directory: `${directory}/0`, clock });
    return new LostManifest(fixture, { directory, manifest, clock });
  }

  get manifest(): Manifest {
    return this.#manifest;
  }

  get context(): EngineContext {
    return { ...this.fixture.context, manifest: this.#manifest, clock: this.clock };
  }

  row(name: string): FileEntry | null {
    return this.#manifest.get(this.#path(name));
  }

  #path(name: string): DepotPath {
    return this.fixture.path(name);
  }

  at(name: string): string {
    return `${this.fixture.root}/${name}`;
  }

  bytesAt(name: string): BytePath {
    return bytePathOf(this.at(name));
  }

  /** `p4d` writes it, and the daemon uploads it. */
  async store(name: string, content: string, mtime?: Date): Promise<void> {
    await this.fixture.write(name, content);
    if (mtime !== undefined) await Deno.utime(this.at(name), mtime, mtime);
    strictEqual(await observe(this.context, this.#path(name), REPORTED_APART), "written");
    strictEqual(await upload(this.context, this.#path(name)), "uploaded");
  }

  /** `p4d` writes it, and it is not uploaded yet. */
  async writeUnstored(name: string, content: string): Promise<void> {
    await this.fixture.write(name, content);
    strictEqual(await observe(this.context, this.#path(name), REPORTED_APART), "written");
  }

  async storeAndEvict(name: string, content: string, mtime?: Date): Promise<void> {
    await this.store(name, content, mtime);
    await this.evict(name);
  }

  async evict(name: string): Promise<void> {
    strictEqual(await evict(this.context, this.#path(name)), "evicted");
  }

  async delete(name: string): Promise<void> {
    await Deno.remove(this.at(name));
    strictEqual(await deleteFile(this.context, this.#path(name)), "deleted");
  }

  async undelete(name: string): Promise<void> {
    const verdict = await undeleteFile(this.context, this.#path(name), false);
    strictEqual(verdict.isDone, true);
  }

  /** The daemon looks at it, and has not uploaded it yet. */
  async look(name: string): Promise<void> {
    await observe(this.context, this.#path(name), REPORTED_APART);
  }

  /** The daemon looks at it, and uploads it if that is due. */
  async uploadAgain(name: string): Promise<void> {
    await this.look(name);
    await upload(this.context, this.#path(name));
  }

  /** A row for what a store has. */
  async adopt(name: string): Promise<void> {
    await adoptFromStore(this.context, this.#path(name));
  }

  async rename(
    from: string,
    to: string,
    { make }: { make?: string } = {},
  ): Promise<void> {
    if (make !== undefined) await Deno.mkdir(this.at(make));
    await Deno.rename(this.at(from), this.at(to));
  }

  /** The daemon is told of it. */
  async renameTold(from: string, to: string): Promise<void> {
    const { ino } = this.fixture.posix.lstat(this.bytesAt(from))!;
    await this.rename(from, to);
    const rename = { from: this.#path(from), to: this.#path(to), what: "file" } as const;
    await moveRow(this.context, { ...rename, ino, writerUid: null });
  }

  /** The daily one. */
  async copy(): Promise<void> {
    this.#copy = `${this.#directory}/copy-${++this.#count}`;
    await this.#manifest.backup(this.#copy);
  }

  /** The manifest is lost; the rebuilt one takes its place. */
  async rebuild(options: RebuildOptions = {}): Promise<RebuildResult> {
    await this.startFromCopy(options);
    return await this.rebuildAgain(options);
  }

  /** The manifest is lost; the copy takes its place, or an empty one. */
  async startFromCopy(options: RebuildOptions = {}): Promise<void> {
    await this.#manifest.close();
    const directory = `${this.#directory}/${++this.#count}`;
    if (this.#copy !== null && options.fromNothing !== true) {
      await Deno.rename(this.#copy, directory);
      this.#copy = null;
    }
    this.#manifest = await openManifest({ directory, clock: this.clock });
  }

  /** On what is there: as after a rebuild that was stopped. */
  async rebuildAgain({ store, signal }: RebuildOptions = {}): Promise<RebuildResult> {
    const { posix, root, primary, secondary } = this.fixture.context;
    return await rebuildManifest({
      manifest: this.#manifest,
      store: store ?? primary,
      secondary,
      depot: rebuildDepot(posix, root, "archives"),
      owner: { uid: Deno.uid() ?? 0, gid: Deno.gid() ?? 0 },
      manage: "archives",
      nowMs: () => this.clock.nowMs(),
    }, signal);
  }

  scan(): Promise<ScanReport> {
    return new Engine(this.context).scan(SCAN);
  }

  /** What a program reads. @throws {RestoreError} */
  async read(name: string): Promise<string> {
    const { context } = this;
    const space = new SpaceLedger(context, () => {});
    const recall = new RecallBudget(context);
    const restorer = new Restorer({ context, space, recall }, () => {});
    await restorer.restore(this.#path(name));
    return await this.fixture.read(name);
  }

  /** A pass of the sweeper each hour. Resolves with the number of objects that went. */
  async sweepFor(
    hours: number,
    sweeper = new TombstoneSweeper(this.context),
  ): Promise<number> {
    let count = 0;
    for (let hour = 0; hour < hours; hour++) {
      this.clock.pass(HOUR_MS);
      count += await sweeper.runPass();
    }
    return count;
  }

  warnings(): string[] {
    const log = this.context.log as ReturnType<typeof createMemoryLogger>;
    return log.records.filter(({ level }) => level === "warn")
      .map(({ message }) => message);
  }

  async keys(): Promise<string[]> {
    const keys: string[] = [];
    for await (const { key } of this.fixture.primary.list("")) keys.push(key);
    return keys.sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#manifest.close();
    await this.fixture[Symbol.asyncDispose]();
    await Deno.remove(this.#directory, { recursive: true });
  }
}
