/**
 * Which daemon a store prefix belongs to. The id stands in the manifest and in the store,
 * so that an unmounted disk, a copied configuration or a wrong path is noticed before the
 * first file is touched.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import { crashPoint } from "../core/crash_point.ts";
import { objectKeyOf } from "../core/names.ts";
import type { Manifest } from "../manifest/manifest.ts";
import type { Logger } from "../obs/logger.ts";
import type { ObjectMetadata, StorageBackend } from "../storage/backend.ts";
import { createContentHasher } from "../storage/hashing.ts";
import { StorageError } from "../storage/storage_error.ts";
import { tellingIfSlow } from "./slow_wait.ts";
import { EXIT, StartError } from "./start_error.ts";

export const INSTANCE_KEY = objectKeyOf(".p4cache-meta/instance");

export interface InstanceFacts {
  readonly inManifest: string | null;
  readonly inStore: string | null;
  /** Of the secondary store; null also where it need not be asked. */
  readonly inSecondary: string | null;
  readonly manifestIsEmpty: boolean;
  readonly storeIsEmpty: boolean;
  readonly isReadOnly: boolean;
}

export type InstancePlan =
  | { readonly action: "go" }
  /** Both are new: make an id and put it in both. */
  | { readonly action: "create" }
  /** The id is in the manifest only: finish what a crash cut short. */
  | { readonly action: "write-store"; readonly id: string }
  | { readonly action: "refuse"; readonly why: string };

/**
 * The primary is new, and the store that was the primary before is the secondary now:
 * what is read from there until it is migrated is this instance's own.
 */
function isMoved(facts: InstanceFacts): boolean {
  return facts.storeIsEmpty && facts.inSecondary !== null &&
    facts.inSecondary === facts.inManifest;
}

const HELP_EMPTY =
  "If the depot's disk is not mounted, mount it. If the manifest was lost, " +
  "run p4-cache rebuild-manifest. If this is to be a new instance, give it a path_prefix " +
  "of its own";

/** May this manifest and this store work together? Pure. */
export function planInstance(facts: InstanceFacts): InstancePlan {
  const { inManifest, inStore, manifestIsEmpty, storeIsEmpty, isReadOnly } = facts;
  if (isReadOnly) return { action: "go" };
  if (inManifest !== null && inStore !== null) {
    return inManifest === inStore ? { action: "go" } : {
      action: "refuse",
      why:
        `The store belongs to instance ${inStore}, this manifest to ${inManifest}: two ` +
        `daemons may not write to one prefix. Correct the configuration's path_prefix`,
    };
  }
  if (inManifest !== null) {
    const isNew = (manifestIsEmpty && storeIsEmpty) || isMoved(facts);
    return isNew ? { action: "write-store", id: inManifest } : {
      action: "refuse",
      why:
        "The store has no instance marker (.p4cache-meta/instance), but this manifest " +
        "is in use: is it another bucket, prefix or export than before, or is it not " +
        "mounted? Correct that, or put the marker back with this content: " + inManifest +
        ". If the depot moves to a new store, name the old one as secondary",
    };
  }
  if (manifestIsEmpty && storeIsEmpty && inStore === null) return { action: "create" };
  if (!manifestIsEmpty) {
    return {
      action: "refuse",
      why: "The manifest has rows but no instance id: it is damaged. Run p4-cache " +
        "rebuild-manifest",
    };
  }
  return {
    action: "refuse",
    why: `The manifest is empty, but the store is not. ${HELP_EMPTY}`,
  };
}

export interface StoresOfInstance {
  readonly primary: StorageBackend;
  readonly secondary: StorageBackend | null;
}

