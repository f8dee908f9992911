/**
 * What a store that misbehaves does to the S3 backend, against a real server behind a
 * proxy that lies. After each case the process is alive, and the error is classified.
 */

import {
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  ListMultipartUploadsCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { objectKeyOf } from "../../src/core/names.ts";
import type { StorageBackend } from "../../src/storage/backend.ts";
import type { S3Options } from "../../src/storage/backend_options.ts";
import { DEFAULT_RETRY_POLICY, withRetry } from "../../src/storage/retrying_backend.ts";
import { hostRuleFor, planCloudSettings } from "../../src/storage/cloud_settings.ts";
import { openTransport } from "../../src/storage/http/transport.ts";
import { abortAbandoned, type BegunPage } from "../../src/storage/s3/s3_abandoned.ts";
import { createS3Client } from "../../src/storage/s3/s3_client.ts";
import { S3Requests } from "../../src/storage/s3/s3_requests.ts";
import { openS3Backend } from "../../src/storage/s3/s3_backend.ts";
import { StorageError, type StorageFault } from "../../src/storage/storage_error.ts";
import { emptied, testTools } from "./cloud_fixture.ts";
import { FakeClock } from "./fake_clock.ts";
import { type FaultProxy, type ProxyPlan, startFaultProxy } from "./fault_proxy.ts";
import {
  hashOf,
  MemoryTarget,
  metadataOf,
  patternBytes,
  sourceOf,
} from "./test_bytes.ts";
import { createTestAuthority, pipeTo, startTlsFront } from "./tls_front.ts";

const endpoint = Deno.env.get("P4CACHE_TEST_S3_ENDPOINT") ?? null;
const accessKey = Deno.env.get("P4CACHE_TEST_S3_ACCESS_KEY") ?? "";
const secretKey = Deno.env.get("P4CACHE_TEST_S3_SECRET_KEY") ?? "";
const bucket = Deno.env.get("P4CACHE_TEST_S3_BUCKET") ?? "p4cache-test";
const MIB = 1_048_576;
const KEY = objectKeyOf("a/b,v");

if (endpoint === null) {
  // deno-lint-ignore no-console -- a skip says why
  console.log("skipped: s3 faults: no S3 server; run_conformance.sh starts one");
}

let openCount = 0;

async function open(more: Partial<S3Options> = {}): Promise<StorageBackend> {
  openCount += 1;
  const options: S3Options = {
    type: "s3",
    endpoint,
    endpointPin: true,
    bucket,
    accessKey,
    secretKey,
    pathPrefix: `faults-${Deno.pid}-${openCount}`,
    uploadPartMb: 5,
    restoreChunkThresholdMb: 0,
    stallSecs: 60,
    ...more,
  };
  return await openS3Backend(options, testTools());
}

function client(): S3Client {
  return new S3Client({
    endpoint: endpoint!,
    region: "us-east-1",
    forcePathStyle: true,
    credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
  });
}

let isBucketMade = false;

function test(sentence: string, body: () => Promise<void>): void {
  Deno.test({
    name: `s3: ${sentence}`,
    ignore: endpoint === null,
    // Both ends are in this process: one may see the other's end a moment later.
    sanitizeResources: false,
    sanitizeOps: false,
    async fn(): Promise<void> {
      if (!isBucketMade) await client().send(new CreateBucketCommand({ Bucket: bucket }));
      isBucketMade = true;
      await body();
    },
  });
}

/** Runs `body` with a backend that reaches the server through a proxy with `plan`. */
async function throughProxy(
  plan: ProxyPlan,
  body: (backend: StorageBackend, proxy: FaultProxy) => Promise<void>,
  more: Partial<S3Options> = {},
): Promise<void> {
  const proxy = startFaultProxy(endpoint!, plan);
  const backend = await open({ endpoint: proxy.origin, ...more });
  try {
    await body(backend, proxy);
  } finally {
    await backend.close();
    await proxy.close();
  }
}

async function put(backend: StorageBackend, bytes: Uint8Array): Promise<void> {
  const metadata = metadataOf(bytes);
  await backend.upload({ key: KEY, source: sourceOf(bytes), metadata });
}

async function expectContent(backend: StorageBackend, bytes: Uint8Array): Promise<void> {
  const target = new MemoryTarget();
  const request = { key: KEY, target, sizeBytes: bytes.length };
  const { hash } = await backend.download(request);
  target.expect(bytes);
  strictEqual(hash, hashOf(bytes));
}

async function rejectsAs(
  fault: StorageFault,
  body: () => Promise<unknown>,
  words: RegExp = /./,
): Promise<StorageError> {
  let seen: StorageError | null = null;
  await rejects(body, (error) => {
    ok(error instanceof StorageError, `a StorageError is wanted, not ${error}`);
    strictEqual(error.fault, fault, error.message);
    ok(words.test(error.message), error.message);
    seen = error;
    return true;
  });
  return seen!;
}

function everyRequest(backend: StorageBackend): (() => Promise<unknown>)[] {
  const bytes = patternBytes(10, 1);
  return [
    () => put(backend, bytes),
    () => backend.download({ key: KEY, target: new MemoryTarget(), sizeBytes: 10 }),
    () => backend.head(KEY),
    () => backend.delete({ key: KEY }),
    () => Array.fromAsync(backend.list("")),
  ];
}

const isGetObject = (request: { method: string; target: string }): boolean =>
  request.method === "GET" && !request.target.includes("list-type");

test("a wrong secret is denied", async () => {
  const backend = await open({ secretKey: "wrong" });
  for (const request of everyRequest(backend)) await rejectsAs("denied", request);
  await backend.close();
});

test("an unknown access key is denied", async () => {
  const backend = await open({ accessKey: "nobody" });
  for (const request of everyRequest(backend)) await rejectsAs("denied", request);
  await backend.close();
});

test("an absent bucket is a wrong setting, never an absent object", async () => {
  const backend = await open({ bucket: "there-is-no-such-bucket" });
  for (const request of everyRequest(backend)) await rejectsAs("invalid", request);
  await backend.close();
});

test("a refused connection is unavailable", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  const backend = await open({ endpoint: `http://127.0.0.1:${port}` });
  for (const request of everyRequest(backend)) await rejectsAs("unavailable", request);
  await backend.close();
});

