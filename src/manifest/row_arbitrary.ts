/**
 * Random rows and paths for the tests of this folder.
 *
 * @module
 */

import fc from "fast-check";
import { type DepotPath, depotPathOrNull, objectKeyOf } from "../core/names.ts";
import type { FileFlags, LocalStat, StoredVersion, Tombstone } from "./manifest.ts";
import type { QueuePlace, Row } from "./row.ts";

/** Ordinary objects, which compare equal to those of the code. */
function plainRecord<T>(
  model: { [K in keyof T]: fc.Arbitrary<T[K]> },
): fc.Arbitrary<T> {
  return fc.record<T>(model, { noNullPrototype: true });
}

const U32 = fc.nat({ max: 0xffffffff });
const U64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const I64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const WHOLE = fc.maxSafeNat();

const BYTE = fc.oneof(
  fc.constantFrom(..."abc/,v.~"),
  fc.nat(255).map((code) => String.fromCharCode(code)),
);

/** Any bytes that are a depot path. */
export const PATH: fc.Arbitrary<DepotPath> = fc.string({
  unit: BYTE,
  minLength: 1,
  maxLength: 60,
}).filter((text) => depotPathOrNull(text) !== null).map((text) => text as DepotPath);

export const HASH: fc.Arbitrary<string> = fc.uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes) => bytes.toHex());

/** Valid Unicode without NUL, as object keys are. */
const KEY_TEXT = fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 })
  .filter((text) => !text.includes("\0") && text.isWellFormed());

export const LOCAL: fc.Arbitrary<LocalStat> = plainRecord({
  sizeBytes: WHOLE,
  mtimeNs: I64,
  ctimeNs: I64,
  mode: U32,
  uid: U32,
  gid: U32,
  ino: U64,
  dev: U64,
});

export const STORED: fc.Arbitrary<StoredVersion> = plainRecord({
  key: KEY_TEXT.map(objectKeyOf),
  hash: fc.option(HASH),
  sizeBytes: WHOLE,
  mtimeNs: I64,
  versionId: fc.option(fc.string({ unit: "grapheme", maxLength: 40 })),
});

export const FLAGS: fc.Arbitrary<FileFlags> = plainRecord({
  foreign: fc.boolean(),
  conflict: fc.boolean(),
  borrowed: fc.boolean(),
  secondaryOnly: fc.boolean(),
  pinned: fc.boolean(),
  readOnce: fc.boolean(),
});

const QUEUE: fc.Arbitrary<QueuePlace> = plainRecord({
  sequence: WHOLE,
  dirtySinceMs: WHOLE,
  queuedAtMs: WHOLE,
  retryAtMs: fc.option(WHOLE),
});

/** Any row that version 2 must hold, for `path`: its key is often made from the path. */
export function rowOf(path: DepotPath): fc.Arbitrary<Row> {
  const asciiPath = /^[\x20-\x7e]+$/.test(path) ? path : "plain,v";
  const key = fc.oneof(
    KEY_TEXT,
    fc.constant(asciiPath),
    fc.constant(`${asciiPath}.p4cv-00112233`),
  );
  return plainRecord({
    state: fc.constantFrom("clean" as const, "dirty" as const, "uploading" as const),
    resident: fc.boolean(),
    generation: fc.integer({ min: 1, max: 2 ** 40 }),
    local: LOCAL,
    lastAccessS: WHOLE,
    createdAtS: WHOLE,
    settledAtS: WHOLE,
    stored: fc.tuple(STORED, key).map(([stored, text]) => ({
      ...stored,
      key: objectKeyOf(text),
    })),
    hasStored: fc.boolean(),
    isSynced: fc.boolean(),
    flags: FLAGS,
    id: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    queue: QUEUE,
    tombstoned: fc.boolean(),
  }).map(({ hasStored, isSynced, ...row }) => ({
    ...row,
    local: isSynced
      ? { ...row.local, sizeBytes: row.stored.sizeBytes, mtimeNs: row.stored.mtimeNs }
      : row.local,
    stored: hasStored || row.state === "clean" ? row.stored : null,
    queue: row.state === "clean" ? null : row.queue,
  }));
}

export function tombstoneOf(path: DepotPath): fc.Arbitrary<Tombstone> {
  return plainRecord({
    id: WHOLE,
    path: fc.constant(path),
    stored: STORED,
    reason: fc.constantFrom("deleted" as const, "replaced" as const),
    atMs: WHOLE,
    local: LOCAL,
    whiteout: fc.boolean(),
    removed: fc.boolean(),
    borrowed: fc.boolean(),
    secondaryOnly: fc.boolean(),
  });
}
