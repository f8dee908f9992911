/**
 * The licence's watermark and our name reach every object and request of every cloud store,
 * of a small upload and of one in parts; where there is none, nothing is added.
 */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { testTools } from "../../tests/conformance/cloud_fixture.ts";
import { createTestAccount } from "../../tests/conformance/gcs_account.ts";
import {
  metadataOf,
  patternBytes,
  sourceOf,
} from "../../tests/conformance/test_bytes.ts";
import { objectKeyOf } from "../core/names.ts";
import type { StorageBackend } from "./backend.ts";
import type { BackendOptions, BackendTools } from "./backend_options.ts";
import { openBackend } from "./open_backend.ts";

const KEY = objectKeyOf("a,v");
const WATERMARK = { p4cachelicense: "studio-42" };
const MIB = 1_048_576;
const DIRECTORY = await Deno.makeTempDir();
globalThis.addEventListener("unload", () => {
  Deno.removeSync(DIRECTORY, { recursive: true });
});

interface Seen {
  readonly method: string;
  readonly target: string;
  readonly headers: Headers;
  readonly body: string;
}

/** Says yes to every upload, as each vendor does. */
function agree({ method, target, body }: Seen, origin: string): Response {
  if (target.startsWith("/token")) {
    return Response.json({ "access_token": "t", "expires_in": 3_600 });
  }
  if (target.startsWith("/upload/")) {
    const object = { name: "a,v", size: String(body.length), generation: "1" };
    const location = `${origin}/upload/session?upload_id=1`;
    if (target.includes("uploadType=resumable")) {
      return new Response(null, { status: 200, headers: { location } });
    }
    // Without an MD5 the object is refused then, which is no matter here.
    return Response.json(object);
  }
  if (target.includes("uploads")) {
    const xml = method === "POST"
      ? "<InitiateMultipartUploadResult><UploadId>1</UploadId>" +
        "</InitiateMultipartUploadResult>"
      : "<ListMultipartUploadsResult></ListMultipartUploadsResult>";
    return new Response(xml, { headers: { "content-type": "application/xml" } });
  }
  // The bucket is there, the object is not.
  if (method === "HEAD") {
    return new Response(null, { status: /a(?:,|%2C)v/.test(target) ? 404 : 200 });
  }
  const isDone = target.includes("uploadId=1") && method === "POST";
  const xml = isDone
    ? '<CompleteMultipartUploadResult><ETag>"e"</ETag></CompleteMultipartUploadResult>'
    : null;
  return new Response(xml, { status: isDone ? 200 : 201, headers: { etag: '"e"' } });
}

async function uploadOf(
  sizeBytes: number,
  optionsFor: (origin: string) => Promise<BackendOptions>,
  tools: Partial<BackendTools>,
): Promise<readonly Seen[]> {
  const seen: Seen[] = [];
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: (): void => {} },
    async (request) => {
      const { pathname, search, origin } = new URL(request.url);
      const { method, headers } = request;
      const body = await request.text();
      seen.push({ method, headers, body, target: pathname + search });
      return agree(seen.at(-1)!, origin);
    },
  );
  const origin = `http://127.0.0.1:${server.addr.port}`;
  const backend: StorageBackend = await openBackend(
    await optionsFor(origin),
    testTools(tools),
  );
  const bytes = patternBytes(sizeBytes, 1);
  const source = sourceOf(bytes);
  await backend.upload({ key: KEY, source, metadata: metadataOf(bytes) }).catch(() => {});
  await backend.close();
  await server.shutdown();
  return seen;
}

const VENDORS: Readonly<Record<string, (origin: string) => Promise<BackendOptions>>> = {
  s3: (endpoint) =>
    Promise.resolve({
      ...{ type: "s3", bucket: "b", accessKey: "a", secretKey: "s", uploadPartMb: 5 },
      endpoint,
      endpointPin: true,
    }),
  azure: (origin) =>
    Promise.resolve({
      ...{ type: "azure", container: "c", accountName: "a", accountKey: "aw==" },
      endpoint: `${origin}/a`,
      endpointPin: true,
      uploadPartMb: 5,
    }),
  gcs: async (endpoint) => {
    const credentialsFile = `${DIRECTORY}/account.json`;
    await createTestAccount().writeFile(credentialsFile, `${endpoint}/token`);
    const file = { type: "gcs", bucket: "b", credentialsFile } as const;
    return { ...file, endpoint, endpointPin: true, uploadPartMb: 5 };
  },
};

/** What the request that makes the object says of itself; Google says it in its body. */
function isMarked({ headers, body, target }: Seen): boolean {
  const marks = ["x-amz-meta-p4cachelicense", "x-ms-meta-p4cachelicense"];
  return marks.some((name) => headers.get(name) === "studio-42") ||
    (target.startsWith("/upload/") && body.includes('"p4cachelicense":"studio-42"'));
}

for (const [vendor, optionsFor] of Object.entries(VENDORS)) {
  for (const sizeBytes of [100, 6 * MIB]) {
    Deno.test({
      name: `${vendor} marks an upload of ${sizeBytes} bytes, and names us`,
      // Both ends are in this process: one may see the other's end a moment later.
      sanitizeOps: false,
      sanitizeResources: false,
      async fn(): Promise<void> {
        const userAgent = "p4-cache/1.2.3 studio-42";
        const seen = await uploadOf(sizeBytes, optionsFor, {
          watermark: WATERMARK,
          userAgent,
        });
        ok(seen.length >= 1);
        strictEqual(seen.filter(isMarked).length, 1, "the one that makes the object");
        for (const { headers, target } of seen) {
          if (target.startsWith("/token")) continue;
          ok(headers.get("user-agent")?.includes("p4-cache/1.2.3"), target);
        }
        const plain = await uploadOf(sizeBytes, optionsFor, { watermark: {} });
        deepStrictEqual(plain.filter(isMarked), []);
      },
    });
  }
}
