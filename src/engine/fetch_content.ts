/**
 * Gets the bytes of a stored version, from wherever they still are, and checks them.
 *
 * The row's own object comes first. Where it is gone or damaged, other objects that show the
 * same hash are asked (older versions of the path, the store's own version of the key), then
 * the secondary. What comes from anywhere but the row's object must be uploaded again before
 * the local copy may go: the caller is told.
 *
 * @module
 */

import { assert } from "../core/assert.ts";
import { type DepotPath, type ObjectKey, versionKeyFor } from "../core/names.ts";
import type { FileEntry, StoredVersion } from "../manifest/manifest.ts";
import type { Posix } from "../posix/posix.ts";
import type { DownloadTarget, StorageBackend } from "../storage/backend.ts";
import { StorageError, type StorageFault } from "../storage/storage_error.ts";
import { storeOfBorrowed } from "./borrowed.ts";
import { type EngineContext, firstKey, shown } from "./engine_context.ts";
import type { OnWritten } from "./space.ts";

/** Told of the bytes so far, for WAIT lines. */
export type OnProgress = (doneBytes: number, totalBytes: number) => void;

/** row: the object that the row names. elsewhere: another one in the primary. */
export type ContentSource = "row" | "elsewhere" | "secondary";

export interface Fetched {
  /** BLAKE3-256 of the bytes as they were written. */
  readonly hash: string;
  readonly source: ContentSource;
}

export interface Wanted {
  readonly path: DepotPath;
  readonly entry: FileEntry;
  readonly stored: StoredVersion;
}

/** One object that may have the bytes. */
interface Place {
  readonly source: ContentSource;
  readonly store: StorageBackend;
  readonly key: ObjectKey;
  readonly versionId: string | null;
}

/** Where the bytes go. */
export interface Content extends DownloadTarget {
  /** What came goes before it is asked for again, or of another place. */
  empty(): void;
}

export class ContentOfFile implements Content {
  readonly #posix: Posix;
  readonly #fd: number;
  readonly #onWritten: OnWritten;
  #writtenBytes = 0;

  constructor(posix: Posix, fd: number, onWritten: OnWritten) {
    this.#posix = posix;
    this.#fd = fd;
    this.#onWritten = onWritten;
  }

  async write(bytes: Uint8Array, offset: number): Promise<void> {
    await this.#posix.write(this.#fd, bytes as Uint8Array<ArrayBuffer>, offset);
    this.#writtenBytes += bytes.length;
    this.#onWritten(this.#writtenBytes);
  }

  read(buffer: Uint8Array, offset: number): Promise<number> {
    return this.#posix.read(this.#fd, buffer as Uint8Array<ArrayBuffer>, offset);
  }

  empty(): void {
    this.#posix.truncate(this.#fd, 0);
    this.#writtenBytes = 0;
    this.#onWritten(0);
  }
}

export class ContentInMemory implements Content {
  /** What was there before is not cleared: the hash is of what was written. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  #isWhole = false;

  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.bytes = bytes;
  }

  /** From now on nobody writes to it, also not who comes too late. */
  close(): void {
    this.#isWhole = true;
  }

