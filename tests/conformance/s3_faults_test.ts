/**
 * What S3 itself may answer, and what a server does that answers in the middle of an upload.
 * After each case the process is alive, and the error is classified.
 */

import {
  CreateMultipartUploadCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
} from "@aws-sdk/client-s3";
import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { objectKeyOf } from "../../src/core/names.ts";
import type { StorageBackend } from "../../src/storage/backend.ts";
import type { S3Options } from "../../src/storage/backend_options.ts";
import { hostRuleFor, planCloudSettings } from "../../src/storage/cloud_settings.ts";
import { openTransport } from "../../src/storage/http/transport.ts";
import { abortAbandoned, type BegunPage } from "../../src/storage/s3/s3_abandoned.ts";
import { createS3Client } from "../../src/storage/s3/s3_client.ts";
import { S3Requests } from "../../src/storage/s3/s3_requests.ts";
import { StorageError, type StorageFault } from "../../src/storage/storage_error.ts";
import { testTools } from "./cloud_fixture.ts";
import { expectSecondaryServes } from "./contract_moves.ts";
import { expectContent, get, MIB, put, rejectsAs } from "./contract_tools.ts";
import { type ProxyPlan, startFaultProxy } from "./fault_proxy.ts";
import { everyRequest, HTTP_KEY as KEY } from "./http_site.ts";
import {
  makeBucket,
  newPrefix,
  openS3,
  S3_BUCKET,
  S3_ENDPOINT,
  s3Client,
  s3Options,
} from "./s3_site.ts";
import { patternBytes } from "./test_bytes.ts";
import { createTestAuthority, startTlsFront } from "./tls_front.ts";

function test(sentence: string, body: () => Promise<void>): void {
  Deno.test({
    name: `s3: ${sentence}`,
    ignore: S3_ENDPOINT === null,
    // Both ends are in this process: one may see the other's end a moment later.
    sanitizeResources: false,
    sanitizeOps: false,
    async fn(): Promise<void> {
      await makeBucket();
      await body();
    },
  });
}

/** Runs `body` with a backend that reaches the server through a proxy with `plan`. */
async function throughProxy(
  plan: ProxyPlan,
  body: (backend: StorageBackend) => Promise<void>,
  more: Partial<S3Options> = {},
): Promise<void> {
  const proxy = startFaultProxy(S3_ENDPOINT!, plan);
  const backend = await openS3({
    endpoint: proxy.origin,
    pathPrefix: newPrefix(),
    ...more,
  });
  try {
    await body(backend);
  } finally {
    await backend.close();
    await proxy.close();
  }
}

async function rejectsInWords(
  fault: StorageFault,
  request: () => Promise<unknown>,
  words: RegExp,
): Promise<void> {
  await rejects(request, (error) => {
    ok(error instanceof StorageError, `a StorageError is wanted, not ${error}`);
    strictEqual(error.fault, fault, error.message);
    ok(words.test(error.message), error.message);
    return true;
  });
}

test("a wrong secret is denied", async () => {
  const backend = await openS3({ secretKey: "wrong" });
  for (const request of everyRequest(backend)) await rejectsAs("denied", request);
  await backend.close();
});

test("an unknown access key is denied", async () => {
  const backend = await openS3({ accessKey: "nobody" });
  for (const request of everyRequest(backend)) await rejectsAs("denied", request);
  await backend.close();
});

test("an absent bucket is a wrong setting, never an absent object", async () => {
  const backend = await openS3({ bucket: "there-is-no-such-bucket" });
  for (const request of everyRequest(backend)) await rejectsAs("invalid", request);
  await backend.close();
});

test("an upload in parts that fails leaves no parts behind", async () => {
  const Prefix = `parts-${Deno.pid}`;
  const plan: ProxyPlan = (request) =>
    request.target.includes("partNumber=3")
      ? { kind: "answer", status: 503, body: "" }
      : null;
  await throughProxy(plan, async (backend) => {
    await rejectsAs("throttled", () => put(backend, KEY, patternBytes(22 * MIB, 9)));
    strictEqual(await backend.head(KEY), null);
  }, { pathPrefix: Prefix });
  const s3 = s3Client();
  const command = new ListMultipartUploadsCommand({ Bucket: S3_BUCKET, Prefix });
  const { Uploads } = await s3.send(command);
  deepStrictEqual(Uploads ?? [], []);
  s3.destroy();
});

test("a wrong clock is told as such, and is worth a retry", async () => {
  const body = "<?xml version='1.0'?><Error><Code>RequestTimeTooSkewed</Code>" +
    "<Message>The difference is too large.</Message></Error>";
  const plan: ProxyPlan = () => ({ kind: "answer", status: 403, body });
  await throughProxy(plan, async (backend) => {
    await rejectsInWords("unavailable", () => get(backend, KEY, 1), /clock is wrong/);
  });
});

