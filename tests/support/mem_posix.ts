/**
 * The Posix interface over a disk in memory, for a simulation: each call, and each step of
 * a composite one, tells its hooks first, which may let others act on the disk, fail it,
 * or never let it go on.
 *
 * The composite calls take the steps of helpers/posix/publish.c, evict.c and exchange.c in
 * their order. tests/model/mem_posix_test.ts compares all of it with the real library.
 *
 * @module
 */

import { encodeMarkerAtimeNs } from "../../src/core/marker.ts";
import type { BytePath } from "../../src/core/names.ts";
import {
  type Bringing,
  type Brought,
  type Eviction,
  type EvictResult,
  type ExpectedFile,
  type ExpectedMarker,
  type FileContent,
  type FileStat,
  type FileTimes,
  type MarkerAttributes,
  namedAfter,
  type Posix,
  PosixError,
  type Publication,
  type Published,
  type PublishResult,
  type RecoveredExchange,
  type Removal,
  type RemovalResult,
  type SpaceInfo,
  type Walk,
  type WalkEntry,
  type WalkOptions,
} from "../../src/posix/posix.ts";
import { ERRNO, errorOf, type Inode, type MemDisk } from "./mem_disk.ts";
import { identityOf, recoverExchange } from "./mem_exchange.ts";

export interface PosixHooks {
  /** Before each step; what it throws is the step's failure. */
  before(op: string, path: BytePath): void;
  /** Where a call leaves the thread, and again when it comes back. */
  pause(op: string): Promise<void>;
}

const NO_HOOKS: PosixHooks = { before: () => {}, pause: () => Promise.resolve() };

interface OpenFile {
  readonly inode: Inode;
  readonly isForWriting: boolean;
}

/** What is told of a publication, however it ends. */
interface Shown {
  wasShown: boolean;
  shownCtimeNs: bigint;
}

const BATCH = 4;

export class MemPosix implements Posix {
  readonly #disk: MemDisk;
  readonly #hooks: PosixHooks;
  readonly #open = new Map<number, OpenFile>();
  readonly #leased = new Set<Inode>();
  #fdCount = 2;

  constructor(disk: MemDisk, hooks: PosixHooks = NO_HOOKS) {
    this.#disk = disk;
    this.#hooks = hooks;
  }

