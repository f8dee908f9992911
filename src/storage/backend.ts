/**
 * The storage interface: everything the engine may ask of a remote store.
 *
 * A backend is one bucket, container or export, plus a key prefix. It moves bytes and
 * reports facts; it decides nothing. Retry, limits and metrics are wrappers that
 * implement this same interface, so a vendor folder stays a translation of one API.
 *
 * The contract below is checked for every backend, and through every wrapper, by
 * tests/conformance/backend_suite.ts:
 *
 * - `upload()` is all or nothing: a reader sees no object, or all of it, at every moment,
 *   and it resolves only once the store acknowledged the bytes as durable. With
 *   `ifAbsent` (the default of everything the engine sends) an object that exists is
 *   left alone and the call fails with `precondition`.
 * - `download()` writes into a file that the caller opened and owns; after a failure the
 *   file's content is undefined and the caller throws it away. It never ends early
 *   without an error, and what it reports as `hash` is the BLAKE3-256 of the bytes that
 *   it wrote, computed while they passed, not a value that the store claims.
 * - Absence is an answer (null) of `head()` and an error of `download()`, whose caller
 *   believes that the object exists. `delete()` of an absent object succeeds.
 * - `list()` yields each object once, in any order, in bounded memory.
 * - `upload()` hashes what it reads. A source that is shorter than it said, or hashes to
 *   another value than `metadata.hash`, is `corrupt`, and no object appears.
 * - `retrieve()` may be asked again at any time: it begins at most one retrieval, and leaves
 *   an object alone that can be read.
 * - Every failure is a StorageError, but for an abort, which throws the signal's reason
 *   and leaves nothing behind but an unfinished upload that the store never shows, and
 *   for what the caller's own source or target throws, which comes back as it is.
 *
 * @module
 */

import type { ObjectKey } from "../core/names.ts";

/** Facts about a store that change what the engine may ask of it. */
export interface StorageCapabilities {
  /** User metadata survives with the object. */
  readonly metadata: boolean;
  readonly rangeReads: boolean;
  /** `ifAbsent` and `ifMatch` are enforced by the store itself. */
  readonly conditionalWrites: boolean;
  readonly conditionalReads: boolean;
  readonly storageClasses: boolean;
  readonly customEndpoint: boolean;
  readonly customCa: boolean;
  /** The store keeps older versions and names them (`versionId`). */
  readonly versions: boolean;
  /** Largest object in bytes. */
  readonly objectBytesMax: number;
}

/**
 * What we store beside the bytes. Values are ASCII; `path` is percent-encoded bytes.
 * Together under 2 KB but for `path` (backends with a limit drop the path, never the hash).
 */
export interface ObjectMetadata {
  /** Lower-case hex BLAKE3-256 of the content. */
  readonly hash: string | null;
  readonly mtimeNs: bigint | null;
  /** Permission bits, 0 to 0o7777. */
  readonly mode: number | null;
  readonly uid: number | null;
  readonly gid: number | null;
  /** Percent-encoded depot path, for a rebuild without a manifest. */
  readonly path: string | null;
  /**
   * Of the row when the upload began: of the versions of one path, the one with the
   * greatest is current. Absent where nobody said.
   */
  readonly generation?: number;
}

/**
 * How an object of an archive class stands. archived: it cannot be read, and nobody has
 * asked for it. retrieving: asked for, which takes minutes to days. retrieved: it can be
 * read, for as long as was asked.
 */
export type ArchiveState = "archived" | "retrieving" | "retrieved";

/** What the store says about one object. */
export interface ObjectInfo {
  readonly key: ObjectKey;
  readonly sizeBytes: number;
  /** The store's own name for exactly these bytes; opaque. */
  readonly etag: string | null;
  /** When the store took it, in milliseconds since the epoch. */
  readonly storedAtMs: number | null;
  readonly versionId: string | null;
  readonly storageClass: string | null;
  /** Null from `list()`, which most stores answer without metadata. */
  readonly metadata: ObjectMetadata | null;
  /** The store's own clock at the answer (its Date header), in milliseconds, where it has one. */
  readonly storeNowMs: number | null;
  /** From `head()` only, and only of an object that an archive class holds. */
  readonly archive?: ArchiveState;
}

