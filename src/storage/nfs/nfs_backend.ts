/**
 * A store that is a directory: an NFS export, or any file system with hard links.
 *
 * An object is written to `.p4cache-tmp/`, flushed, and gets its name by link(2), which
 * fails if the name is taken: no reader sees half an object and no writer replaces one.
 * Names are nfs_keys.ts's, metadata nfs_metadata.ts's, listings nfs_listing.ts's, calls
 * nfs_directory.ts's.
 *
 * @module
 */

import { type Clock, SYSTEM_CLOCK } from "../../core/clock.ts";
import { HeavyTurns } from "../../core/heavy_turns.ts";
import type { ObjectKey } from "../../core/names.ts";
import { SpareMemory } from "../../core/spare_memory.ts";
import { readableAtOnce } from "../archive.ts";
import type {
  DeleteRequest,
  DownloadRequest,
  DownloadResult,
  ObjectInfo,
  RetrieveRequest,
  RetrieveState,
  StorageBackend,
  StorageCapabilities,
  UploadRequest,
} from "../backend.ts";
import { createContentHasher } from "../hashing.ts";
import { openSourceReader, TRANSFER_CHUNK_BYTES } from "../source_reader.ts";
import type { StorageOperation } from "../storage_error.ts";
import { MountCalls } from "./mount_calls.ts";
import { type FileReader, joined, NfsDirectory, parentOf } from "./nfs_directory.ts";
import { fault, isAbsence, nfsError } from "./nfs_errors.ts";
import { keyProblem, storedDirectoryOf, storedPathOf } from "./nfs_keys.ts";
import { listObjects } from "./nfs_listing.ts";
import { infoOf, readInfo, removeSidecar, writeSidecar } from "./nfs_metadata.ts";
import { readWhole } from "./nfs_read.ts";

export interface NfsBackendOptions {
  /** Absolute directory: the mounted export, or a directory in it. It is never created. */
  readonly root: string;
  /** Directories below the root, separated by slashes; "" for none. Created when needed. */
  readonly prefix: string;
  /**
   * Start a store in a root that is empty and no mount point. Default false, because that
   * is what an export looks like that somebody forgot to mount.
   */
  readonly initialize?: boolean;
  readonly clock?: Clock;
  readonly posix: FileReader;
  /** Longest wait for one call to the file system, in milliseconds. Default 60 s. */
  readonly stallMs?: number;
  /** Calls in the kernel at a time. Default {@linkcode CALLS_MAX}. */
  readonly callsMax?: number;
  /** A new unique name. Default: random UUIDs. */
  readonly newId?: () => string;
}

/**
 * Deno has 32 threads for blocking calls, and local files, the manifest and look-ups of
 * names use them too. Two stores that hang leave 8 of them.
 */
const CALLS_MAX = 12;

const CAPABILITIES: StorageCapabilities = {
  metadata: true,
  rangeReads: false,
  conditionalWrites: true,
  conditionalReads: true,
  storageClasses: false,
  customEndpoint: false,
  customCa: false,
  versions: false,
  objectBytesMax: Number.MAX_SAFE_INTEGER,
};

/** To hash these takes the time of a hundred small answers. */
const HEAVY_BYTES = 131_072;

/** @throws {Error} With what to do, if the root cannot be a store. */
export async function openNfsBackend(
  options: NfsBackendOptions,
): Promise<StorageBackend> {
  const { prefix } = options;
  const root = options.root.replace(/\/+$/, "") || "/";
  if (!root.startsWith("/") || root.includes("\0")) {
    throw new Error(
      `Cannot use "${options.root}" as a store: an absolute path is wanted`,
    );
  }
  const problem = prefix === "" ? null : keyProblem(prefix);
  if (problem !== null) {
    throw new Error(`Cannot use "${prefix}" as a prefix of the store: ${problem}`);
  }
  const clock = options.clock ?? SYSTEM_CLOCK;
  const calls = new MountCalls({
    callsMax: options.callsMax ?? CALLS_MAX,
    stallMs: options.stallMs ?? 60_000,
    clock,
  });
  const directory = await NfsDirectory.open({
    root,
    prefix,
    initialize: options.initialize ?? false,
    calls,
    posix: options.posix,
    newId: options.newId ?? ((): string => crypto.randomUUID()),
    nowMs: () => clock.nowMs(),
  });
  return new NfsBackend(directory, clock);
}