test("a host that does not resolve is unavailable", async () => {
  const backend = await open({ endpoint: "http://p4cache.invalid" });
  await rejectsAs("unavailable", () => backend.head(KEY));
  await backend.close();
});

for (
  const [name, more] of [
    ["whole", {}],
    ["in ranges", { restoreChunkThresholdMb: 1, restoreChunkThreads: 3 }],
  ] as const
) {
  test(`a download ${name} goes on where its connection broke`, async () => {
    const bytes = patternBytes(40 * MIB, 2);
    let cutCount = 0;
    const plan: ProxyPlan = (request) => {
      if (!isGetObject(request) || cutCount >= 3) return null;
      cutCount += 1;
      return { kind: "cut", afterBytes: 3 * MIB + 7 };
    };
    await throughProxy(plan, async (backend, proxy) => {
      await put(backend, bytes);
      await expectContent(backend, bytes);
      strictEqual(cutCount, 3);
      const ranges = proxy.requests.filter(isGetObject).map((r) =>
        r.headers.get("range")
      );
      ok(ranges.some((range) => range !== null && !range.startsWith("bytes=0-")));
      await emptied(await open({ pathPrefix: `faults-${Deno.pid}-${openCount}` }));
    }, more);
  });
}

test("a download whose every answer breaks at once is unavailable", async () => {
  const plan: ProxyPlan = (request) =>
    isGetObject(request) ? { kind: "cut", afterBytes: 0 } : null;
  await throughProxy(plan, async (backend) => {
    await put(backend, patternBytes(2 * MIB, 3));
    await rejectsAs(
      "unavailable",
      () => expectContent(backend, patternBytes(2 * MIB, 3)),
    );
  });
});

