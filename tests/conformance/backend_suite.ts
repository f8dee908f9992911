/**
 * What every StorageBackend must do, whatever is behind it and whatever wraps it.
 *
 * Each backend's and each wrapper's test file calls {@linkcode testBackend}. A bug found
 * in one is fixed by adding a test here, so that all others are asked as well.
 *
 * @module
 */

import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { objectKeyOf } from "../../src/core/names.ts";
import type {
  ObjectInfo,
  ObjectMetadata,
  StorageBackend,
  UploadSource,
} from "../../src/storage/backend.ts";
import { StorageError, type StorageFault } from "../../src/storage/storage_error.ts";
import {
  hashOf,
  MemoryTarget,
  metadataOf,
  NO_METADATA,
  patternBytes,
  sourceOf,
} from "./test_bytes.ts";

/** A store for one test: empty, and gone after `close()`. */
export interface OpenStore {
  readonly backend: StorageBackend;
  close(): Promise<void>;
}

export interface BackendFixture {
  readonly name: string;
  open(): Promise<OpenStore>;
  /** Why these tests cannot run here; null if they can. */
  readonly skip?: string | null;
  /** A size that the backend uploads in parts and downloads in ranges. */
  readonly largeBytes?: number;
  /** How many objects a listing takes that needs more than one page. */
  readonly listedCount?: number;
}

const MIB = 1_048_576;

/** Keys that have broken somebody's store: separators, escapes, other scripts, lengths. */
const NASTY_KEYS = [
  "plain",
  "depot/main/foo.c,v",
  "depot/main/foo.c,v.p4cv-0123456789abcdef",
  "depot/main/art.psd,d/1.1",
  "depot/main/art.psd,d/1.1.gz",
  "depot/main/art.psd,d",
  "with space,v",
  " leading and trailing ",
  "percent%20encoded%2Fslash%",
  "plus+plus,v",
  "hash#fragment",
  "question?query=1&b=2;c=3",
  "colon:at@comma,semicolon;equals=",
  "quotes\"and'more`",
  "<xml>&amp;</xml>",
  "brackets[0]{1}(2)*|^~!$",
  "caret^f",
  "caret^d/inside^c/file^d",
  "Case",
  "case",
  "\u00fcml\u00e4ut/\u65e5\u672c\u8a9e,v",
  "emoji \u{1f3ae}/\u{1f9ca},v",
  "e\u0301 decomposed",
  "\u00e9 composed",
  "a",
  "a/b",
  "a/b/c",
  "a/b,v",
  "a/b,v/c",
  ".hidden/.file",
  ".p4cache-bytes/%FF%FE,v",
  `${"deep/".repeat(100)}leaf,v`,
  `${"n".repeat(254)},v`,
  `${"%E3%83%87".repeat(70)},v`,
  `${"\u65e5".repeat(298)},v/x`,
  "k".repeat(900),
].map(objectKeyOf);

export function testBackend(fixture: BackendFixture): void {
  const skip = fixture.skip ?? null;
  // deno-lint-ignore no-console -- a skip says why
  if (skip !== null) console.log(`skipped: ${fixture.name}: ${skip}`);
  const test = (
    sentence: string,
    body: (backend: StorageBackend) => Promise<void>,
  ): void => {
    Deno.test({
      name: `${fixture.name}: ${sentence}`,
      ignore: skip !== null,
      async fn(): Promise<void> {
        const store = await fixture.open();
        try {
          await body(store.backend);
        } finally {
          await store.close();
        }
      },
    });
  };
  testTransfers(test, fixture.largeBytes ?? 3 * MIB + 17);
  testDescriptions(test);
  testConditions(test, fixture.largeBytes ?? 3 * MIB + 17);
  testDamage(test);
  testAborts(test, fixture.largeBytes ?? 3 * MIB + 17);
  testKeys(test);
  testListing(test, fixture.listedCount ?? 40);
}

type Test = (
  sentence: string,
  body: (backend: StorageBackend) => Promise<void>,
) => void;

const KEY = objectKeyOf("depot/main/foo.c,v");

