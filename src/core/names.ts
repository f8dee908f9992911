/**
 * The names of things: depot paths, which of them are managed, and object keys.
 *
 * Paths are bytes. A `p4d` that is not in unicode mode stores latin-1 and Shift-JIS
 * names, so a path is held as a string with one character per byte (0-255), never
 * decoded. Only this file makes a {@linkcode DepotPath} or an {@linkcode ObjectKey}.
 *
 * @module
 */

declare const brand: unique symbol;

/** Path relative to the depot root, one character per byte: no `.`, `..` or empty segment. */
export type DepotPath = string & { readonly [brand]: "DepotPath" };

/** Key of an object, below the backend's own prefix: valid Unicode, at most 900 bytes as UTF-8. */
export type ObjectKey = string & { readonly [brand]: "ObjectKey" };

/** Any file name for the kernel, one character per byte. Absolute, unless said otherwise. */
export type BytePath = string;

/** Which names below the depot root are tiered. */
export type ManagePolicy = "archives" | "all";

/** The daemon's own directory, directly below the depot root. */
export const RESERVED_DIRECTORY = ".p4cache";

/**
 * Longest managed path. The manifest's keys end here (LMDB, page size 8192); a longer
 * path is not managed, and counted.
 */
export const PATH_BYTES_MAX = 3_900;

/** Longest key that every backend takes with room for a prefix (S3 and GCS: 1,024 bytes). */
export const KEY_BYTES_MAX = 900;

/** Keys under these prefixes are made from a path in another way than by copying it. */
const BYTES_PREFIX = ".p4cache-bytes/";
const LONG_PREFIX = ".p4cache-long/";

/** Appended to the first key of a path for each later version: 16 hex digits of its hash. */
const VERSION_SUFFIX = /\.p4cv-[0-9a-f]{16}$/;

/** Why a text is no depot path. */
export class PathError extends Error {
  override readonly name = "PathError";
  readonly fault:
    | "empty"
    | "absolute"
    | "segment"
    | "nul"
    | "newline"
    | "long"
    | "reserved";

  constructor(fault: PathError["fault"], text: string, why: string) {
    super(`Cannot use ${JSON.stringify(text.slice(0, 200))} as a depot path: ${why}`);
    this.fault = fault;
  }
}

/**
 * Checks `text` (one character per byte) once, at the edge.
 *
 * @throws {PathError} If it is empty, absolute, too long, in the reserved directory, has
 * a NUL or a line feed, or has a segment that is empty, `.` or `..`.
 */
export function parseDepotPath(text: string): DepotPath {
  if (text.length === 0) throw new PathError("empty", text, "it is empty");
  if (text.startsWith("/")) throw new PathError("absolute", text, "it is absolute");
  if (text.includes("\0")) throw new PathError("nul", text, "it contains a NUL");
  if (text.includes("\n")) {
    throw new PathError("newline", text, "it contains a line feed");
  }
  if (text.length > PATH_BYTES_MAX) {
    throw new PathError("long", text, `it is longer than ${PATH_BYTES_MAX} bytes`);
  }
  for (let start = 0; start <= text.length;) {
    const slash = text.indexOf("/", start);
    const end = slash < 0 ? text.length : slash;
    if (isDotOrEmpty(text, start, end)) {
      const segment = text.slice(start, end);
      throw new PathError("segment", text, `it has a "${segment}" segment`);
    }
    start = end + 1;
  }
  if (isReserved(text)) {
    throw new PathError("reserved", text, `${RESERVED_DIRECTORY} is the daemon's own`);
  }
  return text as DepotPath;
}

/** Of the segment between `start` and `end`: no text of its own is made for each. */
function isDotOrEmpty(text: string, start: number, end: number): boolean {
  const length = end - start;
  if (length > 2) return false;
  return length === 0 ||
    (text[start] === "." && (length === 1 || text[start + 1] === "."));
}

/** {@linkcode parseDepotPath}, with null in place of an error. */
export function depotPathOrNull(text: string): DepotPath | null {
  try {
    return parseDepotPath(text);
  } catch (error) {
    if (error instanceof PathError) return null;
    throw error;
  }
}

function isReserved(text: string): boolean {
  return text === RESERVED_DIRECTORY || text.startsWith(`${RESERVED_DIRECTORY}/`);
}