test("a download that stalls goes on after the time that was allowed", async () => {
  const bytes = patternBytes(3 * MIB, 4);
  let isStalled = false;
  const plan: ProxyPlan = (request) => {
    if (!isGetObject(request) || isStalled) return null;
    isStalled = true;
    return { kind: "stall", afterBytes: MIB };
  };
  await throughProxy(plan, async (backend) => {
    await put(backend, bytes);
    await expectContent(backend, bytes);
    ok(isStalled);
  }, { stallSecs: 1 });
});

test("a server that never answers is unavailable", async () => {
  const plan: ProxyPlan = () => ({ kind: "stall", afterBytes: -1 });
  await throughProxy(plan, async (backend) => {
    await rejectsAs("unavailable", () => backend.head(KEY), /no progress/);
  }, { stallSecs: 0.3 });
});

test("bytes that were damaged on the way hash to something else", async () => {
  const bytes = patternBytes(2 * MIB, 5);
  const plan: ProxyPlan = (request) =>
    isGetObject(request) ? { kind: "flip", atByte: 1_500_000 } : null;
  await throughProxy(plan, async (backend) => {
    await put(backend, bytes);
    const target = new MemoryTarget();
    const { hash, info } = await backend.download({
      key: KEY,
      target,
      sizeBytes: bytes.length,
    });
    ok(hash !== hashOf(bytes), "the hash is of what was written");
    strictEqual(info.metadata?.hash, hashOf(bytes));
  });
});

test("an object that is replaced while it is read fails as precondition", async () => {
  const first = patternBytes(40 * MIB, 6);
  const second = patternBytes(40 * MIB, 7);
  const direct: { backend: StorageBackend | null } = { backend: null };
  let getCount = 0;
  const plan: ProxyPlan = async (request) => {
    if (!isGetObject(request)) return null;
    getCount += 1;
    if (getCount !== 2) return null;
    const metadata = metadataOf(second);
    const source = sourceOf(second);
    await direct.backend!.upload({ key: KEY, source, metadata, ifAbsent: false });
    return null;
  };
  const more = { pathPrefix: `replaced-${Deno.pid}`, restoreChunkThresholdMb: 1 };
  await throughProxy(plan, async (backend) => {
    direct.backend = await open(more);
    await put(direct.backend, first);
    await rejectsAs("precondition", () => expectContent(backend, first));
    await emptied(direct.backend);
  }, { ...more, restoreChunkThreads: 2 });
});

test("a store that asks for patience is throttled, and gets it", async () => {
  let busyCount = 0;
  const plan: ProxyPlan = () => {
    if (busyCount >= 4) return null;
    busyCount += 1;
    const status = busyCount % 2 === 0 ? 429 : 503;
    return { kind: "answer", status, headers: { "retry-after": "7" } };
  };
  await throughProxy(plan, async (backend) => {
    const error = await rejectsAs("throttled", () => backend.head(KEY));
    strictEqual(error.retryAfterMs, 7_000);
    const clock = new FakeClock();
    const patient = withRetry(backend, DEFAULT_RETRY_POLICY, clock, () => 0);
    strictEqual(await patient.head(KEY), null);
    deepStrictEqual(clock.slept, [7_000, 7_000, 7_000]);
  });
});

test("a redirect to another host is not followed", async () => {
  const elsewhere = startFaultProxy(endpoint!, () => null);
  const location = `${elsewhere.origin}/${bucket}/${KEY}`;
  const plan: ProxyPlan = () => ({ kind: "answer", status: 307, headers: { location } });
  await throughProxy(plan, async (backend) => {
    for (const request of everyRequest(backend)) await rejectsAs("invalid", request);
    strictEqual(elsewhere.requests.length, 0);
  });
  await elsewhere.close();
});

