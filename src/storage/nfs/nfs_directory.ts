/**
 * The file system below a store's directory: every call the NFS backend makes, each with
 * its durability, and the proof that the directory is the store and not the empty mount
 * point under it.
 *
 * Deno's own asynchronous calls are used, and of libp4posix.so only what reads a small file in
 * one change of thread: keys are valid Unicode, and a synchronous call into a mount that hangs
 * would hang the daemon (see mount_calls.ts).
 *
 * @module
 */

import { bytePathOf } from "../../core/names.ts";
import type { FileContent, Posix } from "../../posix/posix.ts";
import { StorageError, type StorageOperation } from "../storage_error.ts";
import type { MountCalls } from "./mount_calls.ts";
import { errnoCode, isAbsence } from "./nfs_errors.ts";
import { SIDECAR_DIRECTORY, TEMPORARY_DIRECTORY } from "./nfs_keys.ts";

/** Objects are written once and read by the daemon's user and group only. */
const FILE_MODE = 0o640;
const DIRECTORY_MODE = 0o750;

/** What of libp4posix.so is used. */
export type FileReader = Pick<Posix, "readFile">;

export interface NfsDirectoryOptions {
  /** The export, or a directory in it: absolute, and it must exist. */
  readonly root: string;
  /** Below the root; "" for the root itself. Made when first written to. */
  readonly prefix: string;
  /** Start a store in a directory that is empty and no mount point. */
  readonly initialize: boolean;
  readonly calls: MountCalls;
  readonly posix: FileReader;
  readonly newId: () => string;
  /** Wall time, in milliseconds. */
  readonly nowMs: () => number;
}

/** What an object's own file tells of it. */
export type StoredStat = Pick<Deno.FileInfo, "size" | "mtime">;

/** What an open says of a name at which no regular file is. */
const NO_FILE: ReadonlySet<string> = new Set([
  ...["ENOENT", "ENOTDIR", "EISDIR", "ELOOP", "ENXIO"],
]);

/** A temporary file that nobody wrote to for so long is of a process that is gone. */
const ABANDONED_MS = 86_400_000;

export class NfsDirectory {
  /** Absolute, without a slash at the end. */
  readonly path: string;
  readonly #root: string;
  readonly #calls: MountCalls;
  readonly #posix: FileReader;
  readonly #newId: () => string;
  readonly #nowMs: () => number;
  readonly #known = new Set<string>();
  #device: number;
  #identity: string | null;
  #isTidy = false;

  private constructor(
    options: NfsDirectoryOptions,
    device: number,
    identity: string | null,
  ) {
    this.#root = options.root;
    this.path = joined(options.root, options.prefix);
    this.#calls = options.calls;
    this.#posix = options.posix;
    this.#newId = options.newId;
    this.#nowMs = options.nowMs;
    this.#device = device;
    this.#identity = identity;
  }

  /** @throws {Error} If the root is missing, or looks like a mount point without its mount. */
  static async open(options: NfsDirectoryOptions): Promise<NfsDirectory> {
    const { root, calls } = options;
    const cannot = (why: string, cause?: unknown): Error =>
      new Error(`Cannot use "${root}" as a store: ${why}`, { cause });
    let stat: Deno.FileInfo;
    try {
      stat = await calls.run(() => Deno.stat(root));
    } catch (cause) {
      if (!isAbsence(cause)) throw cannot(String(cause), cause);
      throw cannot("it does not exist; mount the export, or create the directory", cause);
    }
    if (!stat.isDirectory) throw cannot("it is not a directory");
    const identity = await readIdentity(calls, joined(root, options.prefix));
    const directory = new NfsDirectory(options, stat.dev, identity);
    const looksUnmounted = identity === null && !options.initialize &&
      await isEmptyOnParentsDevice(calls, root, stat.dev);
    if (looksUnmounted) {
      throw cannot(
        "it is empty and nothing is mounted there; mount the export, or, if this " +
          `directory is to be the store, create "${root}/${SIDECAR_DIRECTORY}" in it`,
      );
    }
    return directory;
  }