/**
 * Whether `path` is tiered. `archives` takes what `p4d` names an archive: `x,v`, and each
 * file in a directory `x,d`. Databases, journals, checkpoints, locks and temporary
 * files are never tiered, under either policy. Clients choose what stands before `,v`: `db.sql,v`
 * and `journal.c,v` are the histories of `db.sql` and `journal.c`, and no file of the server's own
 * ends so. `server.locks` is the server's in its root; below that, a client's directory.
 */
export function isManaged(path: DepotPath, policy: ManagePolicy): boolean {
  if (path === LOCKS || path.startsWith(`${LOCKS}/`)) return false;
  const slash = path.lastIndexOf("/");
  const name = path.slice(slash + 1);
  if (isHistory(name)) return true;
  if (isServerFile(name) || (isBelowLocks(path) && !isRevision(name))) return false;
  return policy === "all" || (slash > 0 && path.endsWith(",d", slash));
}

/** The directory of the server's locks, in its root. */
export const LOCKS = "server.locks";

/** Of a server whose root is below the depot, or a client's directory of that name. */
function isBelowLocks(path: DepotPath): boolean {
  return path.includes(`/${LOCKS}/`);
}

/** Whether `p4d` names a revision so, in a directory `x,d`. */
function isRevision(name: string): boolean {
  return /^\d+\.\d+(?:\.gz)?$/.test(name);
}

/** Whether `p4d` names the history of a file so: `x,v`. */
export function isHistory(name: string): boolean {
  return name.endsWith(",v") && name.length > 2;
}

/** Of a name that is no history. */
function isServerFile(name: string): boolean {
  return name.startsWith("db.") || name.startsWith("tmp.") || name.endsWith(".lck") ||
    name === "journal" || name.startsWith("journal.") || name.includes(".jnl.") ||
    name.endsWith(".jnl") || name.startsWith("checkpoint.") || name.includes(".ckp.") ||
    name.endsWith(".ckp");
}

/**
 * Whether nothing but its length, or a line feed in it, keeps a file of that name from being
 * managed: it has no row, and so no copy in the store.
 */
export function isUnmanageable(text: string, policy: ManagePolicy): boolean {
  try {
    parseDepotPath(text);
    return false;
  } catch (error) {
    if (!(error instanceof PathError)) throw error;
    return (error.fault === "long" || error.fault === "newline") &&
      !isReserved(text) && isManaged(text as DepotPath, policy);
  }
}

/** The bytes of a path, as the kernel and the manifest hold it. */
export function bytesOf(path: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(path.length);
  for (let i = 0; i < path.length; i++) bytes[i] = path.charCodeAt(i);
  return bytes;
}

/** The inverse of {@linkcode bytesOf}. */
export function textOfBytes(bytes: Uint8Array): string {
  return textWithin(bytes, 0, bytes.length);
}

/** The same of a part. Sixteen at a time: many times as fast as one, or as a spread of all. */
export function textWithin(bytes: Uint8Array, start: number, end: number): string {
  let text = "";
  let i = start;
  for (; i + 16 <= end; i += 16) {
    // deno-fmt-ignore
    text += String.fromCharCode(
      bytes[i]!, bytes[i + 1]!, bytes[i + 2]!, bytes[i + 3]!,
      bytes[i + 4]!, bytes[i + 5]!, bytes[i + 6]!, bytes[i + 7]!,
      bytes[i + 8]!, bytes[i + 9]!, bytes[i + 10]!, bytes[i + 11]!,
      bytes[i + 12]!, bytes[i + 13]!, bytes[i + 14]!, bytes[i + 15]!,
    );
  }
  for (; i < end; i++) text += String.fromCharCode(bytes[i]!);
  return text;
}

/** One character per byte, from ordinary text such as a configuration value. */
export function bytePathOf(unicode: string): BytePath {
  return textOfBytes(new TextEncoder().encode(unicode));
}

/**
 * For people and for JSON: the path as UTF-8 where it is that, with each byte as `\xNN` that is not,
 * and those of a backslash and of what would steer a terminal. {@linkcode unescapeBytes} of
 * its bytes is the path again: no two paths are shown alike.
 */
export function displayPath(path: string): string {
  const text = decodeUtf8(path);
  if (text === null) return path.replace(/[^ -[\]-~]/g, escapedByte);
  return text.replace(
    STEERING,
    (char) => bytePathOf(char).replace(/[^]/g, escapedByte),
  );
}

/**
 * A backslash, controls (C0 and C1), line separators, and what turns the direction of writing, so
 * that another name would be read than the one that is there.
 */