function testTransfers(test: Test, largeBytes: number): void {
  for (const size of [0, 1, 4_095, MIB - 1, MIB, MIB + 1, largeBytes]) {
    test(`download() gives back the ${size} bytes that upload() took`, async (backend) => {
      const bytes = patternBytes(size, 1);
      const info = await put(backend, KEY, bytes);
      strictEqual(info.key, KEY);
      strictEqual(info.sizeBytes, size);
      await expectContent(backend, KEY, bytes);
    });
  }

  test("download() of a size that nobody knows gives all of it", async (backend) => {
    const bytes = patternBytes(100_000, 2);
    await put(backend, KEY, bytes);
    const target = new MemoryTarget();
    const result = await backend.download({ key: KEY, target, sizeBytes: null });
    target.expect(bytes);
    strictEqual(result.info.sizeBytes, bytes.length);
  });

  test("download() tells progress up to the whole", async (backend) => {
    const bytes = patternBytes(2 * MIB, 3);
    await put(backend, KEY, bytes);
    const told: [number, number][] = [];
    await backend.download({
      key: KEY,
      target: new MemoryTarget(),
      sizeBytes: bytes.length,
      onProgress: (done, total) => told.push([done, total]),
    });
    deepStrictEqual(told.at(-1), [bytes.length, bytes.length]);
  });

  test("sixteen transfers at a time do not mix", async (backend) => {
    const sizes = Array.from({ length: 16 }, (_, i) => 50_000 + i * 33_333);
    await Promise.all(sizes.map(async (size, i) => {
      const key = objectKeyOf(`many/${i},v`);
      const bytes = patternBytes(size, 100 + i);
      await put(backend, key, bytes);
      await expectContent(backend, key, bytes);
    }));
  });
}

function testDescriptions(test: Test): void {
  const full: ObjectMetadata = {
    hash: hashOf(patternBytes(1_000, 4)),
    mtimeNs: 1_700_000_000_123_456_789n,
    mode: 0o444,
    uid: 1_000,
    gid: 4_294_967_294,
    path: "depot/main/%E3%83%87%00.c,v",
  };

  test("head() of an absent object is null", async (backend) => {
    strictEqual(await backend.head(KEY), null);
  });

  test("head() tells size, metadata and the ETag that upload() told", async (backend) => {
    const bytes = patternBytes(1_000, 4);
    const sent = await put(backend, KEY, bytes, { metadata: full });
    const info = await backend.head(KEY);
    ok(info !== null, "head() found the object");
    strictEqual(info.key, KEY);
    strictEqual(info.sizeBytes, bytes.length);
    ok(info.etag !== null && info.etag !== "", "there is an ETag");
    strictEqual(info.etag, sent.etag);
    if (backend.capabilities().metadata) deepStrictEqual(info.metadata, full);
  });

  test("download() tells what head() tells", async (backend) => {
    const bytes = patternBytes(1_000, 4);
    await put(backend, KEY, bytes, { metadata: full });
    const head = await backend.head(KEY);
    const { info } = await backend.download({
      key: KEY,
      target: new MemoryTarget(),
      sizeBytes: bytes.length,
    });
    // Azure tells the tier in answers to HEAD only.
    const storageClass = info.storageClass ?? head?.storageClass ?? null;
    deepStrictEqual(
      { ...info, storageClass, storeNowMs: null },
      { ...head, storeNowMs: null },
    );
  });

  test("metadata that is not known stays unknown", async (backend) => {
    const bytes = patternBytes(10, 5);
    await put(backend, KEY, bytes, { metadata: metadataOf(bytes) });
    deepStrictEqual((await backend.head(KEY))?.metadata, metadataOf(bytes));
  });

  test("a path too long for the store's metadata is left out, the hash never", async (backend) => {
    const bytes = patternBytes(10, 6);
    const metadata = { ...metadataOf(bytes), path: "%E3%83%87".repeat(1_200) };
    await put(backend, KEY, bytes, { metadata });
    const stored = (await backend.head(KEY))?.metadata;
    strictEqual(stored?.hash, metadata.hash);
    ok(stored.path === null || stored.path === metadata.path, "the path, or nothing");
  });
}