  /** The process ends: the kernel closes its descriptors and ends its leases. */
  [Symbol.dispose](): void {
    for (const inode of [...this.#leased]) this.#endLease(inode);
    for (const fd of [...this.#open.keys()]) this.#closeFd(fd);
  }

  get openCount(): number {
    return this.#open.size;
  }

  // ---- names ----

  lstat(path: BytePath): FileStat | null {
    this.#hooks.before("stat", path);
    const inode = this.#disk.find(path);
    return inode === null ? null : this.#disk.statOf(inode);
  }

  statvfs(path: BytePath): SpaceInfo {
    this.#hooks.before("statvfs", path);
    const { capacityBytes, freeBytes } = this.#disk;
    return { totalBytes: capacityBytes, freeBytes };
  }

  readDirectory(path: BytePath): WalkEntry[] | null {
    this.#hooks.before("readDirectory", path);
    if (this.#disk.find(path)?.kind !== "directory") return null;
    return this.#disk.below(path)
      .filter(({ path }) => !path.includes("/"))
      .map(({ path, inode }) => ({ ...this.#disk.statOf(inode), path }));
  }

  makeDirs(path: BytePath, mode: number): void {
    for (let end = path.indexOf("/", 1);; end = path.indexOf("/", end + 1)) {
      const prefix = end < 0 ? path : path.slice(0, end);
      this.#hooks.before("makeDirs", prefix);
      const there = this.#disk.find(prefix);
      if (there === null) this.#disk.create("makeDirs", prefix, "directory", mode);
      else if (there.kind !== "directory") throw errorOf("ENOTDIR", "makeDirs", path);
      if (end < 0) return;
    }
  }

  unlink(path: BytePath): boolean {
    this.#hooks.before("unlink", path);
    return !fails("ENOENT", () => this.#disk.unlink("unlink", path));
  }

  rmdir(path: BytePath): void {
    this.#hooks.before("rmdir", path);
    this.#disk.rmdir("rmdir", path);
  }

  rename(from: BytePath, to: BytePath): void {
    this.#hooks.before("rename", from);
    this.#disk.rename("rename", from, to);
  }

  renameNoReplace(from: BytePath, to: BytePath): boolean {
    this.#hooks.before("rename", from);
    return !fails(
      "EEXIST",
      () => this.#disk.renameNoReplace("renameNoReplace", from, to),
    );
  }

  exchange(a: BytePath, b: BytePath): void {
    this.#hooks.before("exchange", a);
    this.#disk.exchange("exchange", a, b);
  }

  link(from: BytePath, to: BytePath): boolean {
    this.#hooks.before("link", from);
    return !fails("EEXIST", () => this.#disk.link("link", from, to));
  }

  chmod(path: BytePath, mode: number): void {
    this.#hooks.before("chmod", path);
    const inode = this.#disk.get("chmod", path);
    inode.mode = mode;
    this.#disk.touch(inode);
  }

  chown(path: BytePath, uid: number, gid: number): void {
    this.#hooks.before("chown", path);
    const inode = this.#disk.get("chown", path);
    Object.assign(inode, { uid, gid });
    this.#disk.touch(inode);
  }

  setTimes(path: BytePath, { atimeNs, mtimeNs }: FileTimes): void {
    this.#hooks.before("setTimes", path);
    const inode = this.#disk.get("setTimes", path);
    inode.atimeNs = atimeNs ?? inode.atimeNs;
    inode.mtimeNs = mtimeNs ?? inode.mtimeNs;
    this.#disk.touch(inode);
  }

  makeMarker(path: BytePath, marker: MarkerAttributes): void {
    this.#hooks.before("makeMarker", path);
    const inode = this.#disk.create("makeMarker", path, "socket", marker.mode);
    const { uid, gid, mtimeNs, sizeBytes } = marker;
    Object.assign(inode, { uid, gid, mtimeNs, atimeNs: encodeMarkerAtimeNs(sizeBytes) });
  }

  hasWriter(path: BytePath): boolean {
    this.#hooks.before("hasWriter", path);
    return this.#readable("hasWriter", path).writers > 0;
  }

  // ---- open files ----

  fstat(fd: number): FileStat {
    this.#hooks.before("fstat", "");
    return this.#disk.statOf(this.#file("fstat", fd).inode);
  }

  openRead(path: BytePath): number {
    this.#hooks.before("open", path);
    return this.#openFd(this.#readable("open", path), false);
  }

  createTemp(path: BytePath, mode: number): number {
    this.#hooks.before("create", path);
    return this.#openFd(this.#disk.create("create", path, "file", mode), true);
  }

  close(fd: number): void {
    // A descriptor is freed whatever happens: no failure to inject.
    this.#file("close", fd);
    this.#closeFd(fd);
  }

  truncate(fd: number, sizeBytes: number): void {
    this.#hooks.before("truncate", "");
    const { inode } = this.#file("truncate", fd);
    const bytes = new Uint8Array(sizeBytes);
    bytes.set(inode.bytes.subarray(0, sizeBytes));
    this.#disk.setBytes("truncate", inode, bytes);
  }

  read(fd: number, buffer: Uint8Array, offset: number): Promise<number> {
    return this.#away("read", "", () => this.#readNow(fd, buffer, offset));
  }

  readSync(fd: number, buffer: Uint8Array, offset: number): number {
    this.#hooks.before("read", "");
    return this.#readNow(fd, buffer, offset);
  }

  #readNow(fd: number, buffer: Uint8Array, offset: number): number {
    const { inode } = this.#file("read", fd);
    const bytes = inode.bytes.subarray(offset, offset + buffer.length);
    buffer.set(bytes);
    return bytes.length;
  }

  write(fd: number, buffer: Uint8Array, offset: number): Promise<void> {
    return this.#away("write", "", () => {
      const { inode } = this.#file("write", fd);
      const end = Math.max(inode.bytes.length, offset + buffer.length);
      const bytes = new Uint8Array(end);
      bytes.set(inode.bytes);
      bytes.set(buffer, offset);
      this.#disk.setBytes("write", inode, bytes);
    });
  }

  fsync(fd: number): Promise<void> {
    return this.#away("fsync", "", () => void this.#file("fsync", fd));
  }

  fdatasync(fd: number): Promise<void> {
    return this.#away("fsync", "", () => void this.#file("fsync", fd));
  }

  fsyncPath(path: BytePath): Promise<void> {
    return this.#away("fsync", path, () => void this.#disk.get("fsync", path));
  }

  // ---- composite calls ----

  async createNamed(
    first: BytePath,
  ): Promise<{ readonly fd: number; readonly ino: bigint }> {
    const inode = await this.#away(
      "create",
      first,
      () => this.#disk.create("create", first, "file", 0o600),
    );
    await this.#away("create: name", first, () => {
      this.#disk.rename("create", first, namedAfter(first, inode.ino));
    });
    return { fd: this.#openFd(inode, true), ino: inode.ino };
  }

  readFile(path: BytePath, memory: Uint8Array<ArrayBuffer>): Promise<FileContent> {
    return this.#away("read", path, () => {
      const inode = this.#readable("read", path);
      const found = inode.bytes.subarray(0, memory.length);
      memory.set(found);
      return { stat: this.#disk.statOf(inode), bytes: memory.subarray(0, found.length) };
    });
  }

  async bring({ first, bytes, ...publication }: Bringing): Promise<Brought> {
    let ino: bigint | null = null;
    try {
      const made = await this.createNamed(first);
      ino = made.ino;
      const temp = namedAfter(first, ino);
      const tempFd = this.#openFd(this.#file("bring", made.fd).inode, false);
      try {
        try {
          await this.write(made.fd, bytes, 0);
        } finally {
          this.close(made.fd);
        }
        const published = await this.publish({ ...publication, temp, tempFd });
        if (published.outcome === "failed") return { ...published, ino };
        const stat = this.#disk.statOf(this.#file("bring", tempFd).inode);
        return { ...published, stat };
      } finally {
        this.close(tempFd);
      }
    } catch (error) {
      if (!(error instanceof PosixError)) throw error;
      return { outcome: "failed", error, ino, wasShown: false, shownCtimeNs: 0n };
    }
  }

  async publish(publication: Publication): Promise<Published> {
    const shown: Shown = { wasShown: false, shownCtimeNs: 0n };
    try {
      const outcome = await this.#publish(publication, shown);
      return { outcome, ...shown };
    } catch (error) {
      if (!(error instanceof PosixError)) throw error;
      return { outcome: "failed", error, ...shown };
    }
  }

  async #publish(publication: Publication, shown: Shown): Promise<PublishResult> {
    const { temp, target, tempFd, attributes, expect } = publication;
    const { inode } = this.#file("publish", tempFd);
    if (this.#disk.find(temp) !== inode) throw errorOf("ESTALE", "publish", temp);
    await this.#away("publish: attributes", temp, () => {
      Object.assign(inode, attributes);
      this.#disk.touch(inode);
    });
    const taken = expect === null
      ? await this.#takeFreeName(temp, target, shown)
      : await this.#replaceMarker(temp, target, { file: inode, expect, shown });
    return taken === "published" ? await this.#settle(temp, target) : taken;
  }

  #takeFreeName(
    temp: BytePath,
    target: BytePath,
    shown: Shown,
  ): Promise<PublishResult> {
    return this.#away("publish: rename", target, () => {
      const isTaken = fails(
        "EEXIST",
        () => this.#disk.renameNoReplace("publish", temp, target),
      );
      shown.wasShown = !isTaken;
      shown.shownCtimeNs = this.#disk.find(target)?.ctimeNs ?? 0n;
      return isTaken ? "occupied" : "published";
    });
  }

  async #replaceMarker(
    temp: BytePath,
    target: BytePath,
    { file, expect, shown }: {
      readonly file: Inode;
      readonly expect: ExpectedMarker;
      readonly shown: Shown;
    },
  ): Promise<PublishResult> {
    const marker = await this.#away(
      "publish: pin",
      target,
      () => this.#disk.find(target),
    );
    if (marker?.kind !== "socket" || marker.ino !== expect.ino) return "changed";
    const { mtimeNs, ctimeNs, mode, uid, gid } = marker;
    if (mtimeNs !== expect.mtimeNs || ctimeNs !== expect.ctimeNs) return "changed";
    this.#disk.open(marker, false);
    try {
      await this.#note(temp, target, { stage: 0, put: file, wanted: marker });
      const isGone = await this.#away(
        "publish: exchange",
        target,
        () => {
          const isGone = fails(
            "ENOENT",
            () => this.#disk.exchange("exchange", temp, target),
          );
          shown.wasShown = !isGone;
          shown.shownCtimeNs = file.ctimeNs;
          return isGone;
        },
      );
      if (isGone) this.#disk.notes.delete(temp);
      if (isGone) return "changed";
      const out = await this.#away(
        "publish: look",
        temp,
        () => this.#disk.get("publish", temp),
      );
      const isUntouched = out.mode === mode && out.uid === uid && out.gid === gid &&
        out.mtimeNs === mtimeNs;
      if (out === marker && isUntouched) return "published";
      const isDone = await this.#putBack(temp, target, file);
      await this.#fsyncParent(target);
      if (isDone) this.#disk.notes.delete(temp);
      return "changed";
    } finally {
      this.#disk.close(marker, false);
    }
  }

  async #settle(temp: BytePath, target: BytePath): Promise<PublishResult> {
    await this.#fsyncParent(target);
    await this.#away("publish: unlink", temp, () => {
      fails("ENOENT", () => this.#disk.unlink("publish", temp));
      this.#disk.notes.delete(temp);
    });
    return await this.#away(
      "publish: check",
      target,
      () => this.#disk.find(target)?.kind === "file" ? "published" : "changed",
    );
  }

  async putMarker(eviction: Eviction): Promise<EvictResult> {
    const inode = await this.#away("evict: open", eviction.target, () => {
      try {
        return this.#readable("evict", eviction.target);
      } catch (error) {
        if (!(error instanceof PosixError)) throw error;
        if (["ENOENT", "ENOTDIR", "ENXIO", "EISDIR"].includes(error.code)) return null;
        throw error;
      }
    });
    if (inode === null) return { outcome: "changed" };
    if (inode.writers > 0 || inode.lease !== null) return { outcome: "busy" };
    inode.lease = { isBroken: false, ended: Promise.withResolvers() };
    this.#leased.add(inode);
    this.#disk.open(inode, false);
    let result: EvictResult;
    try {
      result = await this.#evictUnderLease(eviction, inode);
    } finally {
      this.#endLease(inode);
      this.#disk.close(inode, false);
    }
    if (result.outcome === "evicted") await this.#fsyncParent(eviction.aside);
    return result;
  }

  async #evictUnderLease(eviction: Eviction, inode: Inode): Promise<EvictResult> {
    const { target, aside, expect, marker: attributes } = eviction;
    const isExpected = await this.#away(
      "evict: stat",
      target,
      () => isUnchanged(inode, expect) && inode.ctimeNs === expect.ctimeNs,
    );
    if (!isExpected) return { outcome: "changed" };
    await this.#away("evict: marker", aside, () => this.makeMarker(aside, attributes));
    const marker = this.#disk.get("evict", aside);
    await this.#note(aside, target, { stage: 0, put: marker, wanted: inode });
    try {
      await this.#away(
        "evict: exchange",
        target,
        () => this.#disk.exchange("evict", aside, target),
      );
    } catch (error) {
      fails("ENOENT", () => this.#disk.unlink("evict", aside));
      this.#disk.notes.delete(aside);
      if (error instanceof PosixError && error.code === "ENOENT") {
        return { outcome: "changed" };
      }
      throw error;
    }
    return await this.#commitEviction(eviction, inode, marker);
  }

  async #commitEviction(
    { target, aside, expect }: Eviction,
    inode: Inode,
    marker: Inode,
  ): Promise<EvictResult> {
    const look = (): Promise<EvictResult["outcome"]> =>
      this.#away("evict: look", aside, () => {
        const out = this.#disk.get("evict", aside);
        if (!isUnchanged(out, expect)) return "changed";
        return inode.lease?.isBroken ? "busy" : "evicted";
      });
    let failure: unknown = null;
    let outcome: EvictResult["outcome"] = "changed";
    try {
      outcome = await look();
      if (outcome === "evicted") {
        await this.#fsyncParent(target);
        outcome = await look();
      }
      if (outcome === "evicted") {
        await this.#away("evict: unlink", aside, () => {
          this.#disk.unlink("evict", aside);
          this.#disk.notes.delete(aside);
        });
        return { outcome, marker: this.#disk.statOf(marker) };
      }
    } catch (error) {
      failure = error;
    }
    const isDone = await this.#putBack(aside, target, marker);
    await this.#fsyncParent(target);
    if (isDone) {
      await this.#away("evict: unlink", aside, () => {
        fails("ENOENT", () => this.#disk.unlink("evict", aside));
        this.#disk.notes.delete(aside);
      });
    }
    if (failure !== null) throw failure;
    return { outcome: outcome === "busy" ? outcome : "changed" };
  }

  /** put_back of exchange.c. False if what is at `aside` is to be kept. */
  async #putBack(aside: BytePath, target: BytePath, put: Inode): Promise<boolean> {
    let last = put;
    for (let stage = 1;;) {
      const next = this.#disk.get("put back", aside);
      await this.#note(aside, target, { stage, put: next, wanted: last });
      const isGone = await this.#away(
        "put back: exchange",
        target,
        () => fails("ENOENT", () => this.#disk.exchange("exchange", aside, target)),
      );
      if (isGone) {
        const isTaken = await this.#away(
          "put back: rename",
          target,
          () =>
            fails("EEXIST", () => this.#disk.renameNoReplace("put back", aside, target)),
        );
        if (isTaken) continue;
        return true;
      }
      const out = await this.#away(
        "put back: look",
        aside,
        () => this.#disk.get("put back", aside),
      );
      if (out === last) return stage === 1;
      last = next;
      stage += 1;
    }
  }

  /** note_write of note.c; a full disk does not stop an exchange, and nothing one back. */
  async #note(
    aside: BytePath,
    target: BytePath,
    { stage, put, wanted }: {
      readonly stage: number;
      readonly put: Inode;
      readonly wanted: Inode;
    },
  ): Promise<void> {
    const ids = { put: identityOf(put), wanted: identityOf(wanted) };
    try {
      await this.#away("note", aside, () => {
        this.#disk.notes.set(aside, { stage, target, ...ids });
      });
    } catch (error) {
      if (!(error instanceof PosixError)) throw error;
      if (stage === 0 && error.code !== "ENOSPC") throw error;
    }
  }

  takeOut({ target, aside, expect }: Removal): RemovalResult {
    this.#hooks.before("takeOut", target);
    const disk = this.#disk;
    const there = disk.find(target);
    if (there === null) return "left";
    const { ino, sizeBytes, mtimeNs, kind } = disk.statOf(there);
    const isExpected = kind === expect.kind && ino === expect.ino &&
      sizeBytes === expect.sizeBytes && mtimeNs === expect.mtimeNs;
    const wanted = isExpected ? identityOf(there) : null;
    disk.notes.set(aside, { stage: 0, put: null, wanted, target });
    disk.rename("takeOut", target, aside);
    this.#hooks.before("takeOut: judge", target);
    if (isExpected) disk.unlink("takeOut", aside);
    else if (fails("EEXIST", () => disk.renameNoReplace("takeOut", aside, target))) {
      return "kept";
    }
    disk.notes.delete(aside);
    return isExpected ? "gone" : "left";
  }

  recoverExchange(aside: BytePath): RecoveredExchange {
    this.#hooks.before("recover", aside);
    return recoverExchange(this.#disk, aside);
  }

  #fsyncParent(path: BytePath): Promise<void> {
    const parent = path.slice(0, Math.max(1, path.lastIndexOf("/")));
    return this.#away("fsync", parent, () => void this.#disk.get("fsync", parent));
  }

  openWalk(root: BytePath, options: WalkOptions = {}): Walk {
    const skipped = options.skip ?? [];
    const isSkipped = (path: BytePath): boolean =>
      skipped.some((skip) => path === skip || path.startsWith(`${skip}/`));
    let last = "";
    return {
      // Each batch looks at the disk anew, behind the last name that was told.
      nextBatch: () =>
        this.#away("walk", root, () => {
          const batch = this.#disk.below(root)
            .filter(({ path }) => path > last && !isSkipped(path)).slice(0, BATCH)
            .map(({ path, inode }) => ({ ...this.#disk.statOf(inode), path }));
          last = batch.at(-1)?.path ?? last;
          return batch;
        }),
      close: () => Promise.resolve(),
    };
  }

  prctlNotDumpable(): void {}

  boundMemory(): void {}

  // ---- helpers ----

  /** A call on another thread: others act before it and after it. */
  async #away<T>(op: string, path: BytePath, work: () => T): Promise<T> {
    await this.#hooks.pause(op);
    this.#hooks.before(op, path);
    const result = work();
    await this.#hooks.pause(op);
    return result;
  }

  #readable(op: string, path: BytePath): Inode {
    const inode = this.#disk.get(op, path);
    if (inode.kind === "directory") throw errorOf("EISDIR", op, path);
    if (inode.kind !== "file") throw errorOf("ENXIO", op, path);
    return inode;
  }

  #openFd(inode: Inode, isForWriting: boolean): number {
    const fd = ++this.#fdCount;
    this.#disk.open(inode, isForWriting);
    this.#open.set(fd, { inode, isForWriting });
    return fd;
  }

  #closeFd(fd: number): void {
    const { inode, isForWriting } = this.#open.get(fd)!;
    this.#open.delete(fd);
    this.#disk.close(inode, isForWriting);
  }

  #file(op: string, fd: number): OpenFile {
    const file = this.#open.get(fd);
    if (file === undefined) throw errorOf("EBADF", op, "");
    return file;
  }

  #endLease(inode: Inode): void {
    // The end of the process ended it already.
    if (inode.lease === null) return;
    const { ended } = inode.lease;
    inode.lease = null;
    this.#leased.delete(inode);
    ended.resolve();
  }
}

function isUnchanged(inode: Inode, expect: ExpectedFile): boolean {
  return inode.kind === "file" && inode.nlink === 1 && inode.ino === expect.ino &&
    inode.bytes.length === expect.sizeBytes && inode.mtimeNs === expect.mtimeNs;
}

/** Whether `work` fails with `code`; any other failure goes on. */
function fails(code: keyof typeof ERRNO, work: () => void): boolean {
  try {
    work();
    return false;
  } catch (error) {
    if (error instanceof PosixError && error.code === code) return true;
    throw error;
  }
}
