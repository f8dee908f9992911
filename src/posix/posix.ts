/**
 * System calls that Deno lacks, or that it makes only for names that are Unicode: a typed table
 * over libp4posix.so, and a few composite calls where a sequence of steps belongs together.
 * No policy.
 *
 * Paths are absolute, one character per byte. A path with a NUL, or with a character above 255,
 * is a bug. Calls that return a promise run on another thread; a buffer that is given to one
 * belongs to it until the promise settles. Descriptors are the kernel's, close-on-exec, and must
 * be closed, but not while a call on them is under way.
 *
 * @module
 */

import type { BytePath } from "../core/names.ts";
import type {
  ExpectedFile,
  ExpectedMarker,
  FileAttributes,
  FileStat,
  MarkerAttributes,
  Shown,
} from "./layouts.ts";
import type { LeafPages } from "./leaf_pages.ts";
import { LoadedPosix } from "./loaded_posix.ts";
import type { PosixError } from "./posix_error.ts";
import type { SealedRowFinder } from "./sealed_rows.ts";
import { ABI, SYMBOLS } from "./symbols.ts";
import type { Walk, WalkEntry, WalkOptions } from "./walk.ts";

export { PosixError } from "./posix_error.ts";
export type {
  ExpectedFile,
  ExpectedMarker,
  FileAttributes,
  FileKind,
  FileStat,
  MarkerAttributes,
  Shown,
} from "./layouts.ts";
export type { Unreadable, Walk, WalkedFile, WalkEntry, WalkOptions } from "./walk.ts";

/** A restored file that is to take its name. */
export interface Publication {
  /** The file that was written, on the file system of `target`. */
  readonly temp: BytePath;
  readonly target: BytePath;
  /** `temp`, open for reading only: nobody could run what is open for writing. Stays open. */
  readonly tempFd: number;
  /** Where we may not give files away it stays ours, without setuid and setgid bits. */
  readonly attributes: FileAttributes;
  /** The marker at `target`; null when nothing is there. */
  readonly expect: ExpectedMarker | null;
}

/** Small content that is to take its name in one call. */
export interface Bringing extends Omit<Publication, "temp" | "tempFd"> {
  /** A free name; the file is made under {@linkcode namedAfter} of it. */
  readonly first: BytePath;
  readonly bytes: Uint8Array;
}

/** What became of a file that was to take its name. */
export type Published =
  & Shown
  & (
    | { readonly outcome: PublishResult }
    | { readonly outcome: "failed"; readonly error: PosixError }
  );

/**
 * After all but `published` look at {@linkcode namedAfter} of `first` and `ino` before removing
 * it, as after {@linkcode Posix.publish}.
 */
export type Brought =
  & Shown
  & (
    | { readonly outcome: PublishResult; readonly stat: FileStat }
    /** `ino`: of the file that was made; null if none was. */
    | {
      readonly outcome: "failed";
      readonly error: PosixError;
      readonly ino: bigint | null;
    }
  );

/** The name of a file of ours says which inode it is, so that a restart knows it. */
export function namedAfter(first: BytePath, ino: bigint): BytePath {
  return `${first}.${ino}`;
}

/** A file, or the beginning of one. */
export interface FileContent {
  /** As it was opened. */
  readonly stat: FileStat;
  /** The part of the memory that was given that it fills. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Of what is written beside a file or marker while names are exchanged. */
export const NOTE_SUFFIX = ".note";

/**
 * published: the file has the name, durably; nothing is left at `temp`.
 * occupied: nothing was expected at `target`, and there is something. `temp` is left.
 * changed: `target` is not what was expected, and is left as its writer has it. `temp` must
 * be looked at before it is removed: it is ours only if it still has `tempFd`'s inode.
 */
export type PublishResult = "published" | "occupied" | "changed";

/** A file that is to give its name to a marker. */
export interface Eviction {
  readonly target: BytePath;
  /** A free name in a directory of our own, on the file system of `target`. */
  readonly aside: BytePath;
  readonly expect: ExpectedFile;
  readonly marker: MarkerAttributes;
}

/**
 * evicted: the marker has taken the name, durably, and may have lost it since; nothing is left at
 * `aside`.
 * busy: somebody writes the file, or is about to. changed: it is not the expected file.
 * After both, `target` is as its writers have it, and nothing is left at `aside`, or what
 * {@linkcode Posix.recoverExchange} is to keep.
 */
export type EvictResult =
  | { readonly outcome: "evicted"; readonly marker: FileStat }
  | { readonly outcome: "busy" | "changed" };

/** What is to leave its name, if it still is there as it was looked at. */
export interface Removal {
  readonly target: BytePath;
  /** A free name in a directory of our own, on the file system of `target`. */
  readonly aside: BytePath;
  readonly expect: FileStat;
}

/**
 * gone: it was removed. left: `target` is as its writers have it. kept: so too, but a
 * version that was out for a moment is at `aside`, for {@linkcode Posix.recoverExchange}.
 */
export type RemovalResult = "gone" | "left" | "kept";

/**
 * nothing-left: what was aside was ours and is gone. has-its-name: what was aside is somebody
 * else's and is at `target` again. to-be-kept: `target` has something newer, which may have
 * been made without knowing what is aside; that is left. no-note: no exchange had begun.
 */
export type RecoveredExchange =
  | {
    readonly outcome: "nothing-left" | "has-its-name" | "to-be-kept";
    readonly target: BytePath;
  }
  | { readonly outcome: "no-note" };

/** Every method throws {@linkcode PosixError}, or rejects with it. */
export interface Posix extends Disposable {
  /** Null for ENOENT and ENOTDIR. Does not follow a symlink at the end. */
  lstat(path: BytePath): FileStat | null;
  fstat(fd: number): FileStat;
  statvfs(path: BytePath): SpaceInfo;
  /** Null for ENOENT and ENOTDIR. `path` of each entry is its name. */
  readDirectory(path: BytePath): WalkEntry[] | null;
  /** Makes what is missing of `path`; each new directory is durable in its parent. */
  makeDirs(path: BytePath, mode: number): void;
  /** Whether there was something to remove. */
  unlink(path: BytePath): boolean;
  rmdir(path: BytePath): void;
  rename(from: BytePath, to: BytePath): void;
  /** False if there is something at `to`. */
  renameNoReplace(from: BytePath, to: BytePath): boolean;
  /** Both names must exist. */
  exchange(a: BytePath, b: BytePath): void;
  /** False if there is something at `to`. */
  link(from: BytePath, to: BytePath): boolean;
  chmod(path: BytePath, mode: number): void;
  chown(path: BytePath, uid: number, gid: number): void;
  /** Null keeps a time. Of a symlink itself. */
  setTimes(path: BytePath, times: FileTimes): void;
  /**
   * Makes the marker of an evicted file; on failure nothing is left. EEXIST if there is
   * anything at `path`, EOPNOTSUPP if the file system does not keep nanoseconds.
   */
  makeMarker(path: BytePath, marker: MarkerAttributes): void;
  /** Whether anybody has the file open for writing. Its owner or CAP_LEASE only: EACCES. */
  hasWriter(path: BytePath): boolean;

