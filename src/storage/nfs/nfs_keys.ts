/**
 * Where an object lies below the store's directory, and which object a file is.
 *
 * What `p4d` names an archive keeps its name, so that an administrator finds
 * `depot/main/foo.c,v` under `depot/main/foo.c,v`, and a tree that was made by copying a
 * depot is a store. Everything else is marked by a suffix, because a store may hold both
 * `a` and `a/b` (a file that was deleted, then a directory of the same name), and a
 * directory of a file system may not:
 *
 * | segment                                | parent `*,d`      | any other parent       |
 * |----------------------------------------|-------------------|------------------------|
 * | last, `*,v` or `*,v.p4cv-<16 hex>`     | literal           | literal                |
 * | last, any other                        | literal (1)       | + `^f`                 |
 * | directory, `*,v`, `*,v.p4cv-<16 hex>`  | + `^d`            | + `^d`                 |
 * | directory, ends `^f`, `^d`, `^c`       | + `^d`            | + `^d`                 |
 * | directory, any other                   | + `^d`            | literal                |
 *
 * (1) unless it ends in `^f`, `^d` or `^c`, or begins with `.nfs` as files do that an NFS
 * client keeps for a process: then + `^f`. A stored name over 255 bytes is cut into
 * directories that end in `^c`. In each column no row's names can be another row's, so the
 * mapping is injective and no object lies where another needs a directory.
 *
 * @module
 */

import type { ObjectKey } from "../../core/names.ts";
import { objectKeyOf } from "../../core/names.ts";

/** Our own directories, directly below the prefix; no object may be in them. */
export const TEMPORARY_DIRECTORY = ".p4cache-tmp";
export const SIDECAR_DIRECTORY = ".p4cache-storage";

const RESERVED = new Set([".p4cache", TEMPORARY_DIRECTORY, SIDECAR_DIRECTORY]);

/** Linux and every NFS server we know of. */
const NAME_BYTES_MAX = 255;

/**
 * A long name is cut in pieces of this size, so that what is left over is longer than
 * 50 bytes and can be neither `.` nor `..`.
 */
const PIECE_BYTES = 200;

/** Longest path that Linux takes, with room for a root and for a temporary name. */
const PATH_BYTES_MAX = 3_000;

/** Why `key` cannot be a file, or null. */
export function keyProblem(key: string): string | null {
  if (key === "") return "the key is empty";
  if (key.startsWith("/")) return "the key is absolute";
  if (key.includes("\0")) return "the key contains a NUL";
  // A lone surrogate would be written as U+FFFD, like every other one.
  if (!key.isWellFormed()) return "the key is not valid Unicode";
  const segments = key.split("/");
  for (const segment of segments) {
    if (segment === "" || segment === "." || segment === "..") {
      return `the key has a "${segment}" segment`;
    }
  }
  if (RESERVED.has(segments[0]!)) return `${segments[0]} is reserved`;
  if (byteLength(key) > PATH_BYTES_MAX) return `it is over ${PATH_BYTES_MAX} bytes`;
  return null;
}

/** The file of `key`, relative to the prefix. The caller checked {@linkcode keyProblem}. */
export function storedPathOf(key: ObjectKey): string {
  const segments = key.split("/");
  const name = segments.pop()!;
  return [
    ...storedDirectories(segments),
    ...inPieces(storedFileName(name, segments.at(-1))),
  ].join("/");
}

/** The directory of all keys that begin with the whole directory segments of `prefix`. */
export function storedDirectoryOf(prefix: string): string {
  return storedDirectories(prefix.split("/").slice(0, -1)).join("/");
}

/** The key of the file at `stored`; null if no key has its file there. */
export function keyOfStoredPath(stored: string): ObjectKey | null {
  const names = stored.split("/");
  const last = names.pop()!;
  const { segments, piece } = decodedDirectories(names);
  const whole = piece + last;
  segments.push(whole.endsWith("^f") ? whole.slice(0, -2) : whole);
  const key = segments.join("/");
  if (keyProblem(key) !== null) return null;
  // Whatever was decoded above, only the encoder says what is ours.
  return storedPathOf(objectKeyOf(key)) === stored ? objectKeyOf(key) : null;
}

/** What each key begins with whose file is anywhere below the directory `stored`. */
export function keyPrefixOf(stored: string): string {
  const { segments, piece } = decodedDirectories(stored.split("/"));
  return [...segments, piece].join("/");
}

/** `piece`: the beginning of a segment that the last of `names` does not end. */
function decodedDirectories(
  names: readonly string[],
): { readonly segments: string[]; readonly piece: string } {
  const segments: string[] = [];
  let piece = "";
  for (const name of names) {
    if (name.endsWith("^c")) {
      piece += name.slice(0, -2);
      continue;
    }
    const whole = piece + name;
    segments.push(whole.endsWith("^d") ? whole.slice(0, -2) : whole);
    piece = "";
  }
  return { segments, piece };
}

function storedDirectories(segments: readonly string[]): string[] {
  return segments.flatMap((segment, i) =>
    inPieces(storedDirectoryName(segment, segments[i - 1]))
  );
}

function storedFileName(name: string, parent: string | undefined): string {
  const isLiteral = isArchiveName(name) || isRevisionDirectory(parent);
  return isLiteral && !hasMark(name) && !name.startsWith(".nfs") ? name : `${name}^f`;
}

function storedDirectoryName(name: string, parent: string | undefined): string {
  const isMarked = isArchiveName(name) || hasMark(name) || isRevisionDirectory(parent);
  return isMarked ? `${name}^d` : name;
}

function isArchiveName(name: string): boolean {
  return /,v(?:\.p4cv-[0-9a-f]{16})?$/.test(name);
}

function isRevisionDirectory(name: string | undefined): boolean {
  return name !== undefined && name.endsWith(",d");
}

function hasMark(name: string): boolean {
  return /\^[fdc]$/.test(name);
}

function inPieces(name: string): string[] {
  const pieces: string[] = [];
  let rest = name;
  while (byteLength(rest) > NAME_BYTES_MAX) {
    const piece = leadingBytes(rest, PIECE_BYTES);
    pieces.push(`${piece}^c`);
    rest = rest.slice(piece.length);
  }
  return [...pieces, rest];
}

/** The longest beginning of at most `bytesMax` bytes that cuts no character. */
function leadingBytes(text: string, bytesMax: number): string {
  let bytes = 0;
  let length = 0;
  for (const character of text) {
    bytes += byteLength(character);
    if (bytes > bytesMax) break;
    length += character.length;
  }
  return text.slice(0, length);
}

function byteLength(text: string): number {
  return new TextEncoder().encode(text).length;
}
