/**
 * Opens what commands work on beside the daemon: the configured stores and depot, and the
 * manifest for reading. Composition for the command line; nothing here changes anything.
 *
 * @module
 */

import { SYSTEM_CLOCK } from "../core/clock.ts";
import { loadConfig } from "../config/load_config.ts";
import {
  bytePathOf,
  type DepotPath,
  depotPathOrNull,
  displayPath,
  isManaged,
  type ManagePolicy,
} from "../core/names.ts";
import { decodeMarkerAtimeNs } from "../core/marker.ts";
import { isForbidden, mayHideMarkers } from "../core/unlisted.ts";
import { identityOf } from "../daemon/depot_place.ts";
import { readInstance } from "../daemon/instance.ts";
import { fetchStoreCopy, storeCopiesOf } from "../daemon/store_copies.ts";
import { EXIT, StartError } from "../daemon/start_error.ts";
import {
  openOneStore,
  openStores,
  type Stores,
  type StoreTools,
} from "../daemon/stores.ts";
import { openManifest } from "../manifest/lmdb_manifest.ts";
import type { Manifest } from "../manifest/manifest.ts";
import type { NativeReads } from "../manifest/page_file.ts";
import type {
  LocalThing,
  RebuildDepot,
  RebuildOwner,
} from "../manifest/rebuild_sides.ts";
import { NULL_LOGGER } from "../obs/logger.ts";
import { createMetrics } from "../obs/metrics.ts";
import { nativeFile } from "../posix/native_files.ts";
import { type FileStat, openPosix, type Posix, type Unreadable } from "../posix/posix.ts";
import type { Config } from "../config/key_table.ts";
import type { StorageBackend } from "../storage/backend.ts";
import { archiveStoreOf, manifestViewOf } from "../verify/archive_store.ts";
import { posixFiles } from "../verify/posix_files.ts";
import { BUILD } from "./build_info.ts";
import type { PrefetchTarget } from "./cmd_prefetch.ts";
import type { ConfiguredSources } from "./cmd_verify.ts";
import { requireDepot } from "./rebuild_device.ts";
import {
  type RebuildSides,
  type RebuildSidesOptions,
  type RebuildStoreSide,
  sayingWhichStore,
  withoutSecondaryHelp,
} from "./rebuild_stores.ts";
import { restorerAt } from "./restore_client.ts";

export function openLocalPosix(): Posix & NativeReads {
  return openPosix(nativeFile("libp4posix.so"));
}

/** For commands that only look, also beside a daemon. @throws {ManifestError} */
export function openManifestToRead(directory: string): Promise<Manifest> {
  return openManifest({ directory, readOnly: true, native: openLocalPosix() });
}

function storeTools(config: Config): StoreTools {
  return {
    config: () => config,
    clock: SYSTEM_CLOCK,
    posix: openLocalPosix(),
    log: NULL_LOGGER,
    metrics: createMetrics(),
    watermark: {},
    userAgent: `p4-cache/${BUILD.version}`,
  };
}

/** The stores of a configuration, with their retries, for a command. */
export function openConfiguredStores(config: Config): Promise<Stores> {
  return openStores(storeTools(config));
}

/** The primary alone. */
export async function openPrimary(config: Config): Promise<StorageBackend> {
  return (await openOneStore(storeTools(config), "primary"))!;
}

/** For `verify --config`. */
export async function openVerifySources(path: string): Promise<ConfiguredSources> {
  const config = loadConfig(path);
  const backend = await openPrimary(config);
  const directory = `${config.depotPath}/.p4cache/manifest`;
  const manifest = await openManifestToRead(directory).catch((error) => {
    if (error instanceof Error && "fault" in error && error.fault === "unavailable") {
      return null;
    }
    throw error;
  });
  return {
    depotRoot: bytePathOf(config.depotPath),
    manifest: manifest === null ? null : manifestViewOf(manifest),
    store: archiveStoreOf(backend),
    async close(): Promise<void> {
      await manifest?.close();
      await backend.close();
    },
  };
}

/** For `prefetch --config`. */
export function openPrefetchTarget(path: string): Promise<PrefetchTarget> {
  const { depotPath } = loadConfig(path);
  const depotRoot = bytePathOf(depotPath);
  return Promise.resolve({
    depotRoot,
    files: posixFiles(openLocalPosix(), depotRoot),
    restorer: restorerAt(`${depotPath}/.p4cache/shim.sock`, SYSTEM_CLOCK),
  });
}

/** For `import-manifest`: the depot in whose state directory a manifest is. */
export function depotAround(
  manifestDirectory: string,
): (path: DepotPath) => LocalThing | null {
  const root = /^(.+)\/\.p4cache\/[^/]+$/.exec(manifestDirectory)?.[1];
  if (root === undefined) return () => null;
  const posix = openLocalPosix();
  return (path) => thingOf(posix.lstat(`${bytePathOf(root)}/${path}`));
}