test("an archived object says how it is brought back", async () => {
  const body = "<?xml version='1.0'?><Error><Code>InvalidObjectState</Code>" +
    "<Message>The operation is not valid for the object's storage class</Message></Error>";
  const plan: ProxyPlan = () => ({ kind: "answer", status: 403, body });
  await throughProxy(plan, async (backend) => {
    await rejectsInWords("archived", () => get(backend, KEY, 1), /restore-archived/);
  });
});

test("a server that answers early and closes TLS in an upload is survived", async () => {
  const authority = await createTestAuthority();
  const front = startTlsFront(authority, async (connection) => {
    await connection.read(new Uint8Array(65_536));
    const answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    await connection.write(new TextEncoder().encode(answer));
  });
  const backend = await openS3({
    endpoint: `https://localhost:${front.port}`,
    caCertPath: authority.caPath,
  });
  await rejects(() => put(backend, KEY, patternBytes(4 * MIB, 11)), (error) => {
    ok(error instanceof StorageError, String(error));
    ok(error.fault === "denied" || error.fault === "unavailable", error.message);
    return true;
  });
  await backend.close();
  await front.close();
  await authority.remove();
});

test("a clock that is an hour wrong is told by the service, and corrected by its answer", async () => {
  const backend = await openS3({ pathPrefix: newPrefix() });
  await put(backend, KEY, patternBytes(10, 12));
  const rightly = Date.now;
  try {
    Date.now = (): number => rightly() + 3_600_000;
    await rejectsInWords("unavailable", () => get(backend, KEY, 10), /clock is wrong/);
    await get(backend, KEY, 10);
  } finally {
    Date.now = rightly;
  }
  await get(backend, KEY, 10).catch(() => get(backend, KEY, 10));
  await backend.delete({ key: KEY });
  await backend.close();
});

test("uploads that a crash left are aborted, a stranger's and a whole object's are not", async () => {
  const raw = s3Client();
  const prefix = `abandoned-${Deno.pid}`;
  const keys = ["d/a,v", "d/b.bin,d/1.1.gz", "d/whole,v", "backup.tar"];
  for (const key of keys) {
    await raw.send(
      new CreateMultipartUploadCommand({ Bucket: S3_BUCKET, Key: `${prefix}/${key}` }),
    );
  }
  const options: S3Options = {
    ...s3Options(),
    pathPrefix: prefix,
  };
  const backend = await openS3(options);
  await put(backend, objectKeyOf("d/whole,v"), patternBytes(10, 13));
  const settings = planCloudSettings(options);
  const { clock } = testTools();
  const transport = await openTransport({
    caCertPath: null,
    hosts: hostRuleFor(settings.endpoint, S3_BUCKET, /^$/),
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
      hasObject: async (key) => await backend.head(objectKeyOf(key)) !== null,
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
      new ListMultipartUploadsCommand({ Bucket: S3_BUCKET, Prefix: `${prefix}/` }),
    );
    return (listed.Uploads ?? []).map(({ Key }) => Key?.slice(prefix.length + 1));
  };
  strictEqual(await run(0), 0, "a day is not over");
  deepStrictEqual((await left()).toSorted(), keys.toSorted());
  strictEqual(await run(2 * 86_400_000), 2);
  deepStrictEqual((await left()).toSorted(), ["backup.tar", "d/whole,v"]);
  await backend.close();
  transport.close();
  raw.destroy();
});

test("objects are encrypted with the key of a key service, and read back", async () => {
  const pathPrefix = newPrefix();
  const kms = { serverSideEncryption: true, kmsKeyId: "testkey-1" };
  const backend = await openS3({ pathPrefix, ...kms });
  for (const sizeBytes of [1_000, 12 * MIB]) {
    await put(backend, KEY, patternBytes(sizeBytes, 41));
    const raw = s3Client();
    const head = await raw.send(
      new HeadObjectCommand({ Bucket: S3_BUCKET, Key: `${pathPrefix}/${KEY}` }),
    );
    raw.destroy();
    strictEqual(head.ServerSideEncryption, "aws:kms");
    strictEqual(head.SSEKMSKeyId, "testkey-1");
    await expectContent(backend, KEY, patternBytes(sizeBytes, 41));
    await backend.delete({ key: KEY });
  }
  await backend.close();
});

test("a version id that S3 refuses, as those of another vendor, leads on to the secondary", async () => {
  const body = "<?xml version='1.0'?><Error><Code>InvalidArgument</Code>" +
    "<Message>Invalid version id specified</Message></Error>";
  let refused = 0;
  const plan: ProxyPlan = ({ target }) => {
    if (!target.includes("versionId=")) return null;
    refused++;
    return { kind: "answer", status: 400, body };
  };
  await throughProxy(plan, (backend) => expectSecondaryServes(backend));
  ok(refused > 0);
});