  /**
   * For reading, a regular file only: ENXIO for a marker, ELOOP for a symlink, EISDIR for a
   * directory. Leaves the atime alone where we may.
   */
  openRead(path: BytePath): number;
  /** For reading and writing, a new file only. */
  createTemp(path: BytePath, mode: number): number;
  close(fd: number): void;
  truncate(fd: number, sizeBytes: number): void;
  /** Fills `buffer` from `offset`; fewer bytes only at the end of the file. */
  read(fd: number, buffer: Uint8Array, offset: number): Promise<number>;
  readSync(fd: number, buffer: Uint8Array, offset: number): number;
  /** Writes all of `buffer` at `offset`. On failure, any part of it. */
  write(fd: number, buffer: Uint8Array, offset: number): Promise<void>;
  fsync(fd: number): Promise<void>;
  fdatasync(fd: number): Promise<void>;
  /** Of a file or a directory. */
  fsyncPath(path: BytePath): Promise<void>;

  /** A new file at {@linkcode namedAfter} of `first`, for reading and writing. */
  createNamed(first: BytePath): Promise<{ readonly fd: number; readonly ino: bigint }>;
  /** Reads a regular file (see {@linkcode openRead}) into `memory`, as much as fits. */
  readFile(path: BytePath, memory: Uint8Array<ArrayBuffer>): Promise<FileContent>;
  /** createNamed(), write() and publish() in one; nothing stays open. Rejects only before it begins. */
  bring(bringing: Bringing): Promise<Brought>;
  /**
   * Gives a restored file its attributes and its name, all durable. After all but `published` look
   * at `temp` before removing it: it is our own file only if it still has `tempFd`'s inode.
   * Rejects only before it begins.
   */
  publish(publication: Publication): Promise<Published>;
  /**
   * Puts a marker in the place of a file. On a rejection the caller keeps what is at `aside`,
   * unless that is a marker.
   */
  putMarker(eviction: Eviction): Promise<EvictResult>;

  /** Removes what is under a name that `p4d` may take at any moment. */
  takeOut(removal: Removal): RemovalResult;
  /**
   * Goes on with what a crash cut short: `aside` is a name that was given to
   * {@linkcode publish}, {@linkcode putMarker} or {@linkcode takeOut}, with
   * {@linkcode NOTE_SUFFIX} left out.
   */
  recoverExchange(aside: BytePath): RecoveredExchange;

  openWalk(root: BytePath, options?: WalkOptions): Walk;
  /** Keeps other processes of this user from reading our memory. */
  prctlNotDumpable(): void;
  /** Memory of large buffers that were freed goes back to the kernel, now and from now on. */
  boundMemory(): void;
  /** Unloads the library. No call may be under way, no walk open. */
  [Symbol.dispose](): void;
}

export interface SpaceInfo {
  readonly totalBytes: number;
  /** What an unprivileged process may still take. */
  readonly freeBytes: number;
}

export interface FileTimes {
  readonly atimeNs: bigint | null;
  readonly mtimeNs: bigint | null;
}

/** The library is of another version than this program. */
export class LayoutError extends Error {
  override readonly name = "LayoutError";
}

/**
 * Loads `libraryPath` (see native_files.ts).
 *
 * @throws {Error} If it cannot be loaded. @throws {LayoutError}
 */
export function openPosix(libraryPath: string): Posix & LeafPages & SealedRowFinder {
  const library = Deno.dlopen(libraryPath, SYMBOLS);
  const found = ABI.map((_, index) => library.symbols.p4posix_abi(index));
  if (found.join() !== ABI.join()) {
    library.close();
    throw new LayoutError(
      `Cannot use ${libraryPath}: its layouts are ${found}, this program's are ${ABI}; ` +
        `both must be of one installation`,
    );
  }
  return new LoadedPosix(library);
}
