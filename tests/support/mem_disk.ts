/**
 * A local file system in memory: names, inodes, links, leases, free space. What a kernel
 * does in one step is one synchronous call here.
 *
 * Inode numbers are used again as soon as they are free, as ext4 does; times come from
 * the caller's clock, each change one nanosecond after the one before. No symlinks, and no
 * permissions: the tests run as the owner of everything.
 *
 * @module
 */

import type { BytePath } from "../../src/core/names.ts";
import { type FileStat, PosixError } from "../../src/posix/posix.ts";
import type { Note } from "./mem_exchange.ts";

export const ERRNO = {
  ENOENT: 2,
  EPERM: 1,
  EIO: 5,
  ENXIO: 6,
  EBADF: 9,
  EEXIST: 17,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  EMFILE: 24,
  ENOSPC: 28,
  ENOTEMPTY: 39,
  ESTALE: 116,
} as const;

export type ErrorCode = keyof typeof ERRNO;

export function errorOf(code: ErrorCode, op: string, path: BytePath): PosixError {
  return new PosixError(op, path, ERRNO[code]);
}

export interface Lease {
  /** Somebody waits to open the file for writing. */
  isBroken: boolean;
  readonly ended: PromiseWithResolvers<void>;
}

export interface Inode {
  readonly ino: bigint;
  readonly kind: "file" | "directory" | "socket";
  bytes: Uint8Array<ArrayBuffer>;
  mode: number;
  uid: number;
  gid: number;
  atimeNs: bigint;
  mtimeNs: bigint;
  ctimeNs: bigint;
  nlink: number;
  /** Descriptors; those for writing are counted in both. */
  opens: number;
  writers: number;
  lease: Lease | null;
}

const NO_BYTES = new Uint8Array(0);
const DEVICE = 2049n;

export class MemDisk {
  /** By the name beside which they lie (mem_exchange.ts). */
  readonly notes = new Map<BytePath, Note>();
  readonly capacityBytes: number;
  readonly #nowNs: () => bigint;
  readonly #names = new Map<BytePath, Inode>();
  readonly #freeInos: bigint[] = [];
  #inoCount = 1n;
  #lastNs = 0n;
  #usedBytes = 0;

  constructor(nowNs: () => bigint, capacityBytes = 2 ** 40) {
    this.#nowNs = nowNs;
    this.capacityBytes = capacityBytes;
    this.#names.set("/", this.#newInode("directory", 0o755));
  }

  get freeBytes(): number {
    return this.capacityBytes - this.#usedBytes;
  }

  // ---- looking ----

  /** Null for ENOENT and ENOTDIR. */
  find(path: BytePath): Inode | null {
    return this.#names.get(path) ?? null;
  }

  /** @throws {PosixError} ENOENT or ENOTDIR, as a walk along the path finds it. */
  get(op: string, path: BytePath): Inode {
    const inode = this.#names.get(path);
    if (inode !== undefined) return inode;
    this.#parentFor(op, path);
    throw errorOf("ENOENT", op, path);
  }

