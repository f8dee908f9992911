/**
 * The calls of posix.ts, made through the loaded library: names and structures to memory,
 * results to values or errors.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { assert } from "../core/assert.ts";
import type { BytePath } from "../core/names.ts";
import { EEXIST, ENOENT, ENOTDIR } from "./errno.ts";
import { HeldMemory } from "./held_memory.ts";
import {
  decodeShown,
  decodeStat,
  encodeAttributes,
  encodeExpected,
  encodeExpectedMarker,
  encodeMarker,
  encodePath,
  type FileStat,
  kindNumber,
  type MarkerAttributes,
  PATH_BYTES_MAX,
  PathScratch,
  shownMemory,
  STAT_BYTES,
} from "./layouts.ts";
import {
  type LeafAnswer,
  type LeafPages,
  type LeafQuestion,
  LeafScratch,
} from "./leaf_pages.ts";
import { PosixError } from "./posix_error.ts";
import { openSealedRows, type SealedRowFinder, type SealedRows } from "./sealed_rows.ts";
import type { Calls, SYMBOLS } from "./symbols.ts";
import {
  BATCH_BYTES,
  openWalk,
  readDirectory,
  type Walk,
  type WalkEntry,
  type WalkOptions,
} from "./walk.ts";
import type {
  Bringing,
  Brought,
  Eviction,
  EvictResult,
  FileContent,
  FileTimes,
  Posix,
  Publication,
  Published,
  PublishResult,
  RecoveredExchange,
  Removal,
  RemovalResult,
  SpaceInfo,
} from "./posix.ts";

/** P4POSIX_TIME_KEEP. */
const TIME_KEEP = -(2n ** 63n);

/** The most that one read or write takes, as in the kernel. */
const IO_BYTES_MAX = 0x7fff_f000;

const PUBLISH_RESULTS: readonly PublishResult[] = ["published", "occupied", "changed"];
const REMOVAL_RESULTS: readonly RemovalResult[] = ["gone", "left", "kept"];
const RECOVERED = ["nothing-left", "has-its-name", "to-be-kept", "no-note"] as const;
const EVICT_OUTCOMES: readonly EvictResult["outcome"][] = ["evicted", "busy", "changed"];

export class LoadedPosix implements Posix, LeafPages, SealedRowFinder {
  readonly #library: Deno.DynamicLibrary<typeof SYMBOLS>;
  readonly #calls: Calls;
  readonly #pathA = new PathScratch();
  readonly #pathB = new PathScratch();
  readonly #stat = new Uint8Array(STAT_BYTES);
  readonly #statView = new DataView(this.#stat.buffer);
  readonly #held = new HeldMemory();
  readonly #leaves = new LeafScratch();
  #directory: Uint8Array<ArrayBuffer> | null = null;

  constructor(library: Deno.DynamicLibrary<typeof SYMBOLS>) {
    this.#library = library;
    this.#calls = library.symbols;
  }

  [Symbol.dispose](): void {
    this.#library.close();
  }

  // ---- names ---------------------------------------------------------------------------

  lstat(path: BytePath): FileStat | null {
    const result = this.#calls.p4posix_lstat(
      this.#pathA.encode("stat", path),
      this.#stat,
    );
    if (result === -ENOENT || result === -ENOTDIR) return null;
    checked("stat", path, result);
    return decodeStat(this.#statView, 0);
  }

  statvfs(path: BytePath): SpaceInfo {
    const out = new BigUint64Array(2);
    const name = this.#pathA.encode("ask the space of", path);
    const result = this.#calls.p4posix_statvfs(name, new Uint8Array(out.buffer));
    checked("ask the space of", path, result);
    return { totalBytes: Number(out[0]), freeBytes: Number(out[1]) };
  }

