/**
 * S3 behind nginx, as many studios run it: TLS with an authority of one's own, answers that
 * are slow, cut by a worker that dies, refused or redirected by nginx itself.
 */

import { ok, rejects, strictEqual } from "node:assert/strict";
import { StorageError, type StorageFault } from "../../src/storage/storage_error.ts";
import { type Nginx, startNginx } from "../support/nginx.ts";
import { type OpenStore, testBackend } from "./backend_suite.ts";
import { emptied } from "./cloud_fixture.ts";
import { expectContent, MIB, put } from "./contract_tools.ts";
import { startFaultProxy } from "./fault_proxy.ts";
import { everyRequest, HTTP_KEY as KEY, PARTS_BYTES } from "./http_site.ts";
import { makeBucket, newPrefix, openS3, S3_ENDPOINT, S3_SKIP } from "./s3_site.ts";
import { MemoryTarget, patternBytes } from "./test_bytes.ts";
import { createTestAuthority, type TestAuthority } from "./tls_front.ts";

interface Fronts {
  readonly nginx: Nginx;
  readonly authority: TestAuthority;
  /** Everything goes to the server, by TLS. */
  readonly tls: string;
  /** 4 MB a second for each connection. */
  readonly slow: string;
  /** As Debian's nginx comes: bodies up to 1 MiB. */
  readonly narrow: string;
  /** 307 to another host. */
  readonly redirecting: string;
  /** The server behind it is gone. */
  readonly orphaned: string;
  close(): Promise<void>;
}

async function startFronts(elsewhere = "http://127.0.0.1:1"): Promise<Fronts> {
  const authority = await createTestAuthority();
  const work = await Deno.makeTempDir({ prefix: "p4cache-nginx-" });
  const pass = (to: string): string => `
      proxy_pass ${to};
      proxy_set_header Host $http_host;
      proxy_http_version 1.1;`;
  const nginx = await startNginx({
    work,
    portCount: 5,
    http: ([tls, slow, narrow, redirecting, orphaned]) => `
  server {
    listen 127.0.0.1:${tls} ssl;
    ssl_certificate ${authority.certificatePath};
    ssl_certificate_key ${authority.keyPath};
    client_max_body_size 0;
    proxy_request_buffering off;
    # Many connections end while others wait for them.
    keepalive_requests 7;
    location / { ${pass(S3_ENDPOINT!)} }
  }
  server {
    listen 127.0.0.1:${slow};
    client_max_body_size 0;
    limit_rate 4m;
    location / { ${pass(S3_ENDPOINT!)} }
  }
  server {
    listen 127.0.0.1:${narrow};
    location / { ${pass(S3_ENDPOINT!)} }
  }
  server {
    listen 127.0.0.1:${redirecting};
    return 307 ${elsewhere}$request_uri;
  }
  server {
    listen 127.0.0.1:${orphaned};
    location / { ${pass("http://127.0.0.1:1")} }
  }`,
  });
  const at = (index: number): string => `http://127.0.0.1:${nginx.ports[index]}`;
  return {
    nginx,
    authority,
    tls: `https://localhost:${nginx.ports[0]}`,
    slow: at(1),
    narrow: at(2),
    redirecting: at(3),
    orphaned: at(4),
    async close(): Promise<void> {
      await nginx.close();
      await authority.remove();
      await Deno.remove(work, { recursive: true });
    },
  };
}

let shared: Fronts | null = null;

if (S3_SKIP === null) {
  Deno.test.beforeAll(async () => void (shared = await startFronts()));
  Deno.test.afterAll(async () => await shared!.close());
}

testBackend({
  name: "s3 behind nginx with TLS",
  skip: S3_SKIP,
  largeBytes: 37 * MIB + 5,
  listedCount: 300,
  async open(): Promise<OpenStore> {
    await makeBucket();
    const pathPrefix = newPrefix();
    const backend = await openS3({
      endpoint: shared!.tls,
      caCertPath: shared!.authority.caPath,
      pathPrefix,
      restoreChunkThresholdMb: 20,
    });
    const prefixBytes = pathPrefix.length + 1;
    return { backend, prefixBytes, close: () => emptied(backend) };
  },
});

function test(sentence: string, body: () => Promise<void>): void {
  Deno.test({
    name: `s3: ${sentence}`,
    ignore: S3_SKIP !== null,
    // Both ends are in this process: one may see the other's end a moment later.
    sanitizeResources: false,
    sanitizeOps: false,
    async fn(): Promise<void> {
      await makeBucket();
      await body();
    },
  });
}

async function rejectsAs(
  fault: StorageFault,
  words: RegExp,
  request: () => Promise<unknown>,
): Promise<void> {
  await rejects(request, (error) => {
    ok(error instanceof StorageError, `a StorageError is wanted, not ${error}`);
    strictEqual(error.fault, fault, error.message);
    ok(words.test(error.message), error.message);
    return true;
  });
}

test("a slow nginx is waited for, and one whose worker dies is asked again", async () => {
  const fronts = await startFronts();
  const pathPrefix = newPrefix();
  const backend = await openS3({
    endpoint: fronts.slow,
    pathPrefix,
    restoreChunkThresholdMb: 0,
  });
  const bytes = patternBytes(PARTS_BYTES, 1);
  await put(backend, KEY, bytes);
  await expectContent(backend, KEY, bytes);

  let killCount = 0;
  const target = new (class extends MemoryTarget {
    override async write(piece: Uint8Array, offset: number): Promise<void> {
      if (offset === MIB || offset === 9 * MIB) {
        killCount += 1;
        await killWorker(fronts.nginx.pid);
      }
      await super.write(piece, offset);
    }
  })();
  await backend.download({ key: KEY, target, sizeBytes: bytes.length });
  target.expect(bytes);
  ok(killCount >= 1, "a worker was killed while it sent");
  await emptied(backend);
  await fronts.close();
});

async function killWorker(master: number): Promise<void> {
  const path = `/proc/${master}/task/${master}/children`;
  const worker = Number((await Deno.readTextFile(path)).trim().split(" ")[0]);
  Deno.kill(worker, "SIGKILL");
}

test("what nginx itself answers is told as what it is", async () => {
  const elsewhere = startFaultProxy(S3_ENDPOINT!, () => null);
  const fronts = await startFronts(elsewhere.origin);
  const pathPrefix = newPrefix();
  const redirected = await openS3({ endpoint: fronts.redirecting, pathPrefix });
  for (const request of everyRequest(redirected)) {
    await rejectsAs("invalid", /./, request);
  }
  strictEqual(elsewhere.requests.length, 0);
  const orphaned = await openS3({ endpoint: fronts.orphaned, pathPrefix });
  for (const request of everyRequest(orphaned)) {
    await rejectsAs("unavailable", /502/, request);
  }
  const narrow = await openS3({ endpoint: fronts.narrow, pathPrefix });
  await rejectsAs("invalid", /413/, () => put(narrow, KEY, patternBytes(2 * MIB, 2)));
  strictEqual(await narrow.head(KEY), null);
  for (const backend of [redirected, orphaned, narrow]) await backend.close();
  await fronts.close();
  await elsewhere.close();
});
