/**
 * A manifest of an older schema on a disk that is full: what an upgrade may find.
 *
 * @module
 */

import { rejects } from "node:assert/strict";
import { open } from "lmdb";
import { objectKeyOf } from "../../src/core/names.ts";
import { LmdbKeyValue } from "../../src/manifest/lmdb_key_value.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import { PAGE_BYTES } from "../../src/manifest/page_file.ts";
import { metaWrite } from "../../src/manifest/schema.ts";
import { adopt, asSchema3, pathAt } from "./older_manifests.ts";

export const ROWS = 4_000;
export const MIB = 1024 * 1024;
export const DISK_BYTES = 16 * MIB;

/** A manifest of schema 3 without a free page, alone on a disk that is full but for the reserve. */
export async function fillDisk(directory: string, reserveBytes: number): Promise<void> {
  const elsewhere = await Deno.makeTempDir({ prefix: "p4-cache-manifest-older-" });
  try {
    const manifest = await openManifest({ directory: `${elsewhere}/manifest` });
    await Promise.all(Array.from({ length: ROWS }, (_, index) => {
      return adopt(manifest, pathAt(index), objectKeyOf(pathAt(index)));
    }));
    await manifest.close();
    await asSchema3(`${elsewhere}/manifest`);
    await Deno.mkdir(directory);
    await copyWithoutFreePages(`${elsewhere}/manifest`, directory);
  } finally {
    await Deno.remove(elsewhere, { recursive: true });
  }
  // The daemon of before has left the file of the locks, both meta pages, and the room that it kept.
  const store = await LmdbKeyValue.open(directory, { readOnly: false, create: false });
  await store.commit([metaWrite("boot_id", "1")]);
  await store.close();
  await Deno.writeFile(`${directory}.reserve`, new Uint8Array(reserveBytes));
  await rejects(Deno.writeFile(`${directory}.filler`, new Uint8Array(DISK_BYTES)));
}

async function copyWithoutFreePages(from: string, to: string): Promise<void> {
  const root = open({
    path: from,
    noSubdir: false,
    pageSize: PAGE_BYTES,
    maxDbs: 20,
    overlappingSync: false,
  });
  await root.backup(to, true);
  await root.close();
}