const STEERING =
  // deno-lint-ignore no-control-regex
  /[\\\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

function escapedByte(byte: string): string {
  return `\\x${hexByte(byte.charCodeAt(0))}`;
}

/** The path that somebody typed, in bytes, as {@linkcode displayPath} shows it or as it is. */
export function unescapeBytes(bytes: string): BytePath {
  return bytes.replace(
    /\\x([0-9a-fA-F]{2})/g,
    (_, hex) => String.fromCharCode(parseInt(hex, 16)),
  );
}

/**
 * The key of the first version of `path`. Injective together with
 * {@linkcode versionKeyFor}: no two versions of any two paths share a key.
 *
 * @param hashOfPath Lower-case hex BLAKE3-256; asked only for a path whose key would be
 * longer than 900 bytes.
 */
export function firstKeyFor(path: DepotPath, hashOfPath: () => string): ObjectKey {
  const literal = isSafeKey(path) ? decodeUtf8(path) : null;
  const key = literal ?? BYTES_PREFIX + percentEncoded(path);
  // Room for the version suffix, so that a path never changes from one form to another.
  if (utf8Length(key) + 22 <= KEY_BYTES_MAX) return key as ObjectKey;
  return (LONG_PREFIX + hashOfPath()) as ObjectKey;
}

/** The key of a later version, named after its content: `<first key>.p4cv-<16 of hash>`. */
export function versionKeyFor(firstKey: ObjectKey, contentHashHex: string): ObjectKey {
  return `${firstKey}.p4cv-${contentHashHex.slice(0, 16)}` as ObjectKey;
}

/** The key of the first version of the same path. All versions of a path share it. */
export function firstVersionOf(key: ObjectKey): ObjectKey {
  return key.replace(VERSION_SUFFIX, "") as ObjectKey;
}

/** A key that came back from the manifest or the store. It is checked again by the backend. */
export function objectKeyOf(text: string): ObjectKey {
  return text as ObjectKey;
}

/** The path that a key of the literal or percent-encoded form belongs to; null for any other. */
export function pathOfKey(key: string): DepotPath | null {
  const first = key.replace(VERSION_SUFFIX, "");
  if (first.startsWith(LONG_PREFIX)) return null;
  if (!first.startsWith(BYTES_PREFIX)) {
    const path = depotPathOrNull(bytePathOf(first));
    return path !== null && isSafeKey(path) ? path : null;
  }
  const encoded = first.slice(BYTES_PREFIX.length);
  if (!/^(?:[A-Za-z0-9_,./-]|%[0-9A-F]{2})*$/.test(encoded)) return null;
  const path = depotPathOrNull(
    encoded.replace(/%(..)/g, (_, hex) => String.fromCharCode(parseInt(hex, 16))),
  );
  return path !== null && percentEncoded(path) === encoded ? path : null;
}

/**
 * Whether `path`, taken as a text, is the key of its own first version, and so of no other path.
 * Cheap, and false for some of which it is true. A byte of a path is not a character of a key.
 */
export function isPlainPath(path: DepotPath): boolean {
  return /^[ -[\]-~]+$/.test(path) && !path.includes(".p4c") && !/\.(?:\/|$)/.test(path);
}

/**
 * Literal keys: valid UTF-8 without control characters (they break listings in XML), no
 * trailing dot in a segment (Azure drops it), no backslash (Azure reads it as a slash),
 * and nothing that looks like a key of another form.
 */
function isSafeKey(path: DepotPath): boolean {
  // deno-lint-ignore no-control-regex
  if (/[\x00-\x1f\x7f\\]/.test(path)) return false;
  if (/\.(?:\/|$)/.test(path)) return false;
  if (path.startsWith(".p4cache") || VERSION_SUFFIX.test(path)) return false;
  const text = decodeUtf8(path);
  // XML 1.0 has no place for these two; C1 controls get lost in some listings.
  return text !== null && !/[\u0080-\u009f\ufffe\uffff]/.test(text);
}

/** Bytes as ASCII: what a key or a piece of metadata can hold of any path. */
export function percentEncoded(path: string): string {
  return path.replace(
    /[^A-Za-z0-9_,./-]|\.(?=\/|$)/g,
    (c) => `%${hexByte(c.charCodeAt(0)).toUpperCase()}`,
  );
}

function hexByte(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}

function utf8Length(text: string): number {
  return new TextEncoder().encode(text).length;
}

function decodeUtf8(path: string): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
      bytesOf(path),
    );
  } catch {
    return null;
  }
}
