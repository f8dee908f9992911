/**
 * What Azure's answers do to the backend when they go wrong, against the emulator behind a
 * proxy that lies. After each case the process is alive, and the error is classified.
 */

import {
  BlobServiceClient,
  ContainerSASPermissions,
  generateBlobSASQueryParameters,
  StorageSharedKeyCredential,
} from "@azure/storage-blob";
import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { objectKeyOf } from "../../src/core/names.ts";
import { openAzureBackend } from "../../src/storage/azure/azure_backend.ts";
import type { StorageBackend } from "../../src/storage/backend.ts";
import type { AzureOptions } from "../../src/storage/backend_options.ts";
import { DEFAULT_RETRY_POLICY, withRetry } from "../../src/storage/retrying_backend.ts";
import { StorageError, type StorageFault } from "../../src/storage/storage_error.ts";
import { testTools } from "./cloud_fixture.ts";
import { FakeClock } from "./fake_clock.ts";
import { type ProxyPlan, startFaultProxy } from "./fault_proxy.ts";
import { MemoryTarget, metadataOf, patternBytes, sourceOf } from "./test_bytes.ts";

const endpoint = Deno.env.get("P4CACHE_TEST_AZURE_ENDPOINT") ?? null;
const accountName = Deno.env.get("P4CACHE_TEST_AZURE_ACCOUNT") ?? "";
const accountKey = Deno.env.get("P4CACHE_TEST_AZURE_KEY") ?? "";
const container = Deno.env.get("P4CACHE_TEST_AZURE_CONTAINER") ?? "p4cache-test";
const MIB = 1_048_576;
const KEY = objectKeyOf("a/b,v");
let openCount = 0;

if (endpoint === null) {
  // deno-lint-ignore no-console -- a skip says why
  console.log("skipped: azure faults: no Azure server; run_conformance.sh starts one");
}

function test(sentence: string, body: () => Promise<void>): void {
  Deno.test({
    name: `azure: ${sentence}`,
    ignore: endpoint === null,
    // Both ends are in this process: one may see the other's end a moment later.
    sanitizeResources: false,
    sanitizeOps: false,
    async fn(): Promise<void> {
      const credential = new StorageSharedKeyCredential(accountName, accountKey);
      const service = new BlobServiceClient(endpoint!, credential);
      await service.getContainerClient(container).createIfNotExists();
      await body();
    },
  });
}

async function open(
  more: Partial<AzureOptions> = {},
  warnings: string[] = [],
): Promise<StorageBackend> {
  openCount += 1;
  const options: AzureOptions = {
    type: "azure",
    endpoint,
    endpointPin: true,
    container,
    accountName,
    accountKey,
    pathPrefix: `faults-${Deno.pid}-${openCount}`,
    uploadPartMb: 1,
    restoreChunkThresholdMb: 0,
    ...more,
  };
  const onWarning = (message: string): void => void warnings.push(message);
  return await openAzureBackend(options, testTools({ onWarning }));
}

/** The emulator's account is part of the path. */
async function throughProxy(
  plan: ProxyPlan,
  body: (backend: StorageBackend) => Promise<void>,
): Promise<void> {
  const { origin, pathname } = new URL(endpoint!);
  const proxy = startFaultProxy(origin, plan);
  const backend = await open({ endpoint: proxy.origin + pathname });
  try {
    await body(backend);
  } finally {
    await backend.close();
    await proxy.close();
  }
}