  /** The names below a directory, relative to it; parents before their children. */
  below(directory: BytePath): { readonly path: BytePath; readonly inode: Inode }[] {
    const prefix = directory === "/" ? "/" : `${directory}/`;
    const found: { path: BytePath; inode: Inode }[] = [];
    for (const [name, inode] of this.#names) {
      if (name.length > prefix.length && name.startsWith(prefix)) {
        found.push({ path: name.slice(prefix.length), inode });
      }
    }
    return found.sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  statOf(inode: Inode): FileStat {
    const { kind, mode, uid, gid, mtimeNs, ctimeNs, atimeNs, ino, nlink } = inode;
    const sizeBytes = inode.bytes.length;
    const blocks = Math.ceil(sizeBytes / 512);
    const times = { mtimeNs, ctimeNs, atimeNs };
    return { kind, sizeBytes, mode, uid, gid, ...times, ino, dev: DEVICE, nlink, blocks };
  }

  // ---- names ----

  create(op: string, path: BytePath, kind: Inode["kind"], mode: number): Inode {
    this.#parentFor(op, path);
    if (this.#names.has(path)) throw errorOf("EEXIST", op, path);
    const inode = this.#newInode(kind, mode);
    this.#names.set(path, inode);
    return inode;
  }

  unlink(op: string, path: BytePath): void {
    const inode = this.get(op, path);
    if (inode.kind === "directory") throw errorOf("EISDIR", op, path);
    this.#names.delete(path);
    this.#drop(inode);
  }

  rmdir(op: string, path: BytePath): void {
    const inode = this.get(op, path);
    if (inode.kind !== "directory") throw errorOf("ENOTDIR", op, path);
    if (this.below(path).length > 0) throw errorOf("ENOTEMPTY", op, path);
    this.#names.delete(path);
    this.#drop(inode);
  }

  link(op: string, from: BytePath, to: BytePath): void {
    const inode = this.get(op, from);
    this.#parentFor(op, to);
    if (this.#names.has(to)) throw errorOf("EEXIST", op, to);
    if (inode.kind === "directory") throw errorOf("EPERM", op, from);
    inode.nlink += 1;
    this.touch(inode);
    this.#names.set(to, inode);
  }

  rename(op: string, from: BytePath, to: BytePath): void {
    const { moving, there } = this.#pair(op, { from, to }, "replace");
    if (moving === there) return;
    if (there !== null) {
      if (moving.kind === "directory") {
        if (there.kind !== "directory") throw errorOf("ENOTDIR", op, to);
        if (this.below(to).length > 0) throw errorOf("ENOTEMPTY", op, to);
      } else if (there.kind === "directory") throw errorOf("EISDIR", op, to);
      this.#names.delete(to);
      this.#drop(there);
    }
    this.#move(from, to, moving);
    this.touch(moving);
  }

  renameNoReplace(op: string, from: BytePath, to: BytePath): void {
    const { moving } = this.#pair(op, { from, to }, "no-replace");
    this.#move(from, to, moving);
    this.touch(moving);
  }

  exchange(op: string, a: BytePath, b: BytePath): void {
    const { moving, there } = this.#pair(op, { from: a, to: b }, "exchange");
    if (there === null || there === moving) return;
    const aside = "/\0exchange";
    this.#move(a, aside, moving);
    this.#move(b, a, there);
    this.#move(aside, b, moving);
    this.touch(moving);
    this.touch(there);
  }

  /** Both ends of a rename, looked up and refused in the kernel's order. */
  #pair(
    op: string,
    { from, to }: { readonly from: BytePath; readonly to: BytePath },
    how: "replace" | "no-replace" | "exchange",
  ): { moving: Inode; there: Inode | null } {
    this.#parentFor(op, from);
    this.#parentFor(op, to);
    const moving = this.get(op, from);
    const there = this.find(to);
    if (how === "no-replace" && there !== null) throw errorOf("EEXIST", op, to);
    if (how === "exchange" && there === null) throw errorOf("ENOENT", op, to);
    if (to.startsWith(`${from}/`)) throw errorOf("EINVAL", op, from);
    if (from.startsWith(`${to}/`)) {
      throw errorOf(how === "exchange" ? "EINVAL" : "ENOTEMPTY", op, to);
    }
    return { moving, there };
  }

  #move(from: BytePath, to: BytePath, inode: Inode): void {
    this.#names.delete(from);
    this.#names.set(to, inode);
    if (inode.kind !== "directory") return;
    for (const { path, inode: child } of this.below(from)) {
      this.#names.delete(`${from}/${path}`);
      this.#names.set(`${to}/${path}`, child);
    }
  }

  #parentFor(op: string, path: BytePath): void {
    const parent = path.slice(0, Math.max(1, path.lastIndexOf("/")));
    const inode = this.#names.get(parent);
    if (inode?.kind === "directory") return;
    if (inode !== undefined) throw errorOf("ENOTDIR", op, path);
    this.#parentFor(op, parent);
    throw errorOf("ENOENT", op, path);
  }

  // ---- inodes ----

  #newInode(kind: Inode["kind"], mode: number): Inode {
    const ino = this.#freeInos.shift() ?? ++this.#inoCount;
    const now = this.tick();
    return {
      ino,
      kind,
      bytes: NO_BYTES,
      mode,
      uid: Deno.uid() ?? 0,
      gid: Deno.gid() ?? 0,
      atimeNs: now,
      mtimeNs: now,
      ctimeNs: now,
      nlink: 1,
      opens: 0,
      writers: 0,
      lease: null,
    };
  }

  /** The time of a change: now, and never twice the same. */
  tick(): bigint {
    const now = this.#nowNs();
    this.#lastNs = now > this.#lastNs ? now : this.#lastNs + 1n;
    return this.#lastNs;
  }

  /** The attributes of the inode changed. */
  touch(inode: Inode): void {
    inode.ctimeNs = this.tick();
  }

  open(inode: Inode, isForWriting: boolean): void {
    inode.opens += 1;
    if (isForWriting) inode.writers += 1;
  }

  close(inode: Inode, isForWriting: boolean): void {
    inode.opens -= 1;
    if (isForWriting) inode.writers -= 1;
    this.#freeIfUnused(inode);
  }

  /** @throws {PosixError} ENOSPC, with nothing changed. */
  setBytes(op: string, inode: Inode, bytes: Uint8Array<ArrayBuffer>): void {
    const growth = bytes.length - inode.bytes.length;
    if (growth > this.freeBytes) throw errorOf("ENOSPC", op, "");
    this.#usedBytes += growth;
    inode.bytes = bytes;
    inode.mtimeNs = this.tick();
    inode.ctimeNs = inode.mtimeNs;
  }

  #drop(inode: Inode): void {
    inode.nlink -= 1;
    this.touch(inode);
    this.#freeIfUnused(inode);
  }

  #freeIfUnused(inode: Inode): void {
    if (inode.nlink > 0 || inode.opens > 0) return;
    this.#usedBytes -= inode.bytes.length;
    inode.bytes = NO_BYTES;
    this.#freeInos.push(inode.ino);
  }

  /** Opens for writing what is at `path`: waits for a lease on it to end. */
  async openWriter(path: BytePath): Promise<Inode> {
    const inode = this.get("open", path);
    if (inode.kind !== "file") throw errorOf("ENXIO", "open", path);
    // The open holds the inode while it waits, whatever happens to its names.
    inode.opens += 1;
    while (inode.lease !== null) {
      inode.lease.isBroken = true;
      await inode.lease.ended.promise;
    }
    inode.writers += 1;
    return inode;
  }
}
