/**
 * The world around the engine: `p4d` on the disk, the watcher's events, readers through the
 * shim, crashes and faults. Each action also tells the reference what `p4d` now believes.
 *
 * @module
 */

import { InvariantError } from "../../src/core/assert.ts";
import { decodeMarkerAtimeNs } from "../../src/core/marker.ts";
import { parseDepotPath } from "../../src/core/names.ts";
import type { EngineSettings } from "../../src/engine/engine_context.ts";
import { evict } from "../../src/engine/evict.ts";
import { finishMove } from "../../src/engine/finish_move.ts";
import { recoverDirectories } from "../../src/engine/recovery.ts";
import { RestoreError } from "../../src/engine/restore_error.ts";
import { upload } from "../../src/engine/upload.ts";
import type { FileEntry } from "../../src/manifest/manifest.ts";
import { MemKeyValue } from "../../src/manifest/mem_key_value.ts";
import { ManifestStore } from "../../src/manifest/manifest_store.ts";
import { firstWrites } from "../../src/manifest/schema.ts";
import { NULL_LOGGER } from "../../src/obs/logger.ts";
import { PosixError } from "../../src/posix/posix.ts";
import type { StorageBackend } from "../../src/storage/backend.ts";
import { openMemBackend } from "../../src/storage/mem/mem_backend.ts";
import { withFaults } from "../conformance/faulty_backend.ts";
import { errorOf, type Inode, MemDisk } from "../support/mem_disk.ts";
import type { Random } from "../verify/random.ts";
import { Killed, Life, ROOT } from "./life.ts";
import type { Action, DiskAction } from "./operations.ts";
import {
  bytesOfContent,
  contentOfBytes,
  contentOfHash,
  type Expected,
  ModelFailure,
  Reference,
} from "./reference.ts";
import { Scheduler, settled } from "./scheduler.ts";

/** What the watcher tells. */
type WatchEvent =
  | { readonly kind: "written"; readonly path: string }
  | { readonly kind: "gone"; readonly path: string }
  | {
    readonly kind: "renamed";
    readonly from: string;
    readonly to: string;
    readonly isDirectory: boolean;
    readonly moved: readonly Moved[];
  };

/** One name of a rename, and what is expected of the new one from then on. */
interface Moved {
  readonly from: string;
  readonly to: string;
  readonly expected: Expected;
}

type Renamed = Extract<WatchEvent, { kind: "renamed" }>;

/** Due `calls` system calls from now. */
interface Later {
  calls: number;
  readonly act: (life: Life, op: string, path: string) => void;
}

const OUTSIDE_ERRORS = new Set([
  "PosixError",
  "StorageError",
  "ManifestError",
  "RestoreError",
  // What was written down cannot be taken over while the disk or the manifest fails.
  "NotCaughtUpError",
]);

type StoreFault = Extract<Action, { kind: "storeFault" }>;

const LOG_NAME = "shim-failed-deletes.log";

const ROOT_USER = { uid: 0, gid: 0 };

/** More steps than any run needs to come to rest. */
const STEPS_MAX = 20_000;

export class World {
  readonly scheduler = new Scheduler();
  readonly reference = new Reference();
  /** A file that is made after one was deleted unheard is later, by a millisecond at least. */
  #unheardCount = 0;
  readonly disk = new MemDisk(() =>
    BigInt(this.scheduler.nowMs + this.#unheardCount) * 1_000_000n
  );
  /** The hash under each key of the primary, and of the secondary. */
  readonly objects = new Map<string, string>();
  readonly demoted = new Map<string, string>();
  readonly store = this.#openStore(this.objects);
  readonly secondary = this.#openStore(this.demoted);
  life: Life | null = null;
  readonly #primary: StorageBackend;
  readonly #tables = new MemKeyValue();
  readonly #settings: EngineSettings;
  /** Names that a `p4d` holds a lock on: no other of its processes touches them. */
  readonly busy = new Set<string>();
  /** Renames that the engine was not told of to the end. */
  readonly #moves = new Set<Renamed>();
  /** Markers that nobody told to be renamed, and the hash of what each is of. */
  readonly #untold = new Map<Inode, string>();
  #events: WatchEvent[] = [];
  #later: Later[] = [];
  #storeFaults: StoreFault[] = [];
  #manifestFaults = 0;
  #failure: unknown = null;
  #idCount = 0;
  /** Names whose DELETE the daemon has not answered. */
  readonly #deleting = new Set<string>();
  readonly #olderWritten: {
    readonly path: string;
    readonly content: number;
    readonly version: number;
  }[] = [];
  /** Deletes that the shim wrote down, by the name of then: where the name is by now. */
  readonly #unheard = new Map<
    string,
    { readonly at: string; readonly version: number }
  >();
  readonly #ledger: string[] = [];