function sasOf(endMs: number): string {
  return generateBlobSASQueryParameters({
    containerName: container,
    permissions: ContainerSASPermissions.parse("racwdl"),
    startsOn: new Date(endMs - 7_200_000),
    expiresOn: new Date(endMs),
  }, new StorageSharedKeyCredential(accountName, accountKey)).toString();
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

function everyRequest(backend: StorageBackend): (() => Promise<unknown>)[] {
  return [
    () => put(backend, patternBytes(10, 1)),
    () => put(backend, patternBytes(2 * MIB, 1)),
    () => backend.download({ key: KEY, target: new MemoryTarget(), sizeBytes: 10 }),
    () => backend.head(KEY),
    () => backend.delete({ key: KEY }),
    () => Array.fromAsync(backend.list("")),
  ];
}

test("a wrong account key is denied", async () => {
  const backend = await open({ accountKey: btoa("wrong") });
  for (const request of everyRequest(backend)) await rejectsAs("denied", request);
  await backend.close();
});

test("a SAS works while it lasts, and is denied afterwards", async () => {
  const hour = 3_600_000;
  const good = await open({ accountKey: null, sasToken: sasOf(Date.now() + hour) });
  await put(good, patternBytes(2 * MIB, 2));
  await expectContent(good, patternBytes(2 * MIB, 2));
  await good.close();
  const expired = await open({ accountKey: null, sasToken: sasOf(Date.now() - hour) });
  for (const request of everyRequest(expired)) await rejectsAs("denied", request);
  await expired.close();
});

test("a SAS that ends soon is warned of, once a day", async () => {
  const day = 86_400_000;
  const clock = new FakeClock();
  const warnings: string[] = [];
  const backend = await openAzureBackend({
    type: "azure",
    endpoint: "http://127.0.0.1:1",
    endpointPin: true,
    container,
    accountName,
    sasToken: `se=${new Date(clock.nowMs() + 16 * day).toISOString()}`,
  }, testTools({ clock, onWarning: (message) => void warnings.push(message) }));
  const counts: number[] = [];
  for (let i = 0; i < 18; i++) {
    for (let j = 0; j < 3; j++) await rejects(() => backend.head(KEY));
    counts.push(warnings.length);
    await clock.sleep(day);
  }
  deepStrictEqual(counts.slice(0, 4), [0, 0, 1, 2]);
  ok(/ends at/.test(warnings[0]!) && /ended at/.test(warnings.at(-1)!));
  await backend.close();
});

test("a SAS that ends soon is warned of at the start", async () => {
  const day = 86_400_000;
  for (const [days, count] of [[30, 0], [3, 1], [-1, 1]] as const) {
    const warnings: string[] = [];
    const sasToken = sasOf(Date.now() + days * day);
    const backend = await open({ accountKey: null, sasToken }, warnings);
    strictEqual(warnings.length, count, `${days} days`);
    await backend.close();
  }
});

test("no error shows a secret, however it is printed", async () => {
  const proxy = startFaultProxy(new URL(endpoint!).origin, () => null);
  const { pathname } = new URL(endpoint!);
  const sasToken = `${sasOf(Date.now() - 3_600_000)}`;
  const signature = new URLSearchParams(sasToken).get("sig")!;
  for (const at of [proxy.origin, "http://127.0.0.1:1"]) {
    const backend = await open({ accountKey: null, sasToken, endpoint: at + pathname });
    for (const request of everyRequest(backend)) {
      const error: unknown = await request().then(() => null, (reason) => reason);
      const text = Deno.inspect(error, { depth: 20, strAbbreviateSize: 100_000 });
      ok(error instanceof StorageError);
      ok(
        !text.includes(signature) && !text.includes(encodeURIComponent(signature)),
        text,
      );
    }
    await backend.close();
  }
  await proxy.close();
});

test("an absent container is a wrong setting, never an absent object", async () => {
  const backend = await open({ container: "there-is-no-such-container" });
  for (const request of everyRequest(backend)) await rejectsAs("invalid", request);
  await backend.close();
});

test("a download goes on where its connection broke", async () => {
  let isCut = false;
  const plan: ProxyPlan = (request) => {
    if (request.method !== "GET" || isCut) return null;
    isCut = true;
    return { kind: "cut", afterBytes: MIB };
  };
  await throughProxy(plan, async (backend) => {
    await put(backend, patternBytes(3 * MIB, 3));
    await expectContent(backend, patternBytes(3 * MIB, 3));
    ok(isCut);
  });
});

test("a store that asks for patience is throttled, and gets it", async () => {
  let busyCount = 0;
  const plan: ProxyPlan = () => {
    busyCount += 1;
    if (busyCount > 2) return null;
    return { kind: "answer", status: 503, headers: { "retry-after": "5" } };
  };
  await throughProxy(plan, async (backend) => {
    const clock = new FakeClock();
    const patient = withRetry(backend, DEFAULT_RETRY_POLICY, clock, () => 0);
    strictEqual(await patient.head(KEY), null);
    deepStrictEqual(clock.slept, [5_000, 5_000]);
  });
});

test("a redirect to another host is not followed", async () => {
  const elsewhere = startFaultProxy(endpoint!, () => null);
  const headers = { location: `${elsewhere.origin}/x` };
  await throughProxy(
    () => ({ kind: "answer", status: 307, headers }),
    async (backend) => {
      for (const request of everyRequest(backend)) await rejectsAs("invalid", request);
      strictEqual(elsewhere.requests.length, 0);
    },
  );
  await elsewhere.close();
});

test("an upload in blocks whose answer got lost is found to have succeeded", async () => {
  let isLost = false;
  const plan: ProxyPlan = (request) => {
    if (!request.target.includes("comp=blocklist") || isLost) return null;
    isLost = true;
    return { kind: "lose", status: 500 };
  };
  await throughProxy(plan, async (backend) => {
    const bytes = patternBytes(3 * MIB, 4);
    const patient = withRetry(backend, DEFAULT_RETRY_POLICY, new FakeClock(), () => 0);
    await put(patient, bytes);
    ok(isLost);
    await expectContent(patient, bytes);
  });
});

test("a blob in the tier Archive is asked for, and can be read in the end", async () => {
  const backend = await open();
  const bytes = patternBytes(1_000, 31);
  await put(backend, bytes);
  const blob = new BlobServiceClient(
    endpoint!,
    new StorageSharedKeyCredential(accountName, accountKey),
  ).getContainerClient(container).getBlobClient(
    `faults-${Deno.pid}-${openCount}/${KEY}`,
  );
  await blob.setAccessTier("Archive");
  strictEqual((await backend.head(KEY))?.archive, "archived");
  await rejectsAs("archived", () => expectContent(backend, bytes));
  const request = { key: KEY, speed: "standard", days: 1 } as const;
  // The emulator needs no hours for it.
  strictEqual(await backend.retrieve(request), "readable");
  strictEqual((await backend.head(KEY))?.storageClass, "Hot");
  strictEqual(await backend.retrieve(request), "readable");
  await expectContent(backend, bytes);
  await backend.close();
});

test("what Azure says of an archived blob is told as it is", async () => {
  let headers: Record<string, string> = { "x-ms-access-tier": "Archive" };
  const tiers: (string | null)[] = [];
  const plan: ProxyPlan = ({ method, target, headers: asked }) => {
    if (target.includes("comp=tier")) {
      tiers.push(
        `${asked.get("x-ms-access-tier")} ${asked.get("x-ms-rehydrate-priority")}`,
      );
      headers = { ...headers, "x-ms-archive-status": "rehydrate-pending-to-hot" };
      return { kind: "answer", status: 202 };
    }
    if (method === "HEAD") return { kind: "answer", status: 200, headers };
    if (method !== "GET") return null;
    const code = headers["x-ms-archive-status"] === undefined
      ? "BlobArchived"
      : "BlobBeingRehydrated";
    const body = `<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code>` +
      "<Message>This operation is not permitted on an archived blob.</Message></Error>";
    const answer = { "content-type": "application/xml", "x-ms-error-code": code };
    return { kind: "answer", status: 409, headers: answer, body };
  };
  await throughProxy(plan, async (backend) => {
    const read = (): Promise<unknown> =>
      backend.download({ key: KEY, target: new MemoryTarget(), sizeBytes: 10 });
    strictEqual((await backend.head(KEY))?.archive, "archived");
    await rejects(read, /p4-cache restore-archived/);
    await rejectsAs("archived", read);
    const request = { key: KEY, speed: "expedited", days: 1 } as const;
    strictEqual(await backend.retrieve(request), "retrieving");
    strictEqual((await backend.head(KEY))?.archive, "retrieving");
    strictEqual(await backend.retrieve(request), "retrieving");
    deepStrictEqual(tiers, ["Hot High"], "asked once");
    await rejects(read, /restore-archived --wait/);
    headers = { "x-ms-access-tier": "Hot" };
    strictEqual((await backend.head(KEY))?.archive, undefined);
    strictEqual(await backend.retrieve(request), "readable");
  });
});
