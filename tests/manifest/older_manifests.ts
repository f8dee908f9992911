/**
 * Manifests as older schemas left them, made from one of this schema.
 *
 * @module
 */

import { open } from "lmdb";
import { textOfBytes } from "../../src/core/names.ts";
import { entryCrc32 } from "../../src/manifest/crc32c.ts";
import type { TableName } from "../../src/manifest/key_value.ts";
import { decodeLedger, decodeMeta, encodeLedger } from "../../src/manifest/ledger.ts";
import { LmdbKeyValue } from "../../src/manifest/lmdb_key_value.ts";
import { PAGE_BYTES } from "../../src/manifest/page_file.ts";
import { metaWrite } from "../../src/manifest/schema.ts";
import { WriteList } from "../../src/manifest/write_list.ts";

export const ALL_ENTRIES = { from: "", before: null, limit: 10_000 };

/** As schema 3 left it: with each row under its path, and without the table of rows. */
export async function asSchema3(directory: string, version = "3"): Promise<void> {
  const store = await LmdbKeyValue.open(directory, { readOnly: false, create: false });
  const ledger = decodeLedger(decodeMeta("counters", store.get("meta", "counters")!));
  const writes = new WriteList(ledger.contentSum);
  for (const { key, value } of store.range("files_by_path", ALL_ENTRIES)) {
    const id = textOfBytes(value);
    const row = store.get("rows_by_id", id)!;
    writes.replace("files_by_path", key, {
      before: entryCrc32(key, value),
      now: { bytes: row, sum: entryCrc32(key, row) },
    });
    writes.remove("rows_by_id", id, row);
  }
  await store.commit([
    ...writes.all(),
    metaWrite("counters", encodeLedger({ ...ledger, contentSum: writes.contentSum })),
    metaWrite("schema_version", version),
  ]);
  await store.close();
  await dropTable(directory, "rows_by_id");
}

export async function dropTable(directory: string, name: TableName): Promise<void> {
  const root = open({
    path: directory,
    noSubdir: false,
    pageSize: PAGE_BYTES,
    maxDbs: 20,
    // It is written down in the file, and no manifest has it.
    overlappingSync: false,
  });
  await root.openDB(name, { encoding: "binary" }).drop();
  await root.close();
}