test("an upload whose answer got lost is found to have succeeded", async () => {
  let isLost = false;
  const plan: ProxyPlan = (request) => {
    if (request.method !== "PUT" || !request.target.includes("b%2Cv") || isLost) {
      return null;
    }
    isLost = true;
    return { kind: "lose", status: 500 };
  };
  await throughProxy(plan, async (backend) => {
    const bytes = patternBytes(1_000, 8);
    const patient = withRetry(backend, DEFAULT_RETRY_POLICY, new FakeClock(), () => 0);
    await put(patient, bytes);
    ok(isLost, "an answer was lost");
    await expectContent(patient, bytes);
  });
});

test("an upload in parts that fails leaves no parts behind", async () => {
  const Prefix = `parts-${Deno.pid}`;
  const plan: ProxyPlan = (request) =>
    request.target.includes("partNumber=3")
      ? { kind: "answer", status: 503, body: "" }
      : null;
  await throughProxy(plan, async (backend) => {
    await rejectsAs("throttled", () => put(backend, patternBytes(22 * MIB, 9)));
    strictEqual(await backend.head(KEY), null);
  }, { pathPrefix: Prefix });
  const s3 = client();
  const command = new ListMultipartUploadsCommand({ Bucket: bucket, Prefix });
  const { Uploads } = await s3.send(command);
  deepStrictEqual(Uploads ?? [], []);
  s3.destroy();
});

test("a listing asks again for a page that failed", async () => {
  const page = (from: number, next: string | null): string =>
    `<?xml version="1.0"?><ListBucketResult><IsTruncated>${next !== null}</IsTruncated>` +
    (next === null ? "" : `<NextContinuationToken>${next}</NextContinuationToken>`) +
    Array.from(
      { length: 1_000 },
      (_, i) => `<Contents><Key>many/${from + i},v</Key><Size>5</Size></Contents>`,
    ).join("") +
    "</ListBucketResult>";
  let answerCount = 0;
  const plan: ProxyPlan = (request) => {
    answerCount += 1;
    if (answerCount % 10 === 0) return { kind: "answer", status: 503 };
    const token = request.target.match(/continuation-token=(\d+)/)?.[1] ?? "0";
    const next = Number(token) + 1;
    const body = page(Number(token) * 1_000, next < 100 ? String(next) : null);
    return { kind: "answer", status: 200, body };
  };
  await throughProxy(plan, async (backend) => {
    const seen = new Set<string>();
    for await (const { key } of backend.list("many/")) seen.add(key);
    strictEqual(seen.size, 100_000);
  }, { pathPrefix: "" });
});

test("a wrong clock is told as such, and is worth a retry", async () => {
  const body = "<?xml version='1.0'?><Error><Code>RequestTimeTooSkewed</Code>" +
    "<Message>The difference is too large.</Message></Error>";
  const plan: ProxyPlan = () => ({ kind: "answer", status: 403, body });
  await throughProxy(plan, async (backend) => {
    const download = (): Promise<unknown> =>
      backend.download({ key: KEY, target: new MemoryTarget(), sizeBytes: 1 });
    await rejectsAs("unavailable", download, /clock is wrong/);
  });
});

test("an archived object says how it is brought back", async () => {
  const body = "<?xml version='1.0'?><Error><Code>InvalidObjectState</Code>" +
    "<Message>The operation is not valid for the object's storage class</Message></Error>";
  const plan: ProxyPlan = () => ({ kind: "answer", status: 403, body });
  await throughProxy(plan, async (backend) => {
    const download = (): Promise<unknown> =>
      backend.download({ key: KEY, target: new MemoryTarget(), sizeBytes: 1 });
    await rejectsAs("archived", download, /restore-archived/);
  });
});