  write(bytes: Uint8Array, offset: number): Promise<void> {
    assert(!this.#isWhole, "a store wrote after it had told the hash");
    assert(
      offset + bytes.length <= this.bytes.length,
      "a store gave more than is wanted",
    );
    this.bytes.set(bytes, offset);
    return Promise.resolve();
  }

  read(buffer: Uint8Array, offset: number): Promise<number> {
    const bytes = this.bytes.subarray(offset, offset + buffer.length);
    buffer.set(bytes);
    return Promise.resolve(bytes.length);
  }

  empty(): void {}
}

/** Writes the content. @throws {StorageError} That of the row's own object. */
export async function fetchContent(
  context: EngineContext,
  wanted: Wanted,
  content: Content,
  onProgress: OnProgress,
): Promise<Fetched> {
  let first: StorageError | null = null;
  for await (const place of placesOf(context, wanted)) {
    try {
      if (first !== null) content.empty();
      const hash = await fetchFrom(context, place, { wanted, content, onProgress });
      countSecondary(context, place, "success");
      return { hash, source: place.source };
    } catch (error) {
      countSecondary(context, place, "failure");
      if (!mayBeElsewhere(error, place)) throw error;
      first ??= error;
      const { source, key } = place;
      context.log.warn(`a store cannot serve a file: ${error.message}`, {
        ...shown(wanted.path),
        key,
        source,
      });
    }
  }
  throw first!;
}

const SAYS_NOTHING_OF_OTHERS: readonly StorageFault[] = ["not-found", "corrupt"];

/**
 * After a move to another store rows still have the version ids of the one before. A vendor
 * refuses those of another in words of its own (S3: InvalidArgument), and who may read an
 * object may not be allowed to read its versions: neither says that nobody has the bytes.
 */
const SAYS_NOTHING_BEYOND_ITS_VERSION: readonly StorageFault[] = [
  ...SAYS_NOTHING_OF_OTHERS,
  "invalid",
  "denied",
  "archived",
];

function mayBeElsewhere(error: unknown, { versionId }: Place): error is StorageError {
  if (!(error instanceof StorageError)) return false;
  const faults = versionId === null
    ? SAYS_NOTHING_OF_OTHERS
    : SAYS_NOTHING_BEYOND_ITS_VERSION;
  return faults.includes(error.fault);
}

/** In the order in which they are asked; a later one only once all before have failed. */
async function* placesOf(
  context: EngineContext,
  { path, entry, stored }: Wanted,
): AsyncGenerator<Place> {
  const { primary, secondary } = context;
  const { key, versionId } = stored;
  const place = { source: "row", store: primary, key, versionId: null } as const;
  if (entry.flags.borrowed) {
    const store = await storeOfBorrowed(context, stored);
    return yield { ...place, store: store ?? primary };
  }
  yield place;
  if (stored.hash !== null) {
    if (versionId !== null && primary.capabilities().versions) {
      yield { ...place, source: "elsewhere", versionId };
    }
    for (const other of otherKeys(context, path, stored)) {
      const info = await primary.head(other, context.signal);
      const isSame = info !== null && info.sizeBytes === stored.sizeBytes &&
        info.metadata?.hash === stored.hash;
      if (isSame) yield { ...place, source: "elsewhere", key: other };
    }
  }
  if (secondary !== null) yield { ...place, source: "secondary", store: secondary };
}

/** Keys under which the same bytes may stand: each version of the path with this hash. */
function otherKeys(
  { manifest }: EngineContext,
  path: DepotPath,
  { key, hash }: StoredVersion,
): Set<ObjectKey> {
  const first = firstKey(path);
  const keys = new Set([first, versionKeyFor(first, hash!)]);
  for (const { stored, removed } of manifest.tombstonesOf(path)) {
    if (stored.hash === hash && !removed) keys.add(stored.key);
  }
  keys.delete(key);
  return keys;
}

interface Fetch {
  readonly wanted: Wanted;
  readonly content: Content;
  readonly onProgress: OnProgress;
}

async function fetchFrom(
  context: EngineContext,
  { store, key, versionId }: Place,
  { wanted: { path, stored }, content, onProgress }: Fetch,
): Promise<string> {
  const { signal, settings, log } = context;
  const corrupt = (detail: string): StorageError =>
    new StorageError("corrupt", { operation: "download", key, detail });
  if (stored.hash === null && settings().enforceContentHash) {
    throw corrupt("the manifest has no hash of it, and enforce_content_hash is on");
  }
  for (let isSecond = false;; isSecond = true) {
    const { hash } = await store.download({
      key,
      versionId,
      sizeBytes: stored.sizeBytes,
      target: content,
      withoutMetadata: true,
      onProgress,
      signal,
    });
    if (stored.hash === null || hash === stored.hash) return hash;
    const error = corrupt(`its bytes hash to ${hash}, the manifest has ${stored.hash}`);
    if (isSecond) throw error;
    // Far more often than the object the transfer is damaged.
    log.warn(`reading an object once more: ${error.message}`, { ...shown(path), key });
    content.empty();
  }
}

function countSecondary(
  { metrics }: EngineContext,
  { source }: Place,
  result: "success" | "failure",
): void {
  if (source === "secondary") {
    metrics.count("p4cache_secondary_restores_total", { result });
  } else if (source === "elsewhere") {
    metrics.count("p4cache_other_copy_restores_total", { result });
  }
}