  readDirectory(path: BytePath): WalkEntry[] | null {
    this.#directory ??= new Uint8Array(BATCH_BYTES);
    try {
      return readDirectory(this.#calls, path, this.#directory);
    } catch (error) {
      if (error instanceof PosixError && error.errno === ENOENT) return null;
      if (error instanceof PosixError && error.errno === ENOTDIR) return null;
      throw error;
    }
  }

  makeDirs(path: BytePath, mode: number): void {
    const name = this.#pathA.encode("make the directory", path);
    checked("make the directory", path, this.#calls.p4posix_make_dirs(name, mode));
  }

  unlink(path: BytePath): boolean {
    const result = this.#calls.p4posix_unlink(this.#pathA.encode("remove", path));
    if (result === -ENOENT) return false;
    checked("remove", path, result);
    return true;
  }

  rmdir(path: BytePath): void {
    const name = this.#pathA.encode("remove the directory", path);
    checked("remove the directory", path, this.#calls.p4posix_rmdir(name));
  }

  rename(from: BytePath, to: BytePath): void {
    checked("rename", from, this.#calls.p4posix_rename(...this.#two("rename", from, to)));
  }

  renameNoReplace(from: BytePath, to: BytePath): boolean {
    const names = this.#two("rename", from, to);
    return isDone("rename", from, this.#calls.p4posix_rename_no_replace(...names));
  }

  exchange(a: BytePath, b: BytePath): void {
    checked("exchange", a, this.#calls.p4posix_exchange(...this.#two("exchange", a, b)));
  }

  link(from: BytePath, to: BytePath): boolean {
    const names = this.#two("link", from, to);
    return isDone("link", from, this.#calls.p4posix_link(...names));
  }

  chmod(path: BytePath, mode: number): void {
    const name = this.#pathA.encode("chmod", path);
    checked("chmod", path, this.#calls.p4posix_chmod(name, mode));
  }

  chown(path: BytePath, uid: number, gid: number): void {
    const name = this.#pathA.encode("chown", path);
    checked("chown", path, this.#calls.p4posix_chown(name, BigInt(uid), BigInt(gid)));
  }

  setTimes(path: BytePath, { atimeNs, mtimeNs }: FileTimes): void {
    const result = this.#calls.p4posix_set_times(
      this.#pathA.encode("set the times of", path),
      atimeNs ?? TIME_KEEP,
      mtimeNs ?? TIME_KEEP,
    );
    checked("set the times of", path, result);
  }

  makeMarker(path: BytePath, marker: MarkerAttributes): void {
    const name = this.#pathA.encode("make the marker", path);
    const result = this.#calls.p4posix_make_marker(name, encodeMarker(marker));
    checked("make the marker", path, result);
  }

  hasWriter(path: BytePath): boolean {
    const name = this.#pathA.encode("look for writers of", path);
    return checked("look for writers of", path, this.#calls.p4posix_has_writer(name)) ===
      1;
  }

  #two(
    op: string,
    a: BytePath,
    b: BytePath,
  ): [Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>] {
    return [this.#pathA.encode(op, a), this.#pathB.encode(op, b)];
  }

  // ---- open files ----------------------------------------------------------------------

  fstat(fd: number): FileStat {
    checked("fstat", "", this.#calls.p4posix_fstat(fd, this.#stat));
    return decodeStat(this.#statView, 0);
  }

  openRead(path: BytePath): number {
    const name = this.#pathA.encode("read", path);
    return checked("read", path, this.#calls.p4posix_open_read(name));
  }

  createTemp(path: BytePath, mode: number): number {
    const name = this.#pathA.encode("create", path);
    return checked("create", path, this.#calls.p4posix_create_temp(name, mode));
  }

  close(fd: number): void {
    checked("close", "", this.#calls.p4posix_close(fd));
  }

  truncate(fd: number, sizeBytes: number): void {
    const result = this.#calls.p4posix_truncate(fd, BigInt(sizeBytes));
    checked("truncate", "", result);
  }

  async read(
    fd: number,
    buffer: Uint8Array,
    offset: number,
  ): Promise<number> {
    const room = ioBuffer(buffer);
    const done = this.#calls.readLater(fd, room, room.length, BigInt(offset));
    return checked("read", "", await this.#held.until(done, room));
  }

  readSync(fd: number, buffer: Uint8Array, offset: number): number {
    const room = ioBuffer(buffer);
    const result = this.#calls.p4posix_read(fd, room, room.length, BigInt(offset));
    return checked("read", "", result);
  }

  async write(
    fd: number,
    buffer: Uint8Array,
    offset: number,
  ): Promise<void> {
    const room = ioBuffer(buffer);
    const done = this.#calls.writeLater(fd, room, room.length, BigInt(offset));
    checked("write", "", await this.#held.until(done, room));
  }

  async fsync(fd: number): Promise<void> {
    checked("fsync", "", await this.#calls.fsyncLater(fd));
  }

  async fdatasync(fd: number): Promise<void> {
    checked("fdatasync", "", await this.#calls.fdatasyncLater(fd));
  }

  async fsyncPath(path: BytePath): Promise<void> {
    const name = encodePath("fsync", path);
    checked(
      "fsync",
      path,
      await this.#held.until(this.#calls.fsyncPathLater(name), name),
    );
  }

  // ---- composite calls -----------------------------------------------------------------

  async createNamed(
    first: BytePath,
  ): Promise<{ readonly fd: number; readonly ino: bigint }> {
    const name = encodePath("create", first);
    const ino = new BigUint64Array(1);
    const out = new Uint8Array(ino.buffer);
    const done = this.#calls.createNamedLater(name, out);
    const fd = checked("create", first, await this.#held.until(done, [name, out]));
    return { fd, ino: ino[0]! };
  }

  async readFile(
    path: BytePath,
    memory: Uint8Array<ArrayBuffer>,
  ): Promise<FileContent> {
    const name = encodePath("read", path);
    const room = ioBuffer(memory);
    const stat = new Uint8Array(STAT_BYTES);
    const done = this.#calls.readFileLater(name, room, room.length, stat);
    const count = await this.#held.until(done, [name, room, stat]);
    checked("read", path, count);
    return { stat: decodedStat(stat), bytes: room.subarray(0, count) };
  }

  async bring(bringing: Bringing): Promise<Brought> {
    const { first, target, attributes, expect } = bringing;
    const op = "publish";
    const bytes = ioBuffer(bringing.bytes);
    const stat = new Uint8Array(STAT_BYTES);
    const [from, to] = [encodePath(op, first), encodePath(op, target)];
    const given = [encodeAttributes(attributes), encodeExpectedMarker(expect)] as const;
    const shown = shownMemory();
    const result = await this.#held.until(
      this.#calls.bringLater(from, to, bytes, bytes.length, ...given, shown, stat),
      [from, to, bytes, given, shown, stat],
    );
    const found = decodedStat(stat);
    const seen = decodeShown(shown);
    if (result >= 0) return { outcome: PUBLISH_RESULTS[result]!, stat: found, ...seen };
    const error = new PosixError(op, target, -result);
    const ino = found.ino === 0n ? null : found.ino;
    return { outcome: "failed", error, ino, ...seen };
  }

  async publish(publication: Publication): Promise<Published> {
    const { temp, target, tempFd, attributes, expect } = publication;
    const op = "publish";
    const given = [
      encodePath(op, temp),
      encodePath(op, target),
      encodeAttributes(attributes),
      encodeExpectedMarker(expect),
      shownMemory(),
    ] as const;
    const [from, to, ...rest] = given;
    const done = this.#calls.publishLater(from, to, tempFd, ...rest);
    const result = await this.#held.until(done, given);
    const seen = decodeShown(given[4]);
    if (result >= 0) return { outcome: PUBLISH_RESULTS[result]!, ...seen };
    return { outcome: "failed", error: new PosixError(op, target, -result), ...seen };
  }

  async putMarker(eviction: Eviction): Promise<EvictResult> {
    const { target, aside, expect, marker } = eviction;
    const op = "evict";
    const given = [
      encodePath(op, target),
      encodePath(op, aside),
      encodeExpected(expect),
      encodeMarker(marker),
      new Uint8Array(STAT_BYTES),
    ] as const;
    const done = this.#calls.putMarkerLater(...given);
    const result = checked(op, target, await this.#held.until(done, given));
    const outcome = EVICT_OUTCOMES[result]!;
    if (outcome !== "evicted") return { outcome };
    return { outcome, marker: decodedStat(given[4]) };
  }

  takeOut({ target, aside, expect }: Removal): RemovalResult {
    const op = "take out";
    const result = this.#calls.p4posix_take_out(
      ...this.#two(op, target, aside),
      kindNumber(expect.kind),
      encodeExpected(expect),
    );
    return REMOVAL_RESULTS[checked(op, target, result)]!;
  }

  recoverExchange(aside: BytePath): RecoveredExchange {
    const op = "recover";
    const out = new Uint8Array(PATH_BYTES_MAX);
    const name = this.#pathA.encode(op, aside);
    const result = checked(op, aside, this.#calls.p4posix_recover_exchange(name, out));
    const outcome = RECOVERED[result]!;
    if (outcome === "no-note") return { outcome };
    const target = Buffer.from(out.buffer).toString("latin1", 0, out.indexOf(0));
    return { outcome, target };
  }

  openWalk(root: BytePath, options: WalkOptions = {}): Walk {
    return openWalk(this.#calls, this.#held, root, options);
  }

  leafPages(fd: number, question: LeafQuestion): LeafAnswer {
    const answer = this.#leaves.ask(this.#calls, fd, question);
    if (typeof answer !== "number") return answer;
    throw new PosixError("read the pages of the manifest", "", -answer);
  }

  sealedRows(fd: number): SealedRows {
    return openSealedRows(this.#calls, fd);
  }

  prctlNotDumpable(): void {
    checked("become undumpable", "", this.#calls.p4posix_not_dumpable());
  }

  boundMemory(): void {
    checked("bound the memory", "", this.#calls.p4posix_bound_memory());
  }
}

function decodedStat(bytes: Uint8Array<ArrayBuffer>): FileStat {
  return decodeStat(new DataView(bytes.buffer), 0);
}

function checked(op: string, path: BytePath, result: number): number {
  if (result < 0) throw new PosixError(op, path, -result);
  return result;
}

/** False for EEXIST. */
function isDone(op: string, path: BytePath, result: number): boolean {
  if (result === -EEXIST) return false;
  checked(op, path, result);
  return true;
}

/** Memory that another thread may use: not shared, which FFI refuses. */
function ioBuffer(buffer: Uint8Array): Uint8Array<ArrayBuffer> {
  assert(buffer.length <= IO_BYTES_MAX, "a buffer of 2 GiB or more");
  assert(buffer.buffer instanceof ArrayBuffer, "a buffer that is shared between workers");
  return buffer as Uint8Array<ArrayBuffer>;
}
