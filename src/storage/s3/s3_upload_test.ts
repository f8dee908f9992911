/**
 * Uploads in parts to a service that is short of breath: what is begun, sent again, and given
 * up, counted at the stand-in.
 */

import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { testTools } from "../../../tests/conformance/cloud_fixture.ts";
import { FakeClock } from "../../../tests/conformance/fake_clock.ts";
import { NO_METADATA } from "../../../tests/conformance/test_bytes.ts";
import { s3ErrorAnswer, startS3StandIn } from "../../../tests/support/s3_stand_in.ts";
import { objectKeyOf } from "../../core/names.ts";
import type { ObjectInfo, OnResend } from "../backend.ts";
import { DEFAULT_RETRY_POLICY, withRetry } from "../retrying_backend.ts";
import { openS3Backend } from "./s3_backend.ts";

const PARTS = 20;
const PART_BYTES = 5 * 1_048_576;
const XML = { headers: { "content-type": "application/xml" } };

interface Counts {
  begun: number;
  sent: number;
  aborted: number;
}

/** Uploads 20 parts; `fault` may answer the n-th request with one of them, from 1. */
async function uploadInParts(
  fault: (sentCount: number) => Response | null,
  onResend: OnResend = (): Promise<void> => Promise.resolve(),
): Promise<{ counts: Counts; outcome: Promise<ObjectInfo> }> {
  await using server = startS3StandIn("b");
  const counts = { begun: 0, sent: 0, aborted: 0 };
  server.intercept = ({ method, key, query }): Response | null => {
    if (method === "POST" && query.has("uploads")) {
      counts.begun += 1;
      const names =
        `<Bucket>b</Bucket><Key>${key}</Key><UploadId>${counts.begun}</UploadId>`;
      const xml =
        `<InitiateMultipartUploadResult>${names}</InitiateMultipartUploadResult>`;
      return new Response(xml, XML);
    }
    if (method === "PUT" && query.has("partNumber")) {
      counts.sent += 1;
      return fault(counts.sent) ?? new Response(null, { headers: { etag: '"x"' } });
    }
    if (method === "POST" && query.has("uploadId")) {
      const etag = "<ETag>&quot;z-20&quot;</ETag>";
      const xml =
        `<CompleteMultipartUploadResult>${etag}</CompleteMultipartUploadResult>`;
      return new Response(xml, XML);
    }
    if (method === "DELETE" && query.has("uploadId")) {
      counts.aborted += 1;
      return new Response(null, { status: 204 });
    }
    return null;
  };
  const retry = {
    policy: DEFAULT_RETRY_POLICY,
    clock: new FakeClock(),
    random: Math.random,
  };
  const backend = withRetry(
    await openS3Backend({
      ...{ type: "s3", bucket: "b", accessKey: "a", secretKey: "s", uploadPartMb: 5 },
      endpoint: server.endpoint,
      endpointPin: true,
    }, testTools({ retry })),
    retry.policy,
    retry.clock,
    retry.random,
  );
  const source = {
    sizeBytes: PARTS * PART_BYTES,
    read: (buffer: Uint8Array): Promise<number> => Promise.resolve(buffer.length),
  };
  const key = objectKeyOf("x,v");
  const outcome = backend.upload({ key, source, metadata: NO_METADATA, onResend });
  await outcome.catch(() => {});
  await backend.close();
  return { counts, outcome };
}

function slowDown(): Response {
  return s3ErrorAnswer(503, "SlowDown", "Please reduce your request rate.");
}

Deno.test("an upload in parts outlives a store that refuses one request of 17", async () => {
  const { counts, outcome } = await uploadInParts((n) =>
    n % 17 === 0 ? slowDown() : null
  );
  strictEqual((await outcome).etag, '"z-20"');
  deepStrictEqual(counts, { begun: 1, sent: PARTS + 1, aborted: 0 });
});

Deno.test("a limit of bandwidth is told of each part that is sent again", async () => {
  const told: number[] = [];
  const { counts, outcome } = await uploadInParts(
    (n) => n % 7 === 0 ? slowDown() : null,
    (sizeBytes) => Promise.resolve(void told.push(sizeBytes)),
  );
  await outcome;
  ok(told.length >= 2, `${told.length} told`);
  deepStrictEqual(told, Array(counts.sent - PARTS).fill(PART_BYTES));
});

Deno.test("a store that refuses every part is asked for four parts, and aborted once", async () => {
  const { counts, outcome } = await uploadInParts(slowDown);
  await rejects(() => outcome, { fault: "throttled", isTransient: false });
  ok(counts.sent >= 4 && counts.sent <= 16, `${counts.sent} sent`);
  deepStrictEqual([counts.begun, counts.aborted], [1, 1]);
});

Deno.test("an upload in parts that is gone is begun anew, and its parts are not sent again", async () => {
  const gone = (): Response =>
    s3ErrorAnswer(404, "NoSuchUpload", "The specified upload does not exist.");
  const { counts, outcome } = await uploadInParts((n) => n === 1 ? gone() : null);
  strictEqual((await outcome).etag, '"z-20"');
  deepStrictEqual([counts.begun, counts.aborted], [2, 1]);
  ok(counts.sent > PARTS && counts.sent <= PARTS + 4, `${counts.sent} sent`);
});
