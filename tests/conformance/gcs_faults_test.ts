/**
 * What Google's answers, and those of whoever gives tokens, do to the Google backend when
 * they go wrong. After each case the process is alive, and the error is classified.
 */

import { ok, rejects, strictEqual } from "node:assert/strict";
import { objectKeyOf } from "../../src/core/names.ts";
import type { StorageBackend } from "../../src/storage/backend.ts";
import type { GcsOptions } from "../../src/storage/backend_options.ts";
import { openGcsBackend } from "../../src/storage/gcs/gcs_backend.ts";
import { StorageError, type StorageFault } from "../../src/storage/storage_error.ts";
import { testTools } from "./cloud_fixture.ts";
import { type ProxyPlan, startFaultProxy } from "./fault_proxy.ts";
import { createTestAccount } from "./gcs_account.ts";
import { type GcsServer, startGcsServer } from "./gcs_server.ts";
import { MemoryTarget, metadataOf, patternBytes, sourceOf } from "./test_bytes.ts";

const MIB = 1_048_576;
const KEY = objectKeyOf("a/b,v");
const account = createTestAccount();

interface Setting {
  readonly backend: StorageBackend;
  readonly server: GcsServer;
  readonly credentialsFile: string;
}

async function withServer(
  plan: ProxyPlan,
  body: (setting: Setting) => Promise<void>,
  more: Partial<GcsOptions> = {},
): Promise<void> {
  const { publicKey } = account;
  const server = startGcsServer({ bucket: "p4cache-test", publicKey });
  const proxy = startFaultProxy(server.endpoint, plan);
  const directory = await Deno.makeTempDir({ prefix: "p4cache-gcs-" });
  const credentialsFile = `${directory}/account.json`;
  await account.writeFile(credentialsFile, `${server.endpoint}/token`);
  const backend = await openGcsBackend({
    type: "gcs",
    endpoint: proxy.origin,
    endpointPin: true,
    bucket: "p4cache-test",
    credentialsFile,
    uploadPartMb: 1,
    restoreChunkThresholdMb: 0,
    stallSecs: 30,
    ...more,
  }, testTools());
  try {
    await body({ backend, server, credentialsFile });
  } finally {
    await backend.close();
    await proxy.close();
    await server.close();
    await Deno.remove(directory, { recursive: true });
  }
}

async function put(backend: StorageBackend, bytes: Uint8Array): Promise<void> {
  const metadata = metadataOf(bytes);
  await backend.upload({ key: KEY, source: sourceOf(bytes), metadata });
}