/** For `rebuild-manifest`. */
export async function openRebuildSides(
  path: string,
  { noSecondary, signal }: RebuildSidesOptions,
): Promise<RebuildSides> {
  const config = loadConfig(path);
  await requireDepot(config.depotPath);
  const posix = openLocalPosix();
  const root = bytePathOf(await Deno.realPath(config.depotPath));
  const rootStat = posix.lstat(root);
  await using opened = new AsyncDisposableStack();
  const sideOf = (store: StorageBackend): RebuildStoreSide => {
    opened.defer(() => store.close());
    return {
      store,
      instanceId: () => readInstance(store),
      storeCopies: () => storeCopiesOf(store, signal),
      fetchCopy: (name, target) => fetchStoreCopy({ store, posix, signal }, name, target),
    };
  };
  const primary = sideOf(await openPrimary(config));
  const secondary = noSecondary ? null : await openSecondary(config);
  const sides = {
    primary,
    secondary: secondary === null ? null : sayingWhichStore(sideOf(secondary)),
    depot: rebuildDepot(posix, root, config.manage),
    owner: ownerBeside(rootStat),
    manage: config.manage,
    place: {
      device: String(rootStat?.dev ?? 0n),
      identity: identityOf(`${config.depotPath}/.p4cache`),
    },
  };
  const closing = opened.move();
  return { ...sides, close: () => closing.disposeAsync() };
}

async function openSecondary(config: Config): Promise<StorageBackend | null> {
  try {
    return await openOneStore(storeTools(config), "secondary");
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    throw withoutSecondaryHelp(error.status, error);
  }
}

/** Who runs this is the daemon's user, or root in its place: then the depot says who that is. */
function ownerBeside(root: FileStat | null): RebuildOwner {
  const [uid, gid] = [Deno.uid() ?? 0, Deno.gid() ?? 0];
  return uid === 0 && root !== null ? { uid: root.uid, gid: root.gid } : { uid, gid };
}

export function rebuildDepot(
  posix: Posix,
  root: string,
  manage: ManagePolicy,
): RebuildDepot {
  return {
    look: (path) => Promise.resolve(thingOf(posix.lstat(`${root}/${path}`))),
    async *walk(signal): AsyncGenerator<{ path: DepotPath; thing: LocalThing }> {
      const walk = posix.openWalk(root, { skip: [".p4cache"] });
      const unlisted: Unreadable[] = [];
      try {
        for (;;) {
          signal?.throwIfAborted();
          const batch = await walk.nextBatch();
          if (batch.length === 0) return refuseUnlisted(unlisted);
          for (const found of batch) {
            if (found.kind === "unreadable") {
              if (mayHideMarkers(found)) unlisted.push(found);
              continue;
            }
            const path = depotPathOrNull(found.path);
            const thing = thingOf(found);
            if (path !== null && thing !== null && isManaged(path, manage)) {
              yield { path, thing };
            }
          }
        }
      } finally {
        await walk.close();
      }
    },
  };
}

/** So many directories that cannot be listed are named. */
const UNLISTED_SHOWN_MAX = 20;

/**
 * A marker that lies there may be of any row. Without it, that row would be taken for one of a file
 * that was replaced, and its object be removed once its grace is over.
 *
 * @throws {StartError}
 */
function refuseUnlisted(unlisted: readonly Unreadable[]): void {
  if (unlisted.length === 0) return;
  const shown = unlisted.slice(0, UNLISTED_SHOWN_MAX)
    .map(({ path, code }) => `${displayPath(path)} (${code})`);
  const more = unlisted.length - shown.length;
  throw new StartError(
    unlisted.every(isForbidden) ? EXIT.denied : EXIT.incomplete,
    `Cannot look at everything in the depot: ${shown.join(", ")}` +
      `${
        more > 0 ? ` and ${more} more` : ""
      }. The marker of any file may be there, so no ` +
      "file is known to be replaced. Let whoever runs this list them (chmod, chown), see to " +
      "the disk, or move them out of the depot if they are none of its, and run it again: " +
      "it goes on",
  );
}

function thingOf(stat: FileStat | null): LocalThing | null {
  if (stat === null) return null;
  const { mtimeNs, ctimeNs, mode, uid, gid, ino, dev } = stat;
  const facts = { mtimeNs, ctimeNs, mode, uid, gid, ino, dev };
  if (stat.kind === "file") {
    return { kind: "file", stat: { ...facts, sizeBytes: stat.sizeBytes } };
  }
  const sizeBytes = stat.kind === "socket" ? decodeMarkerAtimeNs(stat.atimeNs) : null;
  return sizeBytes === null ? null : { kind: "marker", stat: { ...facts, sizeBytes } };
}
