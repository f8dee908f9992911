/**
 * Values to and from the memory that libp4posix.so reads and writes (helpers/posix/posix.h).
 *
 * @module
 */

import { assert } from "../core/assert.ts";
import type { BytePath } from "../core/names.ts";
import { ENAMETOOLONG } from "./errno.ts";
import { PosixError } from "./posix_error.ts";

export type FileKind = "file" | "directory" | "symlink" | "socket" | "other";

/** What lstat tells. Times in nanoseconds since the epoch. */
export interface FileStat {
  readonly kind: FileKind;
  readonly sizeBytes: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  /** Of a marker: see core/marker.ts. */
  readonly atimeNs: bigint;
  /** 07777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly ino: bigint;
  readonly dev: bigint;
  readonly nlink: number;
  /** Of 512 bytes. */
  readonly blocks: number;
}

export interface FileAttributes {
  /** 07777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: bigint;
}

export interface MarkerAttributes extends FileAttributes {
  /** Of the evicted file: below 2^48. */
  readonly sizeBytes: number;
}

/** The file that was looked at, for a call that must not touch another. */
export interface ExpectedFile {
  readonly ino: bigint;
  readonly sizeBytes: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

/** The marker that was looked at: the number of an inode alone may be another one's by now. */
export type ExpectedMarker = Omit<ExpectedFile, "sizeBytes">;

/** Of a file that was to take its name. */
export interface Shown {
  /** It had the name, if only for a moment: somebody may have opened it for writing then. */
  readonly wasShown: boolean;
  /**
   * Of the file right after it got the name, if it did: nobody had opened it by then. A later one is
   * of a change since. 0n: not known.
   */
  readonly shownCtimeNs: bigint;
}

/** In the order of enum p4posix_kind. */
const KINDS: readonly FileKind[] = ["other", "file", "directory", "symlink", "socket"];

/** As libp4posix.so counts them. */
export function kindNumber(kind: FileKind): number {
  return KINDS.indexOf(kind);
}

export const STAT_BYTES = 96;

/** Room for `struct p4posix_shown`. */
export function shownMemory(): BigInt64Array<ArrayBuffer> {
  return new BigInt64Array(2);
}

export function decodeShown([wasShown, ctimeNs]: BigInt64Array): Shown {
  return { wasShown: wasShown !== 0n, shownCtimeNs: ctimeNs! };
}

/** The kernel's PATH_MAX, with the NUL. */
export const PATH_BYTES_MAX = 4096;

export function decodeStat(view: DataView, at: number): FileStat {
  const kind = KINDS[view.getUint32(at, true)];
  assert(kind !== undefined, "libp4posix.so gave an unknown kind of file");
  // What fits 32 bits is read so: a walk decodes millions, and a BigInt is an allocation.
  return {
    kind,
    sizeBytes: numberAt(view, at + 40),
    mtimeNs: view.getBigInt64(at + 56, true),
    ctimeNs: view.getBigInt64(at + 64, true),
    atimeNs: view.getBigInt64(at + 72, true),
    mode: view.getUint32(at + 8, true),
    uid: view.getUint32(at + 16, true),
    gid: view.getUint32(at + 24, true),
    ino: view.getBigUint64(at + 80, true),
    dev: view.getBigUint64(at + 88, true),
    nlink: numberAt(view, at + 32),
    blocks: numberAt(view, at + 48),
  };
}

function numberAt(view: DataView, at: number): number {
  return view.getInt32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
}

export function encodeAttributes(attributes: FileAttributes): Uint8Array<ArrayBuffer> {
  return bytesOfWords(attributeWords(attributes));
}

export function encodeMarker(marker: MarkerAttributes): Uint8Array<ArrayBuffer> {
  return bytesOfWords([...attributeWords(marker), BigInt(marker.sizeBytes)]);
}

/** The C side reads it as a pointer that may be NULL. */
export function encodeExpectedMarker(
  marker: ExpectedMarker | null,
): Uint8Array<ArrayBuffer> | null {
  return marker === null ? null : encodeExpected({ ...marker, sizeBytes: 0 });
}

export function encodeExpected(file: ExpectedFile): Uint8Array<ArrayBuffer> {
  return bytesOfWords([file.ino, BigInt(file.sizeBytes), file.mtimeNs, file.ctimeNs]);
}

function attributeWords({ mode, uid, gid, mtimeNs }: FileAttributes): bigint[] {
  return [BigInt(mode), BigInt(uid), BigInt(gid), mtimeNs];
}

function bytesOfWords(words: readonly bigint[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(BigInt64Array.from(words).buffer);
}

/** Writes `path` and a NUL to the start of `bytes`. */
function writePath(bytes: Uint8Array, op: string, path: BytePath): void {
  for (let i = 0; i < path.length; i++) {
    const byte = path.charCodeAt(i);
    assert(byte > 0 && byte < 256, `a path for ${op} holds a NUL or is not bytes`);
    bytes[i] = byte;
  }
  bytes[path.length] = 0;
}

/** `path` as C reads it. @throws {PosixError} ENAMETOOLONG. */
export function encodePath(op: string, path: BytePath): Uint8Array<ArrayBuffer> {
  if (path.length >= PATH_BYTES_MAX) throw new PosixError(op, path, ENAMETOOLONG);
  const bytes = new Uint8Array(path.length + 1);
  writePath(bytes, op, path);
  return bytes;
}

/** Room for the path of a call that returns before the next: no allocation. */
export class PathScratch {
  readonly #bytes = new Uint8Array(PATH_BYTES_MAX);

  encode(op: string, path: BytePath): Uint8Array<ArrayBuffer> {
    if (path.length >= PATH_BYTES_MAX) throw new PosixError(op, path, ENAMETOOLONG);
    writePath(this.#bytes, op, path);
    return this.#bytes;
  }
}
