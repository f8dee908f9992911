/**
 * What the verifier needs of the disk, the manifest and the store: small interfaces, so that
 * it runs without a daemon, and is tested without a disk. All of them only read.
 *
 * @module
 */

import type { BytePath, DepotPath } from "../core/names.ts";

/** What stands at a name on the local disk. */
export interface LocalEntry {
  /** evicted: a marker. other: a symlink, device, pipe. */
  readonly kind: "file" | "evicted" | "directory" | "other";
  /** Of a file. */
  readonly sizeBytes: number;
  readonly mtimeMs: number;
}

/** An open file. */
export interface ReadableFile {
  readonly sizeBytes: number;
  /** Fills `buffer` from `offset`; fewer bytes only at the end of the file. */
  read(buffer: Uint8Array<ArrayBuffer>, offset: number): Promise<number>;
  /** The same at once, for structures too large to hold. */
  readSync(buffer: Uint8Array<ArrayBuffer>, offset: number): number;
  close(): void;
}

export interface DirectoryEntry {
  /** One character per byte. */
  readonly name: string;
  readonly isDirectory: boolean;
}

/** A file cannot be looked at or read. */
export class LocalFileError extends Error {
  override readonly name = "LocalFileError";
  /** denied: permissions. io: the disk failed. gone: it vanished or was evicted meanwhile. */
  readonly fault: "denied" | "io" | "gone" | "other";

  constructor(fault: LocalFileError["fault"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.fault = fault;
  }
}

/** The depot tree. Paths are below its root, or absolute. @throws {LocalFileError} */
export interface LocalFiles {
  /** Null if there is nothing. */
  lstat(path: BytePath): LocalEntry | null;
  /** A regular file, never through a symlink at its name. */
  open(path: BytePath): Promise<ReadableFile>;
  /** Null if there is no such directory. "" is the root. */
  readDirectory(path: BytePath): DirectoryEntry[] | null;
  /** Every name below the root that is no directory; `skip` and all below are left out. */
  walk(skip: readonly BytePath[]): AsyncIterable<BytePath>;
}

/** What the verifier asks of a manifest row. */
export interface ManifestRow {
  /** clean: the store has exactly the bytes of `stored`. */
  readonly isClean: boolean;
  readonly isResident: boolean;
  readonly sizeBytes: number;
  readonly createdAtMs: number;
  readonly stored: {
    readonly key: string;
    /** Lower-case hex BLAKE3-256; null in old rows. */
    readonly hash: string | null;
    readonly sizeBytes: number;
  } | null;
  /** The object is not in the primary store under our own prefix: lists do not show it. */
  readonly isElsewhere: boolean;
}

/** The manifest, read only. @throws {StoreReadError} `failed` where a row is damaged. */
export interface ManifestView {
  get(path: DepotPath): ManifestRow | null;
  /** All rows in byte order of their paths. */
  entries(): Iterable<readonly [DepotPath, ManifestRow]>;
  /** Paths whose rows have the object as their stored version. */
  pathsOf(key: string): readonly DepotPath[];
  /** Whether a deleted or replaced version, of whatever path, is in it and not removed yet. */
  isInGrace(key: string): boolean;
}

export interface StoredObject {
  readonly key: string;
  readonly sizeBytes: number;
  /** Null where the store does not say. */
  readonly storedAtMs: number | null;
  /** BLAKE3-256 as it was stored with the object; null where unknown. */
  readonly hash: string | null;
  /** The depot path in the object's metadata; null where unknown. */
  readonly path: DepotPath | null;
}

/** Where a fetched object goes. Ranges may arrive in any order, and again. */
export interface FetchTarget {
  write(bytes: Uint8Array, offset: number): Promise<void>;
  read(buffer: Uint8Array, offset: number): Promise<number>;
}

/** An object could not be fetched, or the store or the manifest could not be asked. */
export class StoreReadError extends Error {
  override readonly name = "StoreReadError";
  /**
   * absent, damaged: the object itself. archived: it must be retrieved first. failed: there
   * is no answer, which says nothing of the object.
   */
  readonly fault: "absent" | "damaged" | "archived" | "failed";

  constructor(fault: StoreReadError["fault"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.fault = fault;
  }
}

/** The store, read only. @throws {StoreReadError} */
export interface ArchiveStore {
  head(key: string): Promise<StoredObject | null>;
  list(): AsyncIterable<StoredObject>;
  /** The whole object into `target`; resolves with the BLAKE3-256 of what was written. */
  fetch(
    key: string,
    sizeBytes: number,
    target: FetchTarget,
    signal: AbortSignal,
  ): Promise<string>;
}
