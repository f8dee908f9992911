/**
 * What Azure itself may answer, and its credentials. After each case the process is alive,
 * and the error is classified.
 */

import {
  BlobServiceClient,
  ContainerSASPermissions,
  generateBlobSASQueryParameters,
  StorageSharedKeyCredential,
} from "@azure/storage-blob";
import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { openAzureBackend } from "../../src/storage/azure/azure_backend.ts";
import { StorageError } from "../../src/storage/storage_error.ts";
import {
  AZURE_ACCOUNT,
  AZURE_CONTAINER,
  AZURE_ENDPOINT,
  AZURE_KEY,
  makeContainer,
  newPrefix,
  openAzure,
} from "./azure_site.ts";
import { testTools } from "./cloud_fixture.ts";
import { expectSecondaryServes } from "./contract_moves.ts";
import { expectContent, get, MIB, put, rejectsAs } from "./contract_tools.ts";
import { FakeClock } from "./fake_clock.ts";
import { type ProxyPlan, startFaultProxy } from "./fault_proxy.ts";
import { everyRequest, HTTP_KEY as KEY } from "./http_site.ts";
import { patternBytes } from "./test_bytes.ts";

function test(sentence: string, body: () => Promise<void>): void {
  Deno.test({
    name: `azure: ${sentence}`,
    ignore: AZURE_ENDPOINT === null,
    // Both ends are in this process: one may see the other's end a moment later.
    sanitizeResources: false,
    sanitizeOps: false,
    async fn(): Promise<void> {
      await makeContainer();
      await body();
    },
  });
}

function sasOf(endMs: number): string {
  return generateBlobSASQueryParameters({
    containerName: AZURE_CONTAINER,
    permissions: ContainerSASPermissions.parse("racwdxl"),
    startsOn: new Date(endMs - 7_200_000),
    expiresOn: new Date(endMs),
  }, new StorageSharedKeyCredential(AZURE_ACCOUNT, AZURE_KEY)).toString();
}

test("a wrong account key is denied", async () => {
  const backend = await openAzure({ accountKey: btoa("wrong") });
  for (const request of everyRequest(backend)) await rejectsAs("denied", request);
  await backend.close();
});

test("a SAS works while it lasts, and is denied afterwards", async () => {
  const hour = 3_600_000;
  const good = await openAzure({
    accountKey: null,
    sasToken: sasOf(Date.now() + hour),
    pathPrefix: newPrefix(),
  });
  await put(good, KEY, patternBytes(2 * MIB, 2));
  await expectContent(good, KEY, patternBytes(2 * MIB, 2));
  await good.close();
  const expired = await openAzure({
    accountKey: null,
    sasToken: sasOf(Date.now() - hour),
  });
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
    container: AZURE_CONTAINER,
    accountName: AZURE_ACCOUNT,
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
    const backend = await openAzure({ accountKey: null, sasToken }, {
      onWarning: (message) => void warnings.push(message),
    });
    strictEqual(warnings.length, count, `${days} days`);
    await backend.close();
  }
});