function testConditions(test: Test, largeBytes: number): void {
  test("download() of an absent object fails as not-found", async (backend) => {
    await rejectsAs("not-found", () => get(backend, KEY, 5));
  });

  test("delete() of an absent object succeeds", async (backend) => {
    await backend.delete({ key: KEY });
  });

  test("delete() removes the object", async (backend) => {
    await put(backend, KEY, patternBytes(10, 7));
    await backend.delete({ key: KEY });
    strictEqual(await backend.head(KEY), null);
    deepStrictEqual(await keysOf(backend, ""), []);
  });

  test("a deleted key can be used again", async (backend) => {
    await put(backend, KEY, patternBytes(10, 8));
    await backend.delete({ key: KEY });
    await put(backend, KEY, patternBytes(11, 9));
    await expectContent(backend, KEY, patternBytes(11, 9));
  });

  test("upload() leaves an object alone that exists", async (backend) => {
    const first = patternBytes(1_000, 10);
    await put(backend, KEY, first);
    await rejectsAs("precondition", () => put(backend, KEY, patternBytes(1_000, 11)));
    await expectContent(backend, KEY, first);
    strictEqual((await backend.head(KEY))?.metadata?.hash, hashOf(first));
  });

  test("upload() of an empty file leaves an object alone that exists", async (backend) => {
    await put(backend, KEY, patternBytes(1_000, 10));
    await rejectsAs("precondition", () => put(backend, KEY, new Uint8Array(0)));
    await expectContent(backend, KEY, patternBytes(1_000, 10));
  });

  test(`upload() of ${largeBytes} bytes leaves an object alone that exists`, async (backend) => {
    const first = patternBytes(1_000, 10);
    await put(backend, KEY, first);
    const second = patternBytes(largeBytes, 11);
    await rejectsAs("precondition", () => put(backend, KEY, second));
    await expectContent(backend, KEY, first);
  });

  test(`of three uploads of ${largeBytes} bytes at a time exactly one wins, whole`, async (backend) => {
    const contents = [50, 51, 52].map((seed) => patternBytes(largeBytes, seed));
    const results = await Promise.allSettled(contents.map((c) => put(backend, KEY, c)));
    const winners = contents.filter((_, i) => results[i]!.status === "fulfilled");
    strictEqual(winners.length, 1, "winners");
    await expectContent(backend, KEY, winners[0]!);
  });

  test("upload() without ifAbsent replaces content and metadata", async (backend) => {
    await put(backend, KEY, patternBytes(1_000, 12));
    const second = patternBytes(999, 13);
    await put(backend, KEY, second, { ifAbsent: false });
    await expectContent(backend, KEY, second);
    strictEqual((await backend.head(KEY))?.metadata?.hash, hashOf(second));
  });

  test("of eight uploads to one key at a time exactly one wins, whole", async (backend) => {
    const contents = Array.from(
      { length: 8 },
      (_, i) => patternBytes(200_000 + i, 20 + i),
    );
    const results = await Promise.allSettled(contents.map((c) => put(backend, KEY, c)));
    const winners = contents.filter((_, i) => results[i]!.status === "fulfilled");
    strictEqual(winners.length, 1, "winners");
    for (const result of results) {
      if (result.status === "fulfilled") continue;
      ok(result.reason instanceof StorageError, String(result.reason));
      strictEqual(result.reason.fault, "precondition");
    }
    await expectContent(backend, KEY, winners[0]!);
    strictEqual((await backend.head(KEY))?.metadata?.hash, hashOf(winners[0]!));
  });

  test("download() with ifMatch takes only that object", async (backend) => {
    const bytes = patternBytes(500, 14);
    const { etag } = await put(backend, KEY, bytes);
    await expectContent(backend, KEY, bytes, etag);
    await put(backend, KEY, patternBytes(500, 15), { ifAbsent: false });
    await rejectsAs("precondition", () => get(backend, KEY, 500, etag));
  });

  test("delete() with ifMatch removes only that object", async (backend) => {
    if (!backend.capabilities().conditionalWrites) return;
    const { etag: old } = await put(backend, KEY, patternBytes(500, 16));
    const bytes = patternBytes(500, 17);
    const { etag } = await put(backend, KEY, bytes, { ifAbsent: false });
    await rejectsAs("precondition", () => backend.delete({ key: KEY, ifMatch: old }));
    await expectContent(backend, KEY, bytes);
    await backend.delete({ key: KEY, ifMatch: etag });
    strictEqual(await backend.head(KEY), null);
  });
}