export interface InstanceDeps {
  readonly manifest: Manifest;
  readonly stores: StoresOfInstance;
  readonly isReadOnly: boolean;
  readonly newId: () => string;
  readonly log: Logger;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/**
 * Checks, and writes what is missing.
 *
 * @throws {StartError} 78 with what to do, or 69 if the store does not answer.
 * @throws The signal's reason.
 */
export async function settleInstance(deps: InstanceDeps): Promise<void> {
  const { manifest, stores, newId, signal } = deps;
  const { primary: store } = stores;
  try {
    const plan = planInstance(await factsOf(deps));
    switch (plan.action) {
      case "go":
        return;
      case "refuse":
        throw new StartError(EXIT.configuration, plan.why);
      case "create": {
        // The manifest first: an id without an object is finished at the next start.
        const id = newId();
        await manifest.setMeta("instance_id", id);
        crashPoint("start/instance-in-manifest");
        await writeInstance(store, id, signal);
        return crashPoint("start/instance-in-store");
      }
      case "write-store":
        return await writeInstance(store, plan.id, signal);
    }
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    throw new StartError(
      EXIT.storeUnavailable,
      `The primary store cannot be used: ${error.message}`,
      { cause: error },
    );
  }
}

async function factsOf(deps: InstanceDeps): Promise<InstanceFacts> {
  const { manifest, stores: { primary, secondary }, isReadOnly, signal } = deps;
  const inManifest = manifest.meta("instance_id");
  const [inStore, storeIsEmpty] = await tellingIfSlow(
    "the primary store",
    deps,
    async () => [await readInstance(primary, signal), await isEmpty(primary, signal)],
  );
  const mayBeMoved = inManifest !== null && inStore === null && secondary !== null;
  const inSecondary = mayBeMoved
    ? await tellingIfSlow(
      "the secondary store",
      deps,
      () => readInstance(secondary, signal),
    )
    : null;
  const manifestIsEmpty = manifest.entries("", null, 1).length === 0;
  return { inManifest, inStore, inSecondary, manifestIsEmpty, storeIsEmpty, isReadOnly };
}

const NO_METADATA: ObjectMetadata = {
  hash: null,
  mtimeNs: null,
  mode: null,
  uid: null,
  gid: null,
  path: null,
};

/** An id is a line of text; anything longer is not ours. */
const INSTANCE_BYTES_MAX = 200;

/** The id that the store has, or null. @throws {StorageError} */
export async function readInstance(
  store: StorageBackend,
  signal?: AbortSignal,
): Promise<string | null> {
  const bytes = new Uint8Array(INSTANCE_BYTES_MAX);
  const info = await store.head(INSTANCE_KEY, signal);
  if (info === null) return null;
  if (info.sizeBytes > INSTANCE_BYTES_MAX) {
    throw new StorageError("corrupt", {
      operation: "head",
      key: INSTANCE_KEY,
      detail: `it has ${info.sizeBytes} bytes, an instance id is wanted`,
    });
  }
  await store.download({
    key: INSTANCE_KEY,
    sizeBytes: info.sizeBytes,
    target: {
      write: (chunk, offset) => Promise.resolve(bytes.set(chunk, offset)),
      read: (buffer, offset) => {
        const part = bytes.subarray(
          offset,
          Math.min(info.sizeBytes, offset + buffer.length),
        );
        buffer.set(part);
        return Promise.resolve(part.length);
      },
    },
    ...signal && { signal },
  });
  return new TextDecoder().decode(bytes.subarray(0, info.sizeBytes)).trim();
}

async function writeInstance(
  store: StorageBackend,
  id: string,
  signal: AbortSignal,
): Promise<void> {
  const bytes = new TextEncoder().encode(`${id}\n`);
  const hasher = createContentHasher();
  hasher.update(bytes);
  await store.upload({
    key: INSTANCE_KEY,
    source: {
      sizeBytes: bytes.length,
      read: (buffer, offset) => {
        const part = bytes.subarray(offset, offset + buffer.length);
        buffer.set(part);
        return Promise.resolve(part.length);
      },
    },
    metadata: { ...NO_METADATA, hash: hasher.digestHex() },
    signal,
  });
}

async function isEmpty(store: StorageBackend, signal: AbortSignal): Promise<boolean> {
  for await (const info of store.list("", signal)) {
    if (info.key !== INSTANCE_KEY) return false;
  }
  return true;
}
