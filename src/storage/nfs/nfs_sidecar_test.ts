import { deepStrictEqual } from "node:assert/strict";
import type { ObjectMetadata } from "../backend.ts";
import { decodeSidecar, encodeSidecar } from "./nfs_sidecar.ts";

const FILE = { sizeBytes: 3, storedAtMs: 5_000 };

const GREATEST: ObjectMetadata = {
  hash: "ab".repeat(32),
  mtimeNs: 2n ** 63n - 1n,
  mode: 0o7777,
  uid: 2 ** 32 - 1,
  gid: 2 ** 32 - 1,
  path: "a,v",
  generation: 1e15 - 1,
};

Deno.test("a sidecar says what was put into it, up to what a row can hold", () => {
  deepStrictEqual(decodeSidecar(encodeSidecar(FILE, GREATEST), FILE), GREATEST);
});

Deno.test("a number in a sidecar that no row can hold is as one that is not there", () => {
  const greater = {
    ...GREATEST,
    mtimeNs: 2n ** 63n,
    mode: 0o10000,
    uid: 2 ** 32,
    gid: 2 ** 32,
    generation: 1e15,
  };
  const { generation: _, ...rest } = GREATEST;
  deepStrictEqual(decodeSidecar(encodeSidecar(FILE, greater), FILE), {
    ...rest,
    mtimeNs: null,
    mode: null,
    uid: null,
    gid: null,
  });
});
