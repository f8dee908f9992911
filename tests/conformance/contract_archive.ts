/**
 * The contract of archived objects, as far as every store can be asked: nothing here is in
 * an archive class.
 *
 * @module
 */

import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { expectContent, KEY, put, rejectsAs, type Test } from "./contract_tools.ts";
import { patternBytes } from "./test_bytes.ts";

export function testArchive(test: Test): void {
  test("an object that can be read is readable, and stays as it is", async (backend) => {
    const bytes = patternBytes(100, 61);
    await put(backend, KEY, bytes);
    const before = await backend.head(KEY);
    strictEqual(before?.archive, undefined);
    const request = { key: KEY, speed: "bulk", days: 1 } as const;
    strictEqual(await backend.retrieve(request), "readable");
    const after = await backend.head(KEY);
    deepStrictEqual([after?.etag, after?.archive], [before?.etag, undefined]);
    await expectContent(backend, KEY, bytes);
  });

  test("an object that is absent cannot be retrieved", async (backend) => {
    await rejectsAs(
      "not-found",
      () => backend.retrieve({ key: KEY, speed: "standard", days: 1 }),
    );
  });
}