/** Bytes to upload: a local file that the caller keeps open and unchanged. */
export interface UploadSource {
  readonly sizeBytes: number;
  /**
   * Reads up to `buffer.length` bytes at `offset`, and returns how many; 0 only at the
   * end. Called again from any offset by a retry.
   */
  read(buffer: Uint8Array, offset: number): Promise<number>;
}

/** Where a download goes: a file that the caller opened. */
export interface DownloadTarget {
  /**
   * Writes all of `bytes` at `offset`. Ranges may arrive out of order. The backend uses the
   * memory of `bytes` again once the promise resolved.
   */
  write(bytes: Uint8Array, offset: number): Promise<void>;
  /** Reads back what was written, for the hash of a download in parallel ranges. */
  read(buffer: Uint8Array, offset: number): Promise<number>;
}

export interface UploadRequest {
  readonly key: ObjectKey;
  readonly source: UploadSource;
  readonly metadata: ObjectMetadata;
  /** Fail with `precondition` if the key exists. Default true. */
  readonly ifAbsent?: boolean;
  readonly storageClass?: string | null;
  /**
   * Waited for before bytes that were read from the source already are sent once more: a part
   * that failed. Whoever limits the reading limits that here.
   */
  readonly onResend?: OnResend;
  readonly signal?: AbortSignal;
}

export type OnResend = (sizeBytes: number, signal?: AbortSignal) => Promise<void>;

export interface DownloadRequest {
  readonly key: ObjectKey;
  readonly target: DownloadTarget;
  /** The size that the caller expects; another size is `corrupt`. Null: whatever it is. */
  readonly sizeBytes: number | null;
  /** Fail with `precondition` unless the object is this one. */
  readonly ifMatch?: string | null;
  readonly versionId?: string | null;
  /** Bytes come in their order, and the target is never read: for one that keeps nothing. */
  readonly inOrder?: boolean;
  /** Neither metadata nor ETag are needed: a store that keeps them apart need not read them. */
  readonly withoutMetadata?: boolean;
  /** Called with the bytes written so far, at most once a second or so. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
  readonly signal?: AbortSignal;
}

export interface DownloadResult {
  readonly info: ObjectInfo;
  /** Lower-case hex BLAKE3-256 of the bytes as written. */
  readonly hash: string;
}

export interface DeleteRequest {
  readonly key: ObjectKey;
  readonly ifMatch?: string | null;
  readonly versionId?: string | null;
  /**
   * Told of each try that was given up without an answer, as soon as it is: the store may still carry
   * it out, at any time, also where the next try is answered. By who retries; a backend does not.
   */
  readonly onUnanswered?: () => void;
  readonly signal?: AbortSignal;
}

/** How soon, and at what price; each vendor's folder says what it makes of it. */
export type RetrieveSpeed = "bulk" | "standard" | "expedited";

export interface RetrieveRequest {
  readonly key: ObjectKey;
  readonly speed: RetrieveSpeed;
  /** How long the object shall be readable, where the store takes it back by itself. */
  readonly days: number;
  readonly signal?: AbortSignal;
}

/** readable: nothing has to be waited for. retrieving: `head()` tells when it is there. */
export type RetrieveState = "readable" | "retrieving";

/** A remote store of immutable objects. */
export interface StorageBackend {
  /** `s3`, `azure`, `gcs`, `nfs` or `mem`: for logs and metric labels. */
  readonly name: string;

  capabilities(): StorageCapabilities;

  /** @throws {StorageError} `precondition` if the key exists and `ifAbsent` is not false. */
  upload(request: UploadRequest): Promise<ObjectInfo>;

  /** @throws {StorageError} `not-found`, or `corrupt` if the length is not as expected. */
  download(request: DownloadRequest): Promise<DownloadResult>;

  /** Describes the object at `key`, or null if there is none. */
  head(key: ObjectKey, signal?: AbortSignal): Promise<ObjectInfo | null>;

  delete(request: DeleteRequest): Promise<void>;

  /** Asks that an archived object be made readable. @throws {StorageError} `not-found` */
  retrieve(request: RetrieveRequest): Promise<RetrieveState>;

  /** Every object whose key begins with `prefix` ("" for all). */
  list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo>;

  /** Ends connections and workers. Nothing may be called afterwards. */
  close(): Promise<void>;
}
