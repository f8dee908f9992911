/**
 * Buckets and services that want something else than Amazon's plain bucket: content with its
 * MD5, and requests without If-None-Match; and uploads that stay in their lists.
 */

import { deepStrictEqual, match, rejects, strictEqual } from "node:assert/strict";
import { createHash } from "node:crypto";
import { testTools } from "../../../tests/conformance/cloud_fixture.ts";
import { metadataOf, sourceOf } from "../../../tests/conformance/test_bytes.ts";
import {
  s3ErrorAnswer,
  type S3StandIn,
  startS3StandIn,
} from "../../../tests/support/s3_stand_in.ts";
import { SYSTEM_CLOCK } from "../../core/clock.ts";
import { objectKeyOf } from "../../core/names.ts";
import type { StorageBackend } from "../backend.ts";
import { openS3Backend } from "./s3_backend.ts";

const XML = { headers: { "content-type": "application/xml" } };
const LARGE = new Uint8Array(2 * 5 * 1_048_576).fill(3);

function open(
  server: S3StandIn,
  tools: Parameters<typeof testTools>[0] = {},
): Promise<StorageBackend> {
  return openS3Backend({
    ...{ type: "s3", bucket: "b", accessKey: "a", secretKey: "s", uploadPartMb: 5 },
    endpoint: server.endpoint,
    endpointPin: true,
  }, testTools(tools));
}

async function upload(
  backend: StorageBackend,
  key: string,
  bytes: Uint8Array<ArrayBuffer>,
): Promise<void> {
  const metadata = metadataOf(bytes);
  await backend.upload({ key: objectKeyOf(key), source: sourceOf(bytes), metadata });
}

/** What is the same in each upload in parts. */
function answerParts(method: string, query: URLSearchParams): Response | null {
  if (method === "POST" && query.has("uploads")) {
    const xml = "<UploadId>1</UploadId>";
    return new Response(
      `<InitiateMultipartUploadResult>${xml}</InitiateMultipartUploadResult>`,
      XML,
    );
  }
  if (method === "PUT" && query.has("partNumber")) {
    return new Response(null, { headers: { etag: '"x"' } });
  }
  if (method !== "POST" || !query.has("uploadId")) return null;
  const xml = "<ETag>&quot;z-2&quot;</ETag>";
  return new Response(
    `<CompleteMultipartUploadResult>${xml}</CompleteMultipartUploadResult>`,
    XML,
  );
}

Deno.test("a bucket with a default retention gets each content with its MD5, once it asked", async () => {
  await using server = startS3StandIn("b");
  const digests: (string | null)[] = [];
  server.intercept = ({ method, key, query, headers }) => {
    if (method === "PUT" && key.startsWith("d/")) {
      digests.push(headers.get("content-md5"));
    }
    if (method === "PUT" && !headers.has("content-md5")) {
      const what = query.has("partNumber") ? "Part" : "Object";
      return s3ErrorAnswer(
        400,
        "InvalidRequest",
        `Content-MD5 OR x-amz-checksum- HTTP header is required for Put ${what} requests ` +
          "with Object Lock parameters",
      );
    }
    return answerParts(method, query);
  };
  const backend = await open(server);
  const small = new TextEncoder().encode("1.1");
  await upload(backend, "d/a,v", small);
  await upload(backend, "d/b,v", LARGE);
  const md5 = (bytes: Uint8Array): string =>
    createHash("md5").update(bytes).digest("base64");
  const part = md5(LARGE.subarray(0, 5 * 1_048_576));
  // The probe, which came first, was the one that was refused.
  deepStrictEqual(digests, [md5(small), part, part]);
  await backend.close();
});

Deno.test("a part is sent again with its MD5 to a bucket that asks for it there first", async () => {
  await using server = startS3StandIn("b");
  let refused = 0;
  server.intercept = ({ method, query, headers }) => {
    if (method === "PUT" && query.has("partNumber") && !headers.has("content-md5")) {
      refused += 1;
      return s3ErrorAnswer(400, "MissingContentMD5", "Missing required header");
    }
    return answerParts(method, query);
  };
  const backend = await open(server);
  await upload(backend, "d/b,v", LARGE);
  // Of two parts that may be under way together.
  strictEqual(refused >= 1 && refused <= 2, true, `${refused} refused`);
  await backend.close();
});

Deno.test("a service without If-None-Match gets none, and each key is looked at", async () => {
  await using server = startS3StandIn("b");
  let refused = 0;
  server.intercept = ({ method, headers, query }) => {
    if (headers.has("if-none-match")) {
      refused += 1;
      return s3ErrorAnswer(
        501,
        "NotImplemented",
        "A header you provided implies functionality that is not implemented.",
      );
    }
    return answerParts(method, query);
  };
  const warnings: string[] = [];
  const backend = await open(server, { onWarning: (it) => warnings.push(it) });
  const small = new TextEncoder().encode("1.1");
  await upload(backend, "a,v", small);
  strictEqual(server.objects.has("a,v"), true);
  await upload(backend, "b,v", LARGE);
  await rejects(() => upload(backend, "a,v", small), { fault: "precondition" });
  strictEqual(refused, 1, "the probe alone has the header");
  match(warnings.join("\n"), /does not know If-None-Match/);
  await backend.close();
});

Deno.test("an upload that is listed although its object is there is not aborted", async () => {
  await using server = startS3StandIn("b");
  const aborted: string[] = [];
  let listed = 0;
  const { promise: isDone, resolve: onDone } = Promise.withResolvers<string>();
  server.intercept = ({ method, key, query }) => {
    if (method === "GET" && query.has("uploads")) {
      listed += 1;
      const uploads = ["whole,v", "left,v"].map((it) =>
        `<Upload><Key>${it}</Key><UploadId>u-${it}</UploadId>` +
        "<Initiated>2024-01-01T00:00:00.000Z</Initiated></Upload>"
      );
      const xml = `<IsTruncated>false</IsTruncated>${uploads.join("")}`;
      return new Response(
        `<ListMultipartUploadsResult>${xml}</ListMultipartUploadsResult>`,
        XML,
      );
    }
    if (method !== "DELETE" || !query.has("uploadId")) return null;
    aborted.push(key);
    return new Response(null, { status: 204 });
  };
  let ageMs = 3_599_000;
  const clock = { ...SYSTEM_CLOCK, monotonicMs: (): number => ageMs };
  const backend = await open(server, { clock, onWarning: onDone });
  await upload(backend, "whole,v", new Uint8Array(3));
  strictEqual(listed, 0, "what a process before this one asked for may be under way");
  ageMs = 3_600_000;
  await upload(backend, "other,v", new Uint8Array(3));
  match(await isDone, /aborted 1 uploads/);
  deepStrictEqual(aborted, ["left,v"]);
  await upload(backend, "another,v", new Uint8Array(3));
  strictEqual(listed, 1, "once a day");
  await backend.close();
});
