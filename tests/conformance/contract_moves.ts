/**
 * The contract, as the engine depends on it while a depot moves from one store to another:
 * the manifest's rows have version ids that the new primary never gave.
 *
 * @module
 */

import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import {
  ContentInMemory,
  fetchContent,
  type Fetched,
} from "../../src/engine/fetch_content.ts";
import type { StorageBackend } from "../../src/storage/backend.ts";
import { openMemBackend } from "../../src/storage/mem/mem_backend.ts";
import { openEngineFixture } from "../support/engine_fixture.ts";
import { KEY, put, type Test } from "./contract_tools.ts";
import { hashOf, patternBytes } from "./test_bytes.ts";

/** As each of them writes one. */
const VERSION_IDS = {
  "Amazon S3": "3HL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY+MTRCxf3vjVBH40Nr8X8gdRQBpUMLUo",
  "Ceph": "Wqb-hDK9zJzNrXOFMB6nLe5PBYlP5Qh",
  "Azure": "2026-03-14T09:26:53.5897932Z",
  "Google": "1697040123456789",
} as const;

export function testMoves(test: Test): void {
  for (const [vendor, versionId] of Object.entries(VERSION_IDS)) {
    test(
      `what only the secondary has is fetched by a row with a version id of ${vendor}`,
      (primary) => expectSecondaryServes(primary, versionId),
    );
  }
}

/** That an empty `primary` keeps nobody from the secondary, nor from what it has itself. */
export async function expectSecondaryServes(
  primary: StorageBackend,
  versionId: string = VERSION_IDS.Google,
): Promise<void> {
  const secondary = openMemBackend();
  await using fixture = await openEngineFixture({ primary, secondary });
  const bytes = patternBytes(1_000, 60);
  const mtimeNs = 1_000n;
  const stored = {
    key: KEY,
    hash: hashOf(bytes),
    sizeBytes: bytes.length,
    mtimeNs,
    versionId,
  };
  const path = fixture.path(KEY);
  const { entry } = await fixture.manifest.apply(path, "absent", {
    kind: "adopted",
    stored,
    stat: {
      sizeBytes: bytes.length,
      mtimeNs,
      ctimeNs: 0n,
      mode: 0o444,
      uid: 0,
      gid: 0,
      ino: 0n,
      dev: 0n,
    },
    resident: false,
    flags: {},
    nowS: 1,
  });
  const wanted = { path, entry: entry!, stored };
  const content = new ContentInMemory(new Uint8Array(bytes.length));
  const fetch = (): Promise<Fetched> =>
    fetchContent(fixture.context, wanted, content, () => {});
  // Nobody has it: what is said is that of the row's own object.
  await rejects(fetch, { name: "StorageError", fault: "not-found" });

  await put(secondary, KEY, bytes);
  deepStrictEqual(await fetch(), { hash: hashOf(bytes), source: "secondary" });
  deepStrictEqual(content.bytes, bytes);

  // Moved: the id is still another store's, and nobody asks for it.
  await put(primary, KEY, bytes);
  strictEqual((await fetch()).source, "row");
}