class NfsBackend implements StorageBackend {
  readonly name = "nfs";
  readonly #directory: NfsDirectory;
  readonly #clock: Clock;
  readonly #heavy = new HeavyTurns();
  readonly #memory = new SpareMemory({
    bytesEach: TRANSFER_CHUNK_BYTES,
    countMax: CALLS_MAX,
  });

  constructor(directory: NfsDirectory, clock: Clock) {
    this.#directory = directory;
    this.#clock = clock;
  }

  capabilities(): StorageCapabilities {
    return CAPABILITIES;
  }

  upload(request: UploadRequest): Promise<ObjectInfo> {
    return translated("upload", request.key, () => this.#upload(request));
  }

  download(request: DownloadRequest): Promise<DownloadResult> {
    return translated("download", request.key, () => this.#download(request));
  }

  head(key: ObjectKey, signal?: AbortSignal): Promise<ObjectInfo | null> {
    return translated("head", key, () => this.#describe("head", key, signal));
  }

  retrieve(request: RetrieveRequest): Promise<RetrieveState> {
    return readableAtOnce(this, request);
  }

  delete(request: DeleteRequest): Promise<void> {
    return translated("delete", request.key, () => this.#delete(request));
  }

  async *list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo> {
    const start = storedDirectoryOf(prefix);
    const problem = start === "" ? null : keyProblem(start);
    if (problem !== null) throw fault("invalid", "list", prefix, problem);
    try {
      await this.#directory.checkMounted("list", prefix, signal);
      yield* listObjects(this.#directory, start, { prefix, signal });
      // A mount that went away in between would have looked like an end.
      await this.#directory.checkMounted("list", prefix, signal);
    } catch (error) {
      throw nfsError("list", prefix, error);
    }
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  async #upload(request: UploadRequest): Promise<ObjectInfo> {
    const { key, signal } = request;
    const directory = this.#directory;
    const path = this.#pathOf("upload", key);
    await directory.checkMounted("upload", key, signal);
    await directory.prepare(signal);
    const temporary = directory.temporaryPath();
    try {
      const { stat, hash } = await this.#writeTemporary(temporary, request);
      await directory.makeDirectories(parentOf(path), signal);
      if (request.ifAbsent === false) {
        await removeSidecar(this.#directory, key, signal);
        await directory.renameOver(temporary, path, signal);
      } else if (!(await directory.linkNew(temporary, path, signal))) {
        await this.#adoptTwin(request, hash);
        throw fault("precondition", "upload", key, "it exists, and it must not");
      }
      const metadata = { ...request.metadata, hash };
      await writeSidecar(directory, { key, stat }, metadata, signal);
      return infoOf({ key, stat }, metadata);
    } catch (error) {
      if (isAbsence(error)) directory.forgetDirectories();
      throw error;
    } finally {
      // Not under the signal: an abort must not leave the file behind.
      await directory.remove(temporary).catch(() => {});
    }
  }

  async #writeTemporary(
    temporary: string,
    request: UploadRequest,
  ): Promise<{ stat: Deno.FileInfo; hash: string }> {
    const { key, source, signal } = request;
    const reader = openSourceReader(request);
    const file = await this.#directory.create(temporary, signal);
    let isFlushed = false;
    try {
      const buffer = new Uint8Array(Math.min(TRANSFER_CHUNK_BYTES, source.sizeBytes));
      for (let left = source.sizeBytes; left > 0;) {
        const count = await reader.fill(buffer);
        await this.#directory.writeAll(file, buffer.subarray(0, count), signal);
        left -= count;
      }
      const hash = reader.finish();
      const stat = await this.#directory.settle(file, key, signal);
      isFlushed = true;
      if (stat.size !== source.sizeBytes) {
        const detail = `${stat.size} bytes arrived, ${source.sizeBytes} were sent`;
        throw fault("corrupt", "upload", key, detail);
      }
      return { stat, hash };
    } finally {
      await this.#directory.closeWritten(file, isFlushed);
    }
  }

  /**
   * The object exists already. If a crash kept its sidecar from being written, and it has
   * the very bytes that are being uploaded, writes the sidecar now: the caller, who is told
   * that the object exists, then learns from `head()` that it is the same.
   */
  async #adoptTwin(request: UploadRequest, hash: string): Promise<void> {
    const { key, signal } = request;
    const info = await this.#describe("upload", key, signal);
    if (info === null || info.metadata !== null) return;
    if (info.sizeBytes !== request.source.sizeBytes) return;
    const path = this.#pathOf("upload", key);
    const reading = { operation: "upload" as const, key, path, clock: this.#clock };
    const stored = await readWhole(this.#directory, {
      ...reading,
      request: null,
      signal,
    });
    if (stored.hash !== hash) return;
    const metadata = { ...request.metadata, hash };
    const twin = { key, stat: stored.stat };
    await writeSidecar(this.#directory, twin, metadata, signal);
  }

  async #download(request: DownloadRequest): Promise<DownloadResult> {
    const { key, signal } = request;
    if ((request.versionId ?? null) !== null) {
      throw fault("invalid", "download", key, "a directory keeps no versions");
    }
    const small = await this.#downloadSmall(request);
    if (small !== null) return small;
    const looked = await this.#look("download", key, signal);
    if (looked === null) {
      throw fault("not-found", "download", key, "there is no such object");
    }
    const path = this.#pathOf("download", key);
    const reading = { operation: "download" as const, key, path, clock: this.#clock };
    // Each call is a way to the server and back, and most objects are small.
    const describing = readInfo(this.#directory, { key, stat: looked }, signal);
    describing.catch(() => {});
    if ((request.ifMatch ?? null) !== null) {
      const { etag } = await describing;
      if (request.ifMatch !== etag) {
        throw fault("precondition", "download", key, `it is ${etag}`);
      }
    }
    const { hash, stat } = await readWhole(this.#directory, {
      ...reading,
      request,
      signal,
    });
    const info = await describing;
    if (stat.size !== info.sizeBytes) {
      throw fault("corrupt", "download", key, "it changed while it was read");
    }
    return { info, hash };
  }

  /** In one call; null for what must be looked at first, and for what is no object. */
  async #downloadSmall(request: DownloadRequest): Promise<DownloadResult | null> {
    const { key, signal, sizeBytes, target } = request;
    if (sizeBytes === null || sizeBytes > TRANSFER_CHUNK_BYTES) return null;
    if (request.withoutMetadata !== true || (request.ifMatch ?? null) !== null) {
      return null;
    }
    const path = this.#pathOf("download", key);
    const memory = this.#memory.take(sizeBytes);
    // After a failure the kernel may still write to it: it is not used again.
    const read = await this.#directory.readFile(path, memory, signal);
    if (read === null) return null;
    const { bytes, stat } = read;
    if (stat.size !== sizeBytes || bytes.length !== sizeBytes) {
      const detail = `it has ${stat.size} bytes, and gave ${bytes.length}; ` +
        `${sizeBytes} are wanted`;
      throw fault("corrupt", "download", key, detail);
    }
    const hash = await this.#hashOf(bytes);
    await target.write(bytes, 0);
    this.#memory.give(memory);
    signal?.throwIfAborted();
    request.onProgress?.(sizeBytes, sizeBytes);
    return { info: infoOf({ key, stat }, null), hash };
  }

  #hashOf(bytes: Uint8Array): Promise<string> | string {
    const hash = (): string => {
      const hasher = createContentHasher();
      hasher.update(bytes);
      return hasher.digestHex();
    };
    return bytes.length < HEAVY_BYTES ? hash() : this.#heavy.run(hash);
  }

  async #delete(request: DeleteRequest): Promise<void> {
    const { key, signal } = request;
    if ((request.versionId ?? null) !== null) {
      throw fault("invalid", "delete", key, "a directory keeps no versions");
    }
    const info = await this.#describe("delete", key, signal);
    if (info === null) return;
    if ((request.ifMatch ?? info.etag) !== info.etag) {
      throw fault("precondition", "delete", key, `it is ${info.etag}`);
    }
    const path = this.#pathOf("delete", key);
    await removeSidecar(this.#directory, key, signal);
    if (await this.#directory.remove(path, signal)) {
      await this.#directory.syncDirectory(parentOf(path), signal);
    }
  }

  async #describe(
    operation: StorageOperation,
    key: ObjectKey,
    signal: AbortSignal | undefined,
  ): Promise<ObjectInfo | null> {
    const stat = await this.#look(operation, key, signal);
    return stat === null ? null : await readInfo(this.#directory, { key, stat }, signal);
  }

  /** Null if there is no such object. */
  async #look(
    operation: StorageOperation,
    key: ObjectKey,
    signal: AbortSignal | undefined,
  ): Promise<Deno.FileInfo | null> {
    const stat = await this.#directory.lstat(this.#pathOf(operation, key), signal);
    if (stat === null || stat.isDirectory) {
      await this.#directory.checkMounted(operation, key, signal);
      return null;
    }
    if (!stat.isFile) {
      throw fault("invalid", operation, key, "it is not a regular file");
    }
    return stat;
  }

  #pathOf(operation: StorageOperation, key: ObjectKey): string {
    const problem = keyProblem(key);
    if (problem !== null) throw fault("invalid", operation, key, problem);
    return joined(this.#directory.path, storedPathOf(key));
  }
}

async function translated<T>(
  operation: StorageOperation,
  key: string,
  body: () => Promise<T>,
): Promise<T> {
  try {
    return await body();
  } catch (error) {
    throw nfsError(operation, key, error);
  }
}