test("TLS with an unknown authority is refused, with ca_cert_path it works", async () => {
  const authority = await createTestAuthority();
  const { hostname, port } = new URL(endpoint!);
  const front = startTlsFront(authority, (c) => pipeTo(c, hostname, Number(port)));
  const trusted = `https://localhost:${front.port}`;
  const distrustful = await open({ endpoint: trusted });
  await rejectsAs("unavailable", () => distrustful.head(KEY), /ca_cert_path/);
  const trusting = await open({ endpoint: trusted, caCertPath: authority.caPath });
  await put(trusting, patternBytes(12 * MIB, 10));
  await expectContent(trusting, patternBytes(12 * MIB, 10));
  const other = `https://127.0.0.1:${front.port}`;
  const misled = await open({ endpoint: other, caCertPath: authority.caPath });
  await rejectsAs("unavailable", () => misled.head(KEY), /certificate/);
  await trusting.delete({ key: KEY });
  for (const backend of [distrustful, trusting, misled]) await backend.close();
  await front.close();
  await authority.remove();
});

test("a server that answers early and closes TLS in an upload is survived", async () => {
  const authority = await createTestAuthority();
  const front = startTlsFront(authority, async (connection) => {
    await connection.read(new Uint8Array(65_536));
    const answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    await connection.write(new TextEncoder().encode(answer));
  });
  const backend = await open({
    endpoint: `https://localhost:${front.port}`,
    caCertPath: authority.caPath,
  });
  await rejects(() => put(backend, patternBytes(4 * MIB, 11)), (error) => {
    ok(error instanceof StorageError, String(error));
    ok(error.fault === "denied" || error.fault === "unavailable", error.message);
    return true;
  });
  await backend.close();
  await front.close();
  await authority.remove();
});

test("uploads that a crash left are found in pages and aborted, a stranger's are not", async () => {
  const raw = client();
  const prefix = `abandoned-${Deno.pid}`;
  const keys = ["d/a,v", "d/b.bin,d/1.1.gz", "backup.tar"];
  for (const key of keys) {
    await raw.send(
      new CreateMultipartUploadCommand({ Bucket: bucket, Key: `${prefix}/${key}` }),
    );
  }
  const options: S3Options = {
    ...{ type: "s3", endpoint, endpointPin: true, bucket, accessKey, secretKey },
    pathPrefix: prefix,
  };
  const settings = planCloudSettings(options);
  const { clock } = testTools();
  const transport = await openTransport({
    caCertPath: null,
    hosts: hostRuleFor(settings.endpoint, bucket, /^$/),
    clock,
    stallMs: 60_000,
    idleConnectionsMax: 1,
  });
  const transports = { store: transport, credentials: transport };
  const sdk = createS3Client(options, settings, transports, "");
  const requests = new S3Requests(sdk, options, settings.prefix, {});
  const { signal } = new AbortController();
  const run = (ageMs: number): Promise<number> =>
    abortAbandoned({
      abortParts: (upload) => requests.abortParts(upload),
      // The server is as old as this test.
      async begunUploads(from): Promise<BegunPage> {
        const page = await requests.begunUploads(from, signal);
        const uploads = page.uploads.map((begun) => ({
          ...begun,
          begunAtMs: begun.begunAtMs! - ageMs,
        }));
        return { ...page, uploads };
      },
    }, { nowMs: () => clock.nowMs(), active: new Set(), signal });
  const left = async (): Promise<(string | undefined)[]> => {
    const listed = await raw.send(
      new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: `${prefix}/` }),
    );
    return (listed.Uploads ?? []).map(({ Key }) => Key?.slice(prefix.length + 1));
  };
  strictEqual(await run(0), 0, "a day is not over");
  deepStrictEqual((await left()).toSorted(), keys.toSorted());
  strictEqual(await run(2 * 86_400_000), 2);
  deepStrictEqual(await left(), ["backup.tar"]);
  transport.close();
  raw.destroy();
});