function testDamage(test: Test): void {
  test("download() of another size than expected fails as corrupt", async (backend) => {
    await put(backend, KEY, patternBytes(1_000, 18));
    await rejectsAs("corrupt", () => get(backend, KEY, 999));
    await rejectsAs("corrupt", () => get(backend, KEY, 1_001));
    await rejectsAs("corrupt", () => get(backend, KEY, 0));
  });

  test("upload() of a source that ends early shows no object", async (backend) => {
    const short: UploadSource = {
      ...sourceOf(patternBytes(1_000, 19)),
      sizeBytes: 2_000,
    };
    await rejectsAs(
      "corrupt",
      () => backend.upload({ key: KEY, source: short, metadata: NO_METADATA }),
    );
    strictEqual(await backend.head(KEY), null);
    deepStrictEqual(await keysOf(backend, ""), []);
  });

  test("upload() of bytes that are not what was declared shows no object", async (backend) => {
    const bytes = patternBytes(1_000, 30);
    const metadata = metadataOf(patternBytes(1_000, 31));
    await rejectsAs("corrupt", () => put(backend, KEY, bytes, { metadata }));
    strictEqual(await backend.head(KEY), null);
  });

  test("what a source throws comes back as it is, and no object shows", async (backend) => {
    const trouble = new Error("the disk is on fire");
    const source: UploadSource = {
      sizeBytes: 2 * MIB,
      read: (buffer, offset) =>
        offset < MIB ? Promise.resolve(buffer.length) : Promise.reject(trouble),
    };
    const upload = backend.upload({ key: KEY, source, metadata: NO_METADATA });
    await rejects(() => upload, (error) => error === trouble);
    strictEqual(await backend.head(KEY), null);
  });

  test("what a target throws comes back as it is", async (backend) => {
    await put(backend, KEY, patternBytes(2 * MIB, 32));
    const trouble = new Error("no space left");
    const target = {
      write: (): Promise<void> => Promise.reject(trouble),
      read: (): Promise<number> => Promise.resolve(0),
    };
    const download = backend.download({ key: KEY, target, sizeBytes: 2 * MIB });
    await rejects(() => download, (error) => error === trouble);
  });
}

function testAborts(test: Test, largeBytes: number): void {
  for (const size of [2 * MIB, largeBytes]) {
    test(`an aborted upload of ${size} bytes throws the reason and shows no object`, async (backend) => {
      const abort = new AbortController();
      const reason = new Error("stop here");
      const whole = sourceOf(patternBytes(size, 33));
      const source: UploadSource = {
        sizeBytes: size,
        read(buffer, offset): Promise<number> {
          if (offset > size / 2) abort.abort(reason);
          return whole.read(buffer, offset);
        },
      };
      const { signal } = abort;
      const upload = backend.upload({ key: KEY, source, metadata: NO_METADATA, signal });
      await rejects(() => upload, (error) => error === reason);
      strictEqual(await backend.head(KEY), null);
      deepStrictEqual(await keysOf(backend, ""), []);
      await put(backend, KEY, patternBytes(10, 34));
    });
  }

  test("an aborted download throws the reason", async (backend) => {
    await put(backend, KEY, patternBytes(3 * MIB, 35));
    const abort = new AbortController();
    const reason = new Error("stop here");
    const inner = new MemoryTarget();
    const target = {
      write(bytes: Uint8Array, offset: number): Promise<void> {
        abort.abort(reason);
        return inner.write(bytes, offset);
      },
      read: inner.read.bind(inner),
    };
    const { signal } = abort;
    const download = backend.download({ key: KEY, target, sizeBytes: 3 * MIB, signal });
    await rejects(() => download, (error) => error === reason);
  });

  test("a signal that is aborted already ends every request", async (backend) => {
    await put(backend, KEY, patternBytes(10, 36));
    const reason = new Error("before it began");
    const signal = AbortSignal.abort(reason);
    const bytes = patternBytes(10, 37);
    const key = objectKeyOf("another");
    const target = new MemoryTarget();
    const requests = [
      (): Promise<unknown> =>
        backend.upload({ key, source: sourceOf(bytes), metadata: NO_METADATA, signal }),
      (): Promise<unknown> =>
        backend.download({ key: KEY, target, sizeBytes: 10, signal }),
      (): Promise<unknown> => backend.head(KEY, signal),
      (): Promise<unknown> => backend.delete({ key: KEY, signal }),
      (): Promise<unknown> => Array.fromAsync(backend.list("", signal)),
    ];
    for (const request of requests) {
      await rejects(request, (error) => error === reason);
    }
    deepStrictEqual(await keysOf(backend, ""), [KEY]);
  });
}

function testKeys(test: Test): void {
  test("every key is an object of its own, and is listed as it was given", async (backend) => {
    await inBatches(NASTY_KEYS, async (key, i) => {
      await put(backend, key, patternBytes(100 + i, 200 + i));
    });
    await inBatches(NASTY_KEYS, async (key, i) => {
      await expectContent(backend, key, patternBytes(100 + i, 200 + i));
    });
    deepStrictEqual(await keysOf(backend, ""), [...NASTY_KEYS].sort());
    const [gone, ...kept] = NASTY_KEYS;
    await backend.delete({ key: gone! });
    deepStrictEqual(await keysOf(backend, ""), kept.sort());
  });
}