  /**
   * Called before absence is believed and before bytes are called durable.
   *
   * @throws {StorageError} `unavailable` if the directory is not the one that was opened:
   * an export that was unmounted leaves an empty directory that answers every question.
   */
  async checkMounted(
    operation: StorageOperation,
    key: string,
    signal?: AbortSignal,
  ): Promise<void> {
    const { dev } = await this.#calls.run(() => Deno.stat(this.#root), signal);
    if (dev === this.#device) return;
    const identity = await readIdentity(this.#calls, this.path);
    if (this.#identity === null || identity !== this.#identity) {
      throw new StorageError("unavailable", {
        operation,
        key,
        detail: `"${this.#root}" is not the file system that was opened; mount it again`,
      });
    }
    // The same store under a new device number: it was mounted anew.
    this.#device = dev;
    this.#known.clear();
  }

  /** Makes the store's own directories and its identity, once. */
  async prepare(signal?: AbortSignal): Promise<void> {
    const temporaries = joined(this.path, TEMPORARY_DIRECTORY);
    await this.makeDirectories(temporaries, signal);
    if (!this.#isTidy) await this.#removeAbandoned(temporaries, signal);
    this.#isTidy = true;
    if (this.#identity !== null) return;
    const home = joined(this.path, SIDECAR_DIRECTORY);
    await this.makeDirectories(home, signal);
    const temporary = this.temporaryPath();
    const bytes = new TextEncoder().encode(`${this.#newId()}\n`);
    await this.writeFile(temporary, bytes, "", signal);
    await this.linkNew(temporary, joined(home, "identity"), signal);
    await this.remove(temporary);
    this.#identity = await readIdentity(this.#calls, this.path);
  }

  /** Removes what uploads left that were killed; another daemon's may be under way. */
  async #removeAbandoned(directory: string, signal?: AbortSignal): Promise<void> {
    for (const { name } of await this.entries(directory, signal)) {
      const path = joined(directory, name);
      const stat = await this.lstat(path, signal);
      const ageMs = this.#nowMs() - (stat?.mtime?.getTime() ?? this.#nowMs());
      if (stat?.isFile === true && ageMs > ABANDONED_MS) await this.remove(path, signal);
    }
  }

  temporaryPath(): string {
    return joined(joined(this.path, TEMPORARY_DIRECTORY), this.#newId());
  }

  /** Makes `directory` (below the root) and its parents, each durable in its own parent. */
  async makeDirectories(directory: string, signal?: AbortSignal): Promise<void> {
    if (directory === this.#root || this.#known.has(directory)) return;
    const parent = parentOf(directory);
    await this.makeDirectories(parent, signal);
    try {
      await this.#calls.run(
        () => Deno.mkdir(directory, { mode: DIRECTORY_MODE }),
        signal,
      );
      await this.syncDirectory(parent, signal);
    } catch (error) {
      if (errnoCode(error) !== "EEXIST") throw error;
    }
    if (this.#known.size > 100_000) this.#known.clear();
    this.#known.add(directory);
  }

  create(path: string, signal?: AbortSignal): Promise<Deno.FsFile> {
    const options = { read: true, write: true, createNew: true, mode: FILE_MODE };
    return this.#calls.run(
      () => Deno.open(path, options),
      signal,
      (late) => late.close(),
    );
  }

  async writeAll(
    file: Deno.FsFile,
    bytes: Uint8Array,
    signal?: AbortSignal,
  ): Promise<void> {
    let done = 0;
    while (done < bytes.length) {
      done += await this.#calls.run(() => file.write(bytes.subarray(done)), signal);
    }
  }

  /** Makes a small file, durably but for its name. */
  async writeFile(
    path: string,
    bytes: Uint8Array,
    key: string,
    signal?: AbortSignal,
  ): Promise<void> {
    const file = await this.create(path, signal);
    let isFlushed = false;
    try {
      await this.writeAll(file, bytes, signal);
      await this.settle(file, key, signal);
      isFlushed = true;
    } finally {
      await this.closeWritten(file, isFlushed);
    }
  }

  /**
   * Flushes `file` and checks that it is on the store's own device.
   *
   * @throws {StorageError} `unavailable` if the mount went away meanwhile.
   */
  async settle(
    file: Deno.FsFile,
    key: string,
    signal?: AbortSignal,
  ): Promise<Deno.FileInfo> {
    await this.#calls.run(() => file.sync(), signal);
    const stat = await this.#calls.run(() => file.stat(), signal);
    if (stat.dev !== this.#device) await this.checkMounted("upload", key, signal);
    if (stat.dev !== this.#device) {
      throw new StorageError("unavailable", {
        operation: "upload",
        key,
        detail: "the file went to a file system that is not the store's",
      });
    }
    return stat;
  }

  /**
   * Closes a file that was written to. One whose bytes may not be flushed is closed only
   * after a flush came back: close(2) flushes too, on the main thread, and would hang
   * there for as long as the server is gone. A flush that hangs closes it when it ends.
   */
  async closeWritten(file: Deno.FsFile, isFlushed: boolean): Promise<void> {
    if (isFlushed) return file.close();
    let isBegun = false;
    const flush = (): Promise<void> => {
      isBegun = true;
      return file.sync().catch(() => {});
    };
    try {
      await this.#calls.run(flush, undefined, () => file.close());
    } catch {
      // It hangs, and closes later; or other calls do, and it found no place among them.
      if (!isBegun) flush().finally(() => file.close());
      return;
    }
    file.close();
  }

  /** After a directory turned out to be gone that was there before. */
  forgetDirectories(): void {
    this.#known.clear();
  }

  stat(file: Deno.FsFile, signal?: AbortSignal): Promise<Deno.FileInfo> {
    return this.#calls.run(() => file.stat(), signal);
  }

  /** Gives `from` the further name `to`, durably; false if `to` is taken. */
  async linkNew(from: string, to: string, signal?: AbortSignal): Promise<boolean> {
    try {
      await this.#calls.run(() => Deno.link(from, to), signal);
    } catch (error) {
      if (errnoCode(error) !== "EEXIST") throw error;
      // An NFS client repeats a request whose answer got lost, and is then told that the
      // name exists: it does, as a name of our own file.
      if (!(await this.#isSameFile(from, to))) return false;
    }
    await this.syncDirectory(parentOf(to), signal);
    return true;
  }

  async #isSameFile(from: string, to: string): Promise<boolean> {
    const [a, b] = await Promise.all([this.lstat(from), this.lstat(to)]);
    return a !== null && b !== null && a.dev === b.dev && a.ino === b.ino;
  }

  async renameOver(from: string, to: string, signal?: AbortSignal): Promise<void> {
    await this.#calls.run(() => Deno.rename(from, to), signal);
    await this.syncDirectory(parentOf(to), signal);
  }

  /** Removes a name; false if it is not there. Not yet durable. */
  async remove(path: string, signal?: AbortSignal): Promise<boolean> {
    try {
      await this.#calls.run(() => Deno.remove(path), signal);
      return true;
    } catch (error) {
      if (isAbsence(error)) return false;
      throw error;
    }
  }

  async lstat(path: string, signal?: AbortSignal): Promise<Deno.FileInfo | null> {
    try {
      return await this.#calls.run(() => Deno.lstat(path), signal);
    } catch (error) {
      if (isAbsence(error)) return null;
      throw error;
    }
  }

  /**
   * Reads a small file into `memory`, as much as fits; null if it is no regular file, or not
   * there at all.
   */
  async readFile(
    path: string,
    memory: Uint8Array<ArrayBuffer>,
    signal?: AbortSignal,
  ): Promise<{ readonly stat: StoredStat; readonly bytes: Uint8Array } | null> {
    const name = bytePathOf(path);
    try {
      const read = (): Promise<FileContent> => this.#posix.readFile(name, memory);
      const { stat, bytes } = await this.#calls.run(read, signal);
      const mtime = new Date(Number(stat.mtimeNs / 1_000_000n));
      return { stat: { size: stat.sizeBytes, mtime }, bytes };
    } catch (error) {
      if (NO_FILE.has(errnoCode(error) ?? "")) return null;
      throw error;
    }
  }

  openRead(path: string, signal?: AbortSignal): Promise<Deno.FsFile> {
    return this.#calls.run(() => Deno.open(path), signal, (late) => late.close());
  }

  read(
    file: Deno.FsFile,
    buffer: Uint8Array,
    signal?: AbortSignal,
  ): Promise<number | null> {
    return this.#calls.run(() => file.read(buffer), signal);
  }

  /** A small file's text; null if it is absent. */
  async readText(path: string, signal?: AbortSignal): Promise<string | null> {
    try {
      return await this.#calls.run(() => Deno.readTextFile(path), signal);
    } catch (error) {
      if (isAbsence(error)) return null;
      throw error;
    }
  }

  /** The entries of one directory; empty if it is absent. */
  async entries(path: string, signal?: AbortSignal): Promise<Deno.DirEntry[]> {
    try {
      return await this.#calls.run(() => Array.fromAsync(Deno.readDir(path)), signal);
    } catch (error) {
      if (isAbsence(error)) return [];
      throw error;
    }
  }

  async syncDirectory(path: string, signal?: AbortSignal): Promise<void> {
    const directory = await this.openRead(path, signal);
    try {
      await this.#calls.run(() => directory.sync(), signal);
    } catch (error) {
      // Some servers' file systems have no fsync of a directory, and none is needed there.
      if (errnoCode(error) !== "EINVAL") throw error;
    } finally {
      directory.close();
    }
  }
}

export function joined(directory: string, name: string): string {
  return name === "" ? directory : `${directory}/${name}`;
}

export function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}

function readIdentity(calls: MountCalls, path: string): Promise<string | null> {
  return calls.run(() =>
    Deno.readTextFile(`${path}/${SIDECAR_DIRECTORY}/identity`).catch((error) => {
      if (isAbsence(error)) return null;
      throw error;
    })
  );
}

async function isEmptyOnParentsDevice(
  calls: MountCalls,
  root: string,
  device: number,
): Promise<boolean> {
  const parent = await calls.run(() => Deno.stat(`${root}/..`));
  if (parent.dev !== device) return false;
  const entries = await calls.run(() => Array.fromAsync(Deno.readDir(root)));
  return entries.length === 0;
}
