import { deepStrictEqual, rejects, strictEqual, throws } from "node:assert/strict";
import { objectKeyOf, parseDepotPath } from "../core/names.ts";
import { type Manifest, ManifestError } from "../manifest/manifest.ts";
import { openMemManifest } from "../manifest/mem_manifest.ts";
import type { ObjectInfo, StorageBackend } from "../storage/backend.ts";
import { StorageError, type StorageFault } from "../storage/storage_error.ts";
import { archiveStoreOf, manifestViewOf } from "./archive_store.ts";
import { StoreReadError } from "./sources.ts";

const STAT = {
  sizeBytes: 5,
  mtimeNs: 1n,
  ctimeNs: 1n,
  mode: 0o444,
  uid: 1,
  gid: 1,
  ino: 1n,
  dev: 1n,
};

async function adopt(manifest: Manifest, name: string, borrowed = false): Promise<void> {
  await manifest.apply(parseDepotPath(name), "absent", {
    kind: "adopted",
    stored: {
      key: objectKeyOf(name),
      hash: "a".repeat(64),
      sizeBytes: 5,
      mtimeNs: 1n,
      versionId: null,
    },
    stat: STAT,
    resident: false,
    flags: { borrowed },
    nowS: 1_000,
  });
}

Deno.test("manifestViewOf() gives rows, and all of them in order, whatever their number", async () => {
  const manifest = await openMemManifest();
  const names = Array.from(
    { length: 2_345 },
    (_, i) => `d/${String(i).padStart(5, "0")},v`,
  );
  await Promise.all(names.map((name) => adopt(manifest, name, name === names[7])));
  const view = manifestViewOf(manifest);
  deepStrictEqual([...view.entries()].map(([path]) => path), names);
  deepStrictEqual(view.get(parseDepotPath(names[3]!)), {
    isClean: true,
    isResident: false,
    sizeBytes: 5,
    createdAtMs: 1_000_000,
    stored: { key: names[3], hash: "a".repeat(64), sizeBytes: 5 },
    isElsewhere: false,
  });
  strictEqual(view.get(parseDepotPath(names[7]!))?.isElsewhere, true);
  strictEqual(view.get(parseDepotPath("d/none,v")), null);
  const key = names[3]!;
  deepStrictEqual([view.pathsOf(key), view.isInGrace(key)], [[key], false]);
  await manifest.apply(parseDepotPath(names[3]!), "any", {
    kind: "deleted",
    nowMs: 1,
    whiteout: false,
  });
  deepStrictEqual([view.pathsOf(key), view.isInGrace(key)], [[], true]);
  await manifest.close();
});

Deno.test("manifestViewOf() turns a damaged row into an error that ends no run", () => {
  const fail = (): never => {
    throw new ManifestError("damaged", "its checksum fails");
  };
  const broken = { get: fail, entries: fail, rowsNaming: fail, tombstonesNaming: fail };
  const view = manifestViewOf(broken as unknown as Manifest);
  const path = parseDepotPath("a,v");
  throws(() => view.get(path), StoreReadError);
  throws(() => [...view.entries()], StoreReadError);
  throws(() => view.pathsOf(path), StoreReadError);
  throws(() => view.isInGrace(path), StoreReadError);
});

function backendThat(parts: Partial<StorageBackend>): StorageBackend {
  return parts as StorageBackend;
}

Deno.test("archiveStoreOf() says of each fault what it says of the object", async () => {
  const faults: Record<StorageFault, StoreReadError["fault"]> = {
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
  for (const [fault, expected] of Object.entries(faults) as [StorageFault, string][]) {
    const fail = (): Promise<never> =>
      Promise.reject(
        new StorageError(fault, { operation: "head", key: "k", detail: "x" }),
      );
    const store = archiveStoreOf(backendThat({ head: fail }));
    await rejects(
      store.head("k"),
      (error: unknown) => error instanceof StoreReadError && error.fault === expected,
    );
  }
});

Deno.test("archiveStoreOf() lists objects with their paths, and not the daemon's own", async () => {
  const info = (key: string, path: string | null): ObjectInfo => ({
    key: objectKeyOf(key),
    sizeBytes: 3,
    etag: null,
    storedAtMs: 7,
    versionId: null,
    storageClass: null,
    metadata: path === null
      ? null
      : { hash: "h", mtimeNs: null, mode: null, uid: null, gid: null, path },
    storeNowMs: null,
  });
  let isClosed = false;
  const store = archiveStoreOf(backendThat({
    async *list(): AsyncGenerator<ObjectInfo> {
      try {
        yield await Promise.resolve(info("a,v", null));
        yield info(".p4cache-meta/instance", null);
        yield info(".p4cache-long/x", "d/%E4,v");
        yield info("evil", "../x");
      } finally {
        isClosed = true;
      }
    },
  }));
  const found: unknown[] = [];
  for await (const { key, path } of store.list()) found.push([key, path]);
  deepStrictEqual(found, [
    ["a,v", null],
    [".p4cache-long/x", "d/\xe4,v"],
    ["evil", null],
  ]);
  strictEqual(isClosed, true);
});