  constructor(settings: EngineSettings) {
    this.#settings = settings;
    this.#primary = withFaults(this.store, (operation) => {
      const index = this.#storeFaults.findIndex((fault) => fault.operation === operation);
      if (index < 0) return null;
      const [{ when }] = this.#storeFaults.splice(index, 1) as [StoreFault];
      return { when, fault: "unavailable" };
    });
  }

  #openStore(objects: Map<string, string>): StorageBackend {
    const inner = openMemBackend({ nowMs: () => this.scheduler.nowMs });
    return {
      name: inner.name,
      capabilities: () => inner.capabilities(),
      upload: async (request) => {
        const info = await inner.upload(request);
        objects.set(request.key, request.metadata.hash!);
        return info;
      },
      download: (request) => inner.download(request),
      head: (key) => inner.head(key),
      delete: async (request) => {
        await inner.delete(request);
        objects.delete(request.key);
      },
      retrieve: (request) => inner.retrieve(request),
      list: (prefix) => inner.list(prefix),
      close: () => inner.close(),
    };
  }

  get graceMs(): number {
    return this.#settings.deleteGraceSecs * 1_000;
  }

  /** What is committed, for a look while no daemon runs. */
  readTables(): ManifestStore {
    return new ManifestStore({
      store: this.#tables,
      clock: this.scheduler.clockOf(this),
      readOnly: true,
      backup: () => Promise.reject(new InvariantError("no copies here")),
    });
  }

  get hasMoves(): boolean {
    return this.#moves.size > 0;
  }

  async open(random: Random): Promise<void> {
    await this.#tables.commit(firstWrites());
    for (const name of ["", "/.p4cache", "/.p4cache/tmp", "/.p4cache/evicting"]) {
      this.disk.create("mkdir", `${ROOT}${name}`, "directory", 0o755);
    }
    await this.start(true, random);
  }

  // ---- going on ----

  async act(action: Action, random: Random): Promise<void> {
    switch (action.kind) {
      case "ambush":
        this.#later.push({
          calls: action.calls,
          act: () => this.onDisk(action.action),
        });
        break;
      case "rewrite":
        this.#spawn(this.#rewrite(action.path, action.content));
        break;
      case "read":
        this.#spawn(this.#read(action.path));
        break;
      case "crash":
        if (action.calls === 0) this.crash(action.lands);
        else this.#crashLater(action.calls, action.lands);
        break;
      case "start":
        if (this.life === null) await this.start(action.trusts, random);
        break;
      case "tick":
        await this.scheduler.advance(action.ms);
        break;
      case "overflow":
        if (this.life !== null) this.#dropEvents();
        this.scan(true);
        break;
      case "diskFault":
        this.#later.push({
          calls: action.calls,
          act: (_, op, path) => {
            // A disk that cannot even be looked at stops the daemon's work, not its logic.
            if (op !== "stat" && op !== "fstat" && op !== "statvfs") {
              throw errorOf(action.code, op, path);
            }
          },
        });
        break;
      case "storeFault":
        this.#storeFaults.push(action);
        break;
      case "manifestFault":
        this.#manifestFaults += 1;
        break;
      case "deliver":
        for (let i = 0; i < action.count; i++) this.#deliver(action.uid);
        break;
      case "demote":
        await this.#demote(action.path);
        break;
      case "rename":
      case "renameDirectory":
        await this.#renameAndTell(action, random);
        break;
      case "renameUntold":
        await this.rest(random);
        this.crash(true);
        this.#renameUntold(action.action);
        await this.start(true, random);
        break;
      case "upload":
      case "evict":
      case "sweep":
      case "scan":
        this.#onEngine(action);
        break;
      default:
        this.onDisk(action);
    }
    await settled();
    this.throwFailure();
  }

  /**
   * People rename archives, not `p4d`, and in quiet: nothing else is under way, and the engine
   * takes the rename in before anything else happens; or nobody ever tells it.
   */
  async #renameAndTell(action: DiskAction, random: Random): Promise<void> {
    if (this.life === null) return this.#renameUntold(action);
    await this.rest(random);
    this.onDisk(action);
    this.deliverAll();
    await settled();
    // Also where the manifest refuses it at first, and it waits.
    await this.#goUntil(() => !this.hasMoves, random);
  }

  /** What is evicted by then is to stay in the store, as long as its marker lies in the depot. */
  #renameUntold(action: DiskAction): void {
    // Whether a record is of the file before or after, nobody could say; nor where a file belongs
    // that an exchange has out of the depot.
    if (this.reference.paths.some((path) => this.#isUnheard(path))) return;
    if (this.#isExchanging()) return;
    const rows = this.readTables().entries("", null, 1_000);
    for (const { path, entry } of rows) {
      const inode = this.disk.find(`${ROOT}/${path}`);
      if (inode?.kind !== "socket" || entry.state !== "clean" || entry.resident) continue;
      const { stored, local } = entry;
      if (stored === null || inode.mtimeNs !== local.mtimeNs) continue;
      if (sizeOfMarker(inode) === stored.sizeBytes) this.#untold.set(inode, stored.hash!);
    }
    this.onDisk(action);
  }

  /** Markers of evicted files that may have been renamed untold still have their objects. */
  checkUntold(): void {
    if (this.#untold.size === 0) return;
    const there = new Map(
      this.disk.below(ROOT).filter(({ path }) => !path.startsWith(".p4cache"))
        .map(({ path, inode }) => [inode, path]),
    );
    const hashes = new Set([...this.objects.values(), ...this.demoted.values()]);
    for (const [inode, hash] of this.#untold) {
      const path = there.get(inode);
      if (path === undefined) this.#untold.delete(inode);
      else if (!hashes.has(hash)) {
        const content = contentOfHash(hash);
        throw new ModelFailure("lost", `the marker at ${path} is of content ${content}`);
      }
    }
  }

  /** By a tool of the administrator; the secondary has the object before the primary has not. */
  async #demote(path: string): Promise<void> {
    const stored = rowOf(this, path)?.stored ?? null;
    // The key may be another file's by now: this file's object is in the secondary already.
    if (stored === null || this.objects.get(stored.key) !== stored.hash) return;
    const { key, sizeBytes } = stored;
    const content = bytesOfContent(contentOfHash(stored.hash)!);
    const info = await this.store.head(key);
    const source = {
      sizeBytes,
      read: (buffer: Uint8Array, offset: number): Promise<number> => {
        const part = content.subarray(offset, offset + buffer.length);
        buffer.set(part);
        return Promise.resolve(part.length);
      },
    };
    const metadata = info!.metadata!;
    // The secondary may have another file's bytes under this key, and they stay.
    if (this.demoted.has(key) && this.demoted.get(key) !== stored.hash) return;
    await this.secondary.upload({ key, source, metadata, ifAbsent: false });
    await this.store.delete({ key });
  }

  #onEngine(
    action: Extract<Action, { kind: "upload" | "evict" | "sweep" | "scan" }>,
  ): void {
    const { life } = this;
    if (life === null) return;
    switch (action.kind) {
      case "upload": {
        const due = life.manifest.dirtyDue(this.scheduler.nowMs, 100);
        if (!due.some(({ path }) => path === action.path)) return;
        return void this.#spawn(upload(life.context, parseDepotPath(action.path)));
      }
      case "evict":
        return void this.#spawn(evict(life.context, parseDepotPath(action.path)));
      case "sweep":
        return void this.#spawn(life.sweeper.runPass());
      case "scan":
        return this.scan(action.trusts);
    }
  }

  /** Up to `count` steps of whoever waits. */
  async go(count: number, random: Random): Promise<void> {
    for (let i = 0; i < count && this.scheduler.waitingCount > 0; i++) {
      await this.scheduler.step(random);
      this.throwFailure();
    }
  }

  /** Until nobody waits for anything but time. */
  async rest(random: Random): Promise<void> {
    await this.#goUntil(() => this.scheduler.waitingCount === 0, random);
  }

  /** Until `work` has ended, however long that takes. */
  async finish<T>(work: Promise<T>, random: Random): Promise<T> {
    let outcome: { readonly value: T } | { readonly error: unknown } | null = null;
    work.then((value) => outcome = { value }, (error) => outcome = { error });
    await settled();
    await this.#goUntil(() => outcome !== null, random);
    const ended = outcome as unknown as { value: T } | { error: unknown };
    if ("error" in ended) throw ended.error;
    return ended.value;
  }

  async #goUntil(isDone: () => boolean, random: Random): Promise<void> {
    for (let steps = 0; !isDone(); steps++) {
      if (steps > STEPS_MAX) {
        throw new ModelFailure("bug", "the engine never comes to rest");
      }
      const inMs = this.scheduler.nextWakeInMs();
      if (this.scheduler.waitingCount > 0) await this.scheduler.step(random);
      else if (inMs !== null) await this.scheduler.advance(inMs);
      else throw new ModelFailure("bug", "a call never ends");
      this.throwFailure();
    }
  }

  throwFailure(): void {
    if (this.#failure !== null) throw this.#failure;
  }

  #spawn(work: Promise<unknown>): Promise<unknown> {
    work.catch((error) => this.takeError(error));
    return work;
  }

  /** A failure of the outside world is the engine's to bear; anything else ends the run. */
  takeError(error: unknown): void {
    if (error instanceof Killed) return;
    const name = error instanceof Error ? error.name : "";
    if (!OUTSIDE_ERRORS.has(name)) this.#failure ??= error;
  }

  // ---- the daemon ----

  #newLife(): Life {
    return new Life({
      scheduler: this.scheduler,
      disk: this.disk,
      tables: this.#tables,
      primary: this.#primary,
      secondary: this.secondary,
      settings: this.#settings,
      newId: () => `id${++this.#idCount}`,
      beforeCall: (life, op, path) => this.#beforeCall(life, op, path),
      eventsUntilNow: async (life) => {
        await life.pause("events");
        if (life === this.life) await Promise.allSettled(this.deliverAll());
        return true;
      },
      ledger: {
        append: (record) => {
          this.#ledger.push(JSON.stringify(record));
          this.#heard(record);
        },
        texts: () => this.#ledger,
      },
      takeManifestFault: () => {
        if (this.#manifestFaults === 0) return false;
        this.#manifestFaults -= 1;
        return true;
      },
    });
  }

  #beforeCall(life: Life, op: string, path: string): void {
    const due: Later[] = [];
    for (const later of this.#later) {
      if (later.calls === 0) due.push(later);
      else later.calls -= 1;
    }
    if (due.length === 0) return;
    this.#later = this.#later.filter((later) => !due.includes(later));
    for (const { act } of due) act(life, op, path);
  }

  clearFaults(): void {
    this.#later = [];
    this.#storeFaults = [];
    this.#manifestFaults = 0;
  }

  /** Recovery, and the scan that runs while the daemon serves. */
  async start(trusts: boolean, random: Random): Promise<void> {
    const life = this.#newLife();
    this.life = life;
    const ready = (async (): Promise<void> => {
      await life.manifest.recover();
      await finishMove(life.context);
      await recoverDirectories(life.posix, ROOT, NULL_LOGGER);
    })();
    let isReady = false;
    this.#spawn(ready.then(() => {
      isReady = true;
    }));
    await settled();
    while (!isReady && !life.isDead && this.scheduler.waitingCount > 0) {
      await this.scheduler.step(random);
      this.throwFailure();
    }
    if (isReady) {
      this.#spawn(life.engine.run());
      // Deletes first, as the daemon does.
      this.#spawn(
        life.deletes.drain().finally(() => {
          if (life === this.life) this.scan(trusts);
        }),
      );
    } else if (!life.isDead) this.crash(false); // the disk failed: the daemon ends
  }

  scan(trustsDifference: boolean): void {
    const trusts = trustsDifference ? "newer" : "none";
    const { life } = this;
    if (life === null) return;
    const number = ++life.scansAsked;
    this.#spawn(
      life.engine.scan({ source: "scan", trusts }).then(({ stopped, failing }) => {
        if (stopped === null && failing === 0) life.scanned = number;
      }),
    );
  }

  crash(lands: boolean): void {
    const { life } = this;
    if (life === null) return;
    this.life = null;
    life.kill(lands);
    this.#dropEvents();
    // p4d's unlink returns in the end; whether the DELETE got through, nobody knows.
    for (const path of this.#deleting) this.busy.delete(path);
    this.#deleting.clear();
  }

  #crashLater(calls: number, lands: boolean): void {
    this.#later.push({
      calls,
      act: (life) => {
        if (life !== this.life) return;
        this.crash(lands);
        throw new Killed("killed");
      },
    });
  }

  // ---- events ----

  #tell(event: WatchEvent): void {
    if (event.kind === "renamed") this.#moves.add(event);
    if (this.life !== null) this.#events.push(event);
    else this.#lose(event);
  }

  #dropEvents(): void {
    this.#events = [];
    for (const move of this.#moves) this.#lose(move);
  }

  /** Nobody will tell the engine: what was moved is found by a scan, or is not. */
  #lose(event: WatchEvent): void {
    if (event.kind !== "renamed") return;
    this.#moves.delete(event);
    for (const { to, expected } of event.moved) {
      const { contents, absentOk, version } = expected;
      if (contents.length === 0) continue;
      if (this.reference.of(to).version !== version) continue;
      if (this.disk.find(`${ROOT}/${to}`)?.kind === "file") {
        this.reference.set(to, contents, { absentOk });
      } else this.reference.set(to, [], { absentOk: true, brokenOk: true });
    }
  }

  /** The engine takes in the oldest event. */
  #deliver(uid: number): Promise<unknown> {
    const { life } = this;
    const event = this.#events.shift();
    if (life === null || event === undefined) return Promise.resolve();
    const { engine } = life;
    switch (event.kind) {
      case "written":
        return this.#spawn(engine.wrote(parseDepotPath(event.path), uid));
      case "gone":
        engine.gone(parseDepotPath(event.path));
        return Promise.resolve();
      case "renamed": {
        const from = parseDepotPath(event.from);
        const to = parseDepotPath(event.to);
        const done = engine.renamed({
          from,
          to,
          what: event.isDirectory ? "directory" : "file",
          ino: null,
          writerUid: 0,
        }).then(
          () => void this.#moves.delete(event),
          (error) => {
            this.#lose(event);
            throw error;
          },
        );
        return this.#spawn(done);
      }
    }
  }

  deliverAll(): Promise<unknown>[] {
    const taken: Promise<unknown>[] = [];
    while (this.#events.length > 0) taken.push(this.#deliver(0));
    return taken;
  }

  // ---- p4d ----

  onDisk(action: DiskAction): void {
    try {
      this.#onDisk(action);
    } catch (error) {
      // What the kernel refuses, p4d did not do.
      if (!(error instanceof PosixError)) throw error;
    }
  }

  #onDisk(action: DiskAction): void {
    switch (action.kind) {
      case "write":
        return this.#write(action.path, action.content);
      case "delete":
        return this.#delete(action.path);
      case "deleteUnheard":
        return this.#deleteUnheard(action.path);
      case "unlink":
        return this.#unlink(action.path);
      case "rename":
        return this.#rename(action.from, action.to);
      case "renameDirectory":
        return this.#renameDirectory(action.from, action.to);
      case "chmod": {
        const inode = this.disk.get("chmod", `${ROOT}/${action.path}`);
        inode.mode ^= 0o200;
        return this.disk.touch(inode);
      }
    }
  }

  #write(path: string, content: number): void {
    if (this.busy.has(path) || this.hasMoves) return;
    const parent = `${ROOT}/${path}`.replace(/\/[^/]*$/, "");
    if (this.disk.find(parent) === null) {
      this.disk.create("mkdir", parent, "directory", 0o755);
    }
    const temporary = `${ROOT}/${path}`.replace(/[^/]*$/, "tmp.1");
    const inode = this.disk.create("create", temporary, "file", 0o444);
    this.disk.setBytes("write", inode, bytesOfContent(content));
    this.disk.rename("rename", temporary, `${ROOT}/${path}`);
    this.reference.written(path, content);
    this.#tell({ kind: "written", path });
  }

  #isExchanging(): boolean {
    return this.disk.below(`${ROOT}/.p4cache`).some(({ path, inode }) =>
      inode.kind !== "directory" && !path.startsWith(LOG_NAME)
    );
  }

  /** unlink(2) through the shim, which returns when the daemon has answered. */
  #delete(path: string): void {
    if (this.busy.has(path) || this.hasMoves) return;
    // What an exchange has out of the depot in this moment comes back to an empty name.
    const isExchanging = this.#isExchanging();
    this.disk.unlink("unlink", `${ROOT}/${path}`);
    this.#tell({ kind: "gone", path });
    // A DELETE that fails half way leaves a marker that nobody can read.
    this.reference.doubt(path, true);
    const { life } = this;
    if (life === null) return;
    this.busy.add(path);
    this.#deleting.add(path);
    const { version } = this.reference.of(path);
    const deleted = life.engine.delete(parseDepotPath(path), ROOT_USER).then(() => {
      if (this.reference.of(path).version !== version) return;
      this.reference.deleted(path);
      if (isExchanging) this.reference.doubt(path, true);
    }).finally(() => {
      // The daemon's end freed it before: p4d may have gone on since.
      if (!life.isDead && this.#deleting.delete(path)) this.busy.delete(path);
    });
    this.#spawn(deleted);
  }

  /** unlink(2) through the shim, which does not reach the daemon, and returns at once. */
  #deleteUnheard(path: string): void {
    if (this.busy.has(path) || this.hasMoves) return;
    const isExchanging = this.#isExchanging();
    this.disk.unlink("unlink", `${ROOT}/${path}`);
    this.#tell({ kind: "gone", path });
    const log = `${ROOT}/.p4cache/${LOG_NAME}`;
    const inode = this.disk.find(log) ??
      this.disk.create("create", log, "file", 0o660);
    const ts = this.scheduler.nowMs + this.#unheardCount;
    this.#unheardCount += 1;
    const line = JSON.stringify({ ts, path, pid: 9, uid: 0, why: "unreachable" });
    const text = `${new TextDecoder().decode(inode.bytes)}${line}\n`;
    this.disk.setBytes("write", inode, new TextEncoder().encode(text));
    this.reference.doubt(path, true);
    // What comes back from an exchange is a file that was there, by its record or without.
    if (isExchanging) this.#unheard.delete(path);
    else this.#unheard.set(path, { at: path, version: this.reference.of(path).version });
  }

  /** A record may be of this name, or was of it before its directory was renamed. */
  #isUnheard(path: string): boolean {
    const name = path.slice(path.lastIndexOf("/") + 1);
    return this.disk.below(`${ROOT}/.p4cache`).some(({ path: file, inode }) =>
      file.startsWith(LOG_NAME) && new TextDecoder().decode(inode.bytes).includes(name)
    );
  }

  /** What the shim wrote down is in the ledger: from then on the file is gone. */
  #heard(
    record: { readonly op?: string; readonly path?: string; applied?: boolean },
  ): void {
    if (record.op !== "delete" || record.path === undefined) return;
    const unheard = this.#unheard.get(record.path);
    this.#unheard.delete(record.path);
    if (unheard === undefined || record.applied !== true) return;
    if (this.reference.of(unheard.at).version !== unheard.version) return;
    this.reference.deleted(unheard.at);
  }

  /** By a program without the shim: no DELETE. */
  #unlink(path: string): void {
    // While a rename is not told, nobody could say which version comes back.
    if (this.busy.has(path) || this.hasMoves || this.#isUnheard(path)) return;
    const row = rowOf(this, path);
    this.disk.unlink("unlink", `${ROOT}/${path}`);
    this.#tell({ kind: "gone", path });
    const isStored = row?.state === "clean" &&
      this.reference.of(path).contents.includes(storedContentOf(row) ?? -1);
    // What an exchange may have brought back after its DELETE stays in doubt.
    const { brokenOk } = this.reference.of(path);
    if (!isStored) this.reference.doubt(path, brokenOk || this.hasMoves);
  }

  #rename(from: string, to: string): void {
    if (from === to || this.busy.has(from) || this.busy.has(to)) return;
    this.disk.rename("rename", `${ROOT}/${from}`, `${ROOT}/${to}`);
    const moved = [this.#moved(from, to)];
    this.#tell({ kind: "renamed", from, to, isDirectory: false, moved });
  }

  #moved(from: string, to: string): Moved {
    this.reference.moved(from, to, this.disk.find(`${ROOT}/${to}`) !== null);
    return { from, to, expected: this.reference.of(to) };
  }

  #renameDirectory(from: string, to: string): void {
    if ([...this.busy].some((path) => /^[dg]\//.test(path))) return;
    this.disk.rename("rename", `${ROOT}/${from}`, `${ROOT}/${to}`);
    const before = new Map(
      this.reference.paths.map((path) => [path, this.reference.of(path)]),
    );
    const moved = this.reference.paths.filter((path) => path.startsWith(`${from}/`))
      .map((path) => this.#moved(path, to + path.slice(from.length)));
    for (const [path, { at, version }] of this.#unheard) {
      if (!at.startsWith(`${from}/`)) continue;
      const there = to + at.slice(from.length);
      const isStill = before.get(at)?.version === version &&
        (before.get(there)?.contents.length ?? 0) === 0;
      if (!isStill) this.#unheard.delete(path);
      else {
        this.#unheard.set(path, { at: there, version: this.reference.of(there).version });
      }
    }
    this.#tell({ kind: "renamed", from, to, isDirectory: true, moved });
  }

  /** In place, as few do: open for writing, write in two halves, close. */
  async #rewrite(path: string, content: number): Promise<void> {
    if (this.busy.has(path)) return;
    this.busy.add(path);
    try {
      if (this.disk.find(`${ROOT}/${path}`)?.kind !== "file") return;
      const inode = await this.disk.openWriter(`${ROOT}/${path}`);
      const { contents } = this.reference.of(path);
      const isOlder = !contents.includes(contentOfBytes(inode.bytes) ?? -1) &&
        this.isAside(contents);
      const bytes = bytesOfContent(content);
      this.disk.setBytes("write", inode, bytes.slice(0, bytes.length / 2));
      await this.scheduler.pause(this, "rewrite");
      this.disk.setBytes("write", inode, bytes);
      this.disk.close(inode, true);
      this.reference.written(path, content);
      if (isOlder) this.#wroteOlder(path, content, contents);
      this.#tell({ kind: "written", path });
    } finally {
      this.busy.delete(path);
    }
  }

  /**
   * For a moment an exchange showed the version before the one that was just put under the
   * name, and that one was written: it is kept, but not under the name.
   */
  #wroteOlder(path: string, content: number, newest: readonly number[]): void {
    this.reference.set(path, [content, ...newest]);
    const { version } = this.reference.of(path);
    this.#olderWritten.push({ path, content, version });
  }

  /** What was written to a version that an exchange showed for a moment is somewhere. */
  checkOlderWritten(): void {
    for (const { path, content, version } of this.#olderWritten) {
      if (this.reference.of(path).version !== version) continue;
      const kept = this.disk.below(`${ROOT}/.p4cache`).map(({ inode }) => inode);
      const isFound = [this.disk.find(`${ROOT}/${path}`), ...kept].some((inode) =>
        inode?.kind === "file" && contentOfBytes(inode.bytes) === content
      );
      if (isFound || storedContentOf(rowOf(this, path)) === content) continue;
      throw new ModelFailure("lost", `content ${content} of ${path} is nowhere`);
    }
  }

  /** open(2) through the shim. */
  async #read(path: string): Promise<void> {
    for (let tries = 0; tries < 3; tries++) {
      if (this.busy.has(path)) return;
      const expected = this.reference.of(path);
      const inode = this.disk.find(`${ROOT}/${path}`);
      if (inode?.kind === "file") return this.checkBytes(path, inode.bytes);
      if (this.life === null || this.hasMoves) return;
      try {
        await this.life.engine.restore(parseDepotPath(path));
        this.life?.engine.accessed(path, this.scheduler.nowMs);
      } catch (error) {
        const isSettled = this.reference.of(path).version === expected.version &&
          !this.busy.has(path) && !this.hasMoves;
        if (isSettled) this.#checkRefusal(path, error);
        return;
      }
    }
  }

  #checkRefusal(path: string, error: unknown): void {
    if (!(error instanceof RestoreError)) throw error;
    if (error.fault === "UNAVAILABLE" || error.fault === "FULL") return;
    const { absentOk, brokenOk, contents } = this.reference.of(path);
    if (error.fault === "NOTFOUND" ? absentOk : brokenOk || absentOk) return;
    throw new ModelFailure(
      "lost",
      `${path} has content ${contents}, and the engine says ${error.fault}: ` +
        error.message,
    );
  }

  /**
   * One of `contents`, or a marker, lies in the daemon's own directory: an exchange took it
   * out of the depot a moment ago and is about to put it back. After a crash the next start
   * does; in lost+found is only what the name does not have to have.
   */
  isAside(contents: readonly number[]): boolean {
    return this.disk.below(`${ROOT}/.p4cache`).some(({ path, inode }) =>
      !path.startsWith("lost+found/") && (inode.kind === "socket" ||
        (inode.kind === "file" && contents.includes(contentOfBytes(inode.bytes) ?? -1)))
    );
  }

  /** What a reader gets is what was acknowledged. */
  checkBytes(path: string, bytes: Uint8Array): void {
    const { contents } = this.reference.of(path);
    // A name that was deleted may show its old bytes until the DELETE is through.
    if (contents.length === 0) return;
    const content = contentOfBytes(bytes);
    if (content !== null && contents.includes(content)) return;
    if (this.isAside(contents)) return;
    throw new ModelFailure(
      "wrong",
      `${path} reads as content ${content}, ${contents} was written`,
    );
  }
}

function rowOf(world: World, path: string): FileEntry | null {
  return (world.life?.manifest ?? world.readTables()).get(parseDepotPath(path));
}

function sizeOfMarker({ atimeNs }: Inode): number | null {
  return decodeMarkerAtimeNs(atimeNs);
}

function storedContentOf(row: FileEntry | null): number | null {
  return contentOfHash(row?.stored?.hash ?? null);
}
