/**
 * One life of the daemon in the simulation: the real engine over the shared disk, store and
 * tables, from its start until it is killed. A dead one never takes another step.
 *
 * @module
 */

import { InvariantError } from "../../src/core/assert.ts";
import { KeyedLock } from "../../src/core/keyed_lock.ts";
import { FailedDeletes } from "../../src/daemon/failed_deletes.ts";
import { TombstoneSweeper } from "../../src/engine/delete.ts";
import { Engine } from "../../src/engine/engine.ts";
import type { EngineContext, EngineSettings } from "../../src/engine/engine_context.ts";
import { Departures } from "../../src/engine/departures.ts";
import { ArchivedObjects } from "../../src/engine/archived_objects.ts";
import { DoubtfulKeys } from "../../src/engine/doubtful_keys.ts";
import { ToldUploads } from "../../src/engine/told_uploads.ts";
import { PutBackMarkers } from "../../src/engine/put_back.ts";
import { UnknownMarkers } from "../../src/engine/unknown_markers.ts";
import type { KeyValueStore, Write } from "../../src/manifest/key_value.ts";
import { ManifestError } from "../../src/manifest/manifest.ts";
import { ManifestStore } from "../../src/manifest/manifest_store.ts";
import type { MemKeyValue } from "../../src/manifest/mem_key_value.ts";
import { NULL_LOGGER } from "../../src/obs/logger.ts";
import type { Metrics } from "../../src/obs/metrics.ts";
import type { StorageBackend } from "../../src/storage/backend.ts";
import type { MemDisk } from "../support/mem_disk.ts";
import { MemPosix } from "../support/mem_posix.ts";
import type { Scheduler } from "./scheduler.ts";

export const ROOT = "/depot";

/** Ends the synchronous code of a life that was killed in the middle of it. */
export class Killed extends Error {
  override readonly name = "Killed";
}

export interface LifeDeps {
  readonly scheduler: Scheduler;
  readonly disk: MemDisk;
  readonly tables: MemKeyValue;
  readonly primary: StorageBackend;
  readonly secondary: StorageBackend | null;
  readonly settings: EngineSettings;
  readonly newId: () => string;
  /** Told of each system call of this life; may act, fail the call, or end the life. */
  readonly beforeCall: (life: Life, op: string, path: string) => void;
  /** Whether the next commit fails. */
  readonly takeManifestFault: () => boolean;
  /** Resolves when the engine has taken in what the watcher told before the call. */
  readonly eventsUntilNow: (life: Life) => Promise<boolean>;
  /** The ledger of failed operations, which outlives each life. */
  readonly ledger: { append(record: object): void; texts(): string[] };
}

export class Life {
  readonly posix: MemPosix;
  readonly manifest: ManifestStore;
  readonly context: EngineContext;
  readonly engine: Engine;
  readonly sweeper: TombstoneSweeper;
  readonly deletes: FailedDeletes;
  readonly #deps: LifeDeps;
  /** A commit that waits for its turn. */
  #committing: readonly Write[] | null = null;
  isDead = false;
  /** Scans that were asked for, and the last of them that has looked at everything. */
  scansAsked = 0;
  scanned = 0;

  constructor(deps: LifeDeps) {
    this.#deps = deps;
    const { scheduler, disk } = deps;
    const clock = scheduler.clockOf(this);
    this.posix = new MemPosix(disk, {
      before: (op, path): void => {
        if (this.isDead) throw new Killed("a dead process calls nothing");
        deps.beforeCall(this, op, path);
      },
      pause: (op) => this.pause(op),
    });
    this.manifest = new ManifestStore({
      store: this.#tables(),
      clock,
      readOnly: false,
      // A death between any two.
      rowsPerStep: 1,
      backup: () => Promise.reject(new InvariantError("no copies here")),
    });
    this.context = {
      root: ROOT,
      device: disk.statOf(disk.get("stat", ROOT)).dev,
      posix: this.posix,
      manifest: this.manifest,
      primary: this.#slow(deps.primary),
      secondary: deps.secondary === null ? null : this.#slow(deps.secondary),
      readStores: [],
      settings: () => deps.settings,
      locks: new KeyedLock(),
      evictions: new KeyedLock(),
      putBack: new PutBackMarkers(),
      unknownMarkers: new UnknownMarkers(),
      scans: {
        isWhole: () => this.scansAsked > 0 && this.scanned === this.scansAsked,
        areRenamesTold: () => true,
        request: () => {},
      },
      archived: new ArchivedObjects(),
      doubtfulKeys: new DoubtfulKeys(),
      departures: new Departures(),
      eventsUntilNow: async () =>
        await deps.eventsUntilNow(this) && await this.deletes.takeOverNew(),
      unwatched: () => null,
      applyDeletesBelow: (directory) => this.deletes.applyBelow(directory),
      clock,
      newId: deps.newId,
      log: NULL_LOGGER,
      metrics: NO_METRICS,
      failedOps: { append: (record) => deps.ledger.append(record) },
      failedUploads: { append: (): void => {} },
      toldUploads: new ToldUploads(),
      refuseUpload: () => null,
      signal: new AbortController().signal,
    };
    this.engine = new Engine(this.context);
    this.deletes = new FailedDeletes(
      { ...this.context, eventsUntilNow: () => deps.eventsUntilNow(this) },
      () => deps.ledger.texts(),
    );
    this.sweeper = new TombstoneSweeper(this.context);
  }

  /** Waits for its turn; of a dead life, for ever. */
  pause(label: string): Promise<void> {
    return this.#deps.scheduler.pause(this, label);
  }

  /** The process is killed. `lands`: a commit that was on its way reached the disk. */
  kill(lands: boolean): void {
    this.isDead = true;
    this.#deps.scheduler.drop(this);
    if (lands && this.#committing !== null) {
      void this.#deps.tables.commit(this.#committing);
    }
    this.posix[Symbol.dispose]();
  }

  #tables(): KeyValueStore {
    const { tables, takeManifestFault } = this.#deps;
    return {
      get: (table, key) => tables.get(table, key),
      keys: (table, range) => tables.keys(table, range),
      read: (table, key, decode) => tables.read(table, key, decode),
      sealedRow: () => null,
      range: (table, range) => tables.range(table, range),
      snapshot: () => tables.snapshot(),
      count: (table) => tables.count(table),
      close: () => Promise.resolve(),
      commit: async (writes) => {
        this.#committing = writes;
        await this.pause("commit");
        this.#committing = null;
        if (takeManifestFault()) throw new ManifestError("full", "it is told to fail");
        await tables.commit(writes);
      },
    };
  }

  /** Each request takes a while to get there, and its answer a while to come back. */
  #slow(inner: StorageBackend): StorageBackend {
    const request = async <T>(label: string, ask: () => Promise<T>): Promise<T> => {
      await this.pause(label);
      const result = await ask();
      await this.pause(`${label} answer`);
      return result;
    };
    return {
      name: inner.name,
      capabilities: () => inner.capabilities(),
      upload: (asked) => request("upload", () => inner.upload(asked)),
      download: (asked) => request("download", () => inner.download(asked)),
      head: (key) => request("head", () => inner.head(key)),
      delete: (asked) => request("delete", () => inner.delete(asked)),
      retrieve: (asked) => request("retrieve", () => inner.retrieve(asked)),
      list: (prefix) => inner.list(prefix),
      close: () => inner.close(),
    };
  }
}

const NO_METRICS: Metrics = {
  count: () => {},
  set: () => {},
  observe: () => {},
  counted: () => 0,
  render: () => Promise.resolve(""),
};