function testListing(test: Test, listedCount: number): void {
  test("list() of an empty store is empty", async (backend) => {
    deepStrictEqual(await keysOf(backend, ""), []);
    deepStrictEqual(await keysOf(backend, "no/such/"), []);
  });

  test("list() takes a prefix that ends anywhere", async (backend) => {
    const keys = ["a/b,v", "a/bc,v", "a/b/c,v", "ab,v", "b,v"].map(objectKeyOf);
    for (const key of keys) await put(backend, key, patternBytes(3, 40));
    deepStrictEqual(await keysOf(backend, "a"), keys.slice(0, 4).sort());
    deepStrictEqual(await keysOf(backend, "a/"), keys.slice(0, 3).sort());
    deepStrictEqual(await keysOf(backend, "a/b"), keys.slice(0, 3).sort());
    deepStrictEqual(await keysOf(backend, "a/b/"), ["a/b/c,v"]);
    deepStrictEqual(await keysOf(backend, "a/b,v"), ["a/b,v"]);
    deepStrictEqual(await keysOf(backend, "c"), []);
  });

  test(`list() yields each of ${listedCount} objects once, with its size`, async (backend) => {
    const keys = Array.from(
      { length: listedCount },
      (_, i) => objectKeyOf(`d${i % 7}/${i},v`),
    );
    const sizes = new Map(keys.map((key, i) => [key as string, i % 100]));
    await inBatches(keys, async (key) => {
      await put(backend, key, patternBytes(sizes.get(key)!, 41));
    });
    const seen = new Map<string, number>();
    for await (const info of backend.list("d")) {
      ok(!seen.has(info.key), `${info.key} came twice`);
      seen.set(info.key, info.sizeBytes);
    }
    deepStrictEqual([...seen].sort(), [...sizes].sort());
  });

  test("list() ends when its reader leaves, or its signal aborts", async (backend) => {
    const keys = ["1,v", "2,v", "3,v"].map(objectKeyOf);
    for (const key of keys) await put(backend, key, patternBytes(3, 42));
    for await (const info of backend.list("")) {
      ok(info.key.endsWith(",v"));
      break;
    }
    const abort = new AbortController();
    const reason = new Error("enough");
    await rejects(async () => {
      for await (const _ of backend.list("", abort.signal)) abort.abort(reason);
    }, (error) => error === reason);
  });
}

async function put(
  backend: StorageBackend,
  key: ReturnType<typeof objectKeyOf>,
  bytes: Uint8Array,
  more: { metadata?: ObjectMetadata; ifAbsent?: boolean } = {},
): Promise<ObjectInfo> {
  return await backend.upload({
    key,
    source: sourceOf(bytes),
    metadata: more.metadata ?? metadataOf(bytes),
    ...(more.ifAbsent === undefined ? {} : { ifAbsent: more.ifAbsent }),
  });
}

async function get(
  backend: StorageBackend,
  key: ReturnType<typeof objectKeyOf>,
  sizeBytes: number,
  ifMatch: string | null = null,
): Promise<void> {
  await backend.download({ key, target: new MemoryTarget(), sizeBytes, ifMatch });
}

async function expectContent(
  backend: StorageBackend,
  key: ReturnType<typeof objectKeyOf>,
  bytes: Uint8Array,
  ifMatch: string | null = null,
): Promise<void> {
  const target = new MemoryTarget();
  const sizeBytes = bytes.length;
  const { hash, info } = await backend.download({ key, target, sizeBytes, ifMatch });
  target.expect(bytes);
  strictEqual(hash, hashOf(bytes), "the hash that download() told");
  strictEqual(info.sizeBytes, bytes.length);
}

async function keysOf(backend: StorageBackend, prefix: string): Promise<string[]> {
  const infos = await Array.fromAsync(backend.list(prefix));
  return infos.map((info) => info.key as string).sort();
}

/** Sixteen at a time: the servers are real, and the lists long. */
async function inBatches<T>(
  items: readonly T[],
  work: (item: T, index: number) => Promise<void>,
): Promise<void> {
  for (let i = 0; i < items.length; i += 16) {
    await Promise.all(items.slice(i, i + 16).map((item, j) => work(item, i + j)));
  }
}

async function rejectsAs(
  fault: StorageFault,
  body: () => Promise<unknown>,
): Promise<void> {
  await rejects(body, (error) => {
    ok(error instanceof StorageError, `a StorageError is wanted, not ${error}`);
    strictEqual(error.fault, fault, error.message);
    return true;
  });
}