async function expectContent(backend: StorageBackend, bytes: Uint8Array): Promise<void> {
  const target = new MemoryTarget();
  await backend.download({ key: KEY, target, sizeBytes: bytes.length });
  target.expect(bytes);
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

const isMedia = (request: { target: string }): boolean =>
  request.target.includes("alt=media");
const isChunk = (request: { method: string; target: string }): boolean =>
  request.method === "PUT" && request.target.includes("upload_id");

function test(sentence: string, body: () => Promise<void>): void {
  Deno.test({
    name: `gcs: ${sentence}`,
    // Both ends are in this process: one may see the other's end a moment later.
    sanitizeResources: false,
    sanitizeOps: false,
    fn: body,
  });
}

test("a key that is not the account's is denied", async () => {
  await withServer(() => null, async ({ backend, server, credentialsFile }) => {
    const stranger = createTestAccount();
    await stranger.writeFile(credentialsFile, `${server.endpoint}/token`);
    await rejectsAs("denied", () => backend.head(KEY));
    await rejectsAs("denied", () => put(backend, patternBytes(10, 1)));
  });
});

test("a credentials file that is absent or no JSON is denied, and read again", async () => {
  await withServer(() => null, async ({ backend, server, credentialsFile }) => {
    await Deno.remove(credentialsFile);
    await rejectsAs("denied", () => backend.head(KEY));
    await Deno.writeTextFile(credentialsFile, "{");
    await rejectsAs("denied", () => backend.head(KEY));
    await account.writeFile(credentialsFile, `${server.endpoint}/token`);
    strictEqual(await backend.head(KEY), null);
  });
});

test("who gives tokens and is away makes the store unavailable", async () => {
  await withServer(() => null, async ({ backend, credentialsFile }) => {
    await account.writeFile(credentialsFile, "http://127.0.0.1:1/token");
    await rejectsAs("unavailable", () => backend.head(KEY));
  });
});

test("a token that was revoked is replaced without a failure", async () => {
  await withServer(() => null, async ({ backend, server }) => {
    await put(backend, patternBytes(10, 2));
    server.revokeTokens();
    await expectContent(backend, patternBytes(10, 2));
  });
});

test("an absent bucket is a wrong setting, never an absent object", async () => {
  await withServer(() => null, async ({ backend }) => {
    await rejectsAs("invalid", () => backend.head(KEY));
    await rejectsAs("invalid", () => put(backend, patternBytes(10, 3)));
    await rejectsAs("invalid", () => backend.delete({ key: KEY }));
    await rejectsAs("invalid", () => Array.fromAsync(backend.list("")));
  }, { bucket: "there-is-no-such-bucket" });
});

test("a download that is answered 503 is throttled, and the process lives", async () => {
  const plan: ProxyPlan = (request) =>
    isMedia(request) ? { kind: "answer", status: 503, body: "later" } : null;
  await withServer(plan, async ({ backend }) => {
    await put(backend, patternBytes(1_000, 4));
    await rejectsAs("throttled", () => expectContent(backend, patternBytes(1_000, 4)));
  });
});

test("a download goes on where its connection broke", async () => {
  let isCut = false;
  const plan: ProxyPlan = (request) => {
    if (!isMedia(request) || isCut) return null;
    isCut = true;
    return { kind: "cut", afterBytes: 300_000 };
  };
  await withServer(plan, async ({ backend }) => {
    await put(backend, patternBytes(900_000, 5));
    await expectContent(backend, patternBytes(900_000, 5));
    ok(isCut);
  });
});

test("a resumable upload that leaves for another host is refused", async () => {
  await withServer(() => null, async ({ backend }) => {
    // The session's URL names the server itself, and the pin allows the proxy only.
    await rejectsAs("invalid", () => put(backend, patternBytes(3 * MIB, 6)));
    strictEqual(await backend.head(KEY), null);
  });
});

test("what the service did not take of a chunk is sent again", async () => {
  const { publicKey } = account;
  const server = startGcsServer({ bucket: "p4cache-test", publicKey });
  await withDirect(server, async (backend) => {
    server.cutNextChunk(262_144);
    const bytes = patternBytes(3 * MIB + 5, 7);
    await put(backend, bytes);
    await expectContent(backend, bytes);
  });
});

test("an upload in chunks goes on after a chunk that failed", async () => {
  const { publicKey } = account;
  let failCount = 0;
  const server = startGcsServer({ bucket: "p4cache-test", publicKey });
  const plan: ProxyPlan = (request) => {
    if (!isChunk(request) || failCount >= 2) return null;
    failCount += 1;
    return failCount === 1
      ? { kind: "answer", status: 502 }
      : { kind: "lose", status: 500 };
  };
  const proxy = startFaultProxy(server.endpoint, plan);
  server.announce(proxy.origin);
  await withDirect(server, async (backend) => {
    const bytes = patternBytes(3 * MIB + 5, 8);
    await put(backend, bytes);
    strictEqual(failCount, 2);
    await expectContent(backend, bytes);
  }, proxy.origin);
  await proxy.close();
});

async function withDirect(
  server: GcsServer,
  body: (backend: StorageBackend) => Promise<void>,
  endpoint: string = server.endpoint,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "p4cache-gcs-" });
  const credentialsFile = `${directory}/account.json`;
  await account.writeFile(credentialsFile, `${server.endpoint}/token`);
  const backend = await openGcsBackend({
    type: "gcs",
    endpoint,
    endpointPin: true,
    bucket: "p4cache-test",
    credentialsFile,
    uploadPartMb: 1,
  }, testTools());
  try {
    await body(backend);
  } finally {
    await backend.close();
    await server.close();
    await Deno.remove(directory, { recursive: true });
  }
}