test("no error shows a secret, however it is printed", async () => {
  const proxy = startFaultProxy(new URL(AZURE_ENDPOINT!).origin, () => null);
  const { pathname } = new URL(AZURE_ENDPOINT!);
  const sasToken = `${sasOf(Date.now() - 3_600_000)}`;
  const signature = new URLSearchParams(sasToken).get("sig")!;
  for (const at of [proxy.origin, "http://127.0.0.1:1"]) {
    const backend = await openAzure({
      accountKey: null,
      sasToken,
      endpoint: at + pathname,
    });
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
  const backend = await openAzure({ container: "there-is-no-such-container" });
  for (const request of everyRequest(backend)) await rejectsAs("invalid", request);
  await backend.close();
});

test("a clock that is wrong is told as such", async () => {
  const body = "<?xml version='1.0'?><Error><Code>AuthenticationFailed</Code>" +
    "<Message>Server failed to authenticate the request.</Message>" +
    "<AuthenticationErrorDetail>Request date header too old: 'Mon, 01 Jan 2024 " +
    "00:00:00 GMT'</AuthenticationErrorDetail></Error>";
  const headers = { "x-ms-error-code": "AuthenticationFailed" };
  const { origin, pathname } = new URL(AZURE_ENDPOINT!);
  const proxy = startFaultProxy(
    origin,
    () => ({ kind: "answer", status: 403, headers, body }),
  );
  const backend = await openAzure({ endpoint: proxy.origin + pathname });
  for (const request of everyRequest(backend)) {
    await rejects(request, (error) => {
      ok(error instanceof StorageError);
      strictEqual(error.fault, "denied");
      ok(/clock is wrong/.test(error.message), error.message);
      return true;
    });
  }
  await backend.close();
  await proxy.close();
});

test("a blob in the tier Archive is asked for, and can be read in the end", async () => {
  const pathPrefix = newPrefix();
  const backend = await openAzure({ pathPrefix });
  const bytes = patternBytes(1_000, 31);
  await put(backend, KEY, bytes);
  const blob = new BlobServiceClient(
    AZURE_ENDPOINT!,
    new StorageSharedKeyCredential(AZURE_ACCOUNT, AZURE_KEY),
  ).getContainerClient(AZURE_CONTAINER).getBlobClient(`${pathPrefix}/${KEY}`);
  await blob.setAccessTier("Archive");
  strictEqual((await backend.head(KEY))?.archive, "archived");
  await rejectsAs("archived", () => expectContent(backend, KEY, bytes));
  const request = { key: KEY, speed: "standard", days: 1 } as const;
  // The emulator needs no hours for it.
  strictEqual(await backend.retrieve(request), "readable");
  strictEqual((await backend.head(KEY))?.storageClass, "Hot");
  strictEqual(await backend.retrieve(request), "readable");
  await expectContent(backend, KEY, bytes);
  await backend.close();
});

test("what Azure says of an archived blob is told as it is", async () => {
  let headers: Record<string, string> = { etag: '"1"', "x-ms-access-tier": "Archive" };
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
  const { origin, pathname } = new URL(AZURE_ENDPOINT!);
  const proxy = startFaultProxy(origin, plan);
  const backend = await openAzure({ endpoint: proxy.origin + pathname });
  const read = (): Promise<void> => get(backend, KEY, 10);
  strictEqual((await backend.head(KEY))?.archive, "archived");
  await rejects(read, /p4-cache restore-archived/);
  await rejectsAs("archived", read);
  const request = { key: KEY, speed: "expedited", days: 1 } as const;
  strictEqual(await backend.retrieve(request), "retrieving");
  strictEqual((await backend.head(KEY))?.archive, "retrieving");
  strictEqual(await backend.retrieve(request), "retrieving");
  deepStrictEqual(tiers, ["Hot High"], "asked once");
  await rejects(read, /restore-archived --wait/);
  headers = { etag: '"1"', "x-ms-access-tier": "Hot" };
  strictEqual((await backend.head(KEY))?.archive, undefined);
  strictEqual(await backend.retrieve(request), "readable");
  await backend.close();
  await proxy.close();
});

test("a version id that Azure refuses, as those of another vendor, leads on to the secondary", async () => {
  const code = "InvalidQueryParameterValue";
  const body = `<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code>` +
    "<Message>Value for one of the query parameters is invalid.</Message></Error>";
  const headers = { "content-type": "application/xml", "x-ms-error-code": code };
  let refused = 0;
  const plan: ProxyPlan = ({ target }) => {
    if (!target.includes("versionid=")) return null;
    refused++;
    return { kind: "answer", status: 400, headers, body };
  };
  const { origin, pathname } = new URL(AZURE_ENDPOINT!);
  const proxy = startFaultProxy(origin, plan);
  const backend = await openAzure({
    endpoint: proxy.origin + pathname,
    pathPrefix: newPrefix(),
  });
  await expectSecondaryServes(backend);
  ok(refused > 0);
  await backend.close();
  await proxy.close();
});
