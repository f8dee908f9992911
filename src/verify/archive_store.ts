/**
 * The verifier's view of a storage backend and of the manifest.
 *
 * @module
 */

import { type DepotPath, depotPathOrNull, objectKeyOf } from "../core/names.ts";
import {
  type FileEntry,
  type Manifest,
  ManifestError,
  type PathAndEntry,
} from "../manifest/manifest.ts";
import type { ObjectInfo, StorageBackend } from "../storage/backend.ts";
import { StorageError, type StorageFault } from "../storage/storage_error.ts";
import {
  type ArchiveStore,
  type FetchTarget,
  type ManifestRow,
  type ManifestView,
  type StoredObject,
  StoreReadError,
} from "./sources.ts";

/** Keys of the daemon's own objects: instance id, copies of the manifest. */
const OWN_PREFIX = ".p4cache-meta/";

const FAULTS: Readonly<Record<StorageFault, StoreReadError["fault"]>> = {
  "not-found": "absent",
  "denied": "failed",
  "precondition": "failed",
  "corrupt": "damaged",
  "full": "failed",
  "throttled": "failed",
  "unavailable": "failed",
  "archived": "archived",
  "invalid": "failed",
};

/** Reads through `backend`, which brings its own retries. */
export function archiveStoreOf(backend: StorageBackend): ArchiveStore {
  return {
    async head(key: string): Promise<StoredObject | null> {
      const info = await translated(() => backend.head(objectKeyOf(key)));
      return info === null ? null : storedObjectOf(info);
    },
    async *list(): AsyncGenerator<StoredObject> {
      const objects = backend.list("")[Symbol.asyncIterator]();
      try {
        for (;;) {
          const next = await translated(() => objects.next());
          if (next.done) return;
          if (!next.value.key.startsWith(OWN_PREFIX)) yield storedObjectOf(next.value);
        }
      } finally {
        await objects.return?.();
      }
    },
    async fetch(
      key: string,
      sizeBytes: number,
      target: FetchTarget,
      signal: AbortSignal,
    ): Promise<string> {
      const { hash } = await translated(() =>
        backend.download({ key: objectKeyOf(key), target, sizeBytes, signal })
      );
      return hash;
    },
  };
}

async function translated<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    throw new StoreReadError(FAULTS[error.fault], error.message, { cause: error });
  }
}

function storedObjectOf(info: ObjectInfo): StoredObject {
  return {
    key: info.key,
    sizeBytes: info.sizeBytes,
    storedAtMs: info.storedAtMs,
    hash: info.metadata?.hash ?? null,
    path: pathOfMetadata(info.metadata?.path ?? null),
  };
}

/** Metadata holds the path as percent-encoded bytes. */
function pathOfMetadata(encoded: string | null): DepotPath | null {
  if (encoded === null) return null;
  return depotPathOrNull(
    encoded.replace(
      /%([0-9A-Fa-f]{2})/g,
      (_, hex: string) => String.fromCharCode(parseInt(hex, 16)),
    ),
  );
}

/** Rows fetched at once while all of them are walked. */
const ENTRIES_BATCH = 1_000;

export function manifestViewOf(manifest: Manifest): ManifestView {
  return {
    get(path: DepotPath): ManifestRow | null {
      const entry = orReadError(() => manifest.get(path));
      return entry === null ? null : manifestRowOf(entry);
    },
    *entries(): Generator<readonly [DepotPath, ManifestRow]> {
      for (let after: DepotPath | null = null;;) {
        const from: DepotPath | null = after;
        const batch: PathAndEntry[] = orReadError(() =>
          manifest.entries("", from, ENTRIES_BATCH)
        );
        for (const { path, entry } of batch) yield [path, manifestRowOf(entry)];
        if (batch.length < ENTRIES_BATCH) return;
        after = batch.at(-1)!.path;
      }
    },
    pathsOf: (key) =>
      orReadError(() => manifest.rowsNaming(objectKeyOf(key)).map(({ path }) => path)),
    isInGrace: (key) =>
      orReadError(() =>
        manifest.tombstonesNaming(objectKeyOf(key)).some(({ removed }) => !removed)
      ),
  };
}

/** A damaged row makes a run incomplete; it is no reason to end it. */
function orReadError<T>(ask: () => T): T {
  try {
    return ask();
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    throw new StoreReadError("failed", error.message, { cause: error });
  }
}

function manifestRowOf(entry: FileEntry): ManifestRow {
  return {
    isClean: entry.state === "clean",
    isResident: entry.resident,
    sizeBytes: entry.local.sizeBytes,
    createdAtMs: entry.createdAtS * 1000,
    stored: entry.stored === null ? null : {
      key: entry.stored.key,
      hash: entry.stored.hash,
      sizeBytes: entry.stored.sizeBytes,
    },
    isElsewhere: entry.flags.borrowed || entry.flags.secondaryOnly,
  };
}
