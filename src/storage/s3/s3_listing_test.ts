/**
 * Pages of a listing that do not say what they must: a list that ends early without an error
 * makes objects look as if they were gone, and uploads that a crash left as if there were none.
 */

import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { testTools } from "../../../tests/conformance/cloud_fixture.ts";
import { rejectsAs } from "../../../tests/conformance/contract_tools.ts";
import { NO_METADATA, sourceOf } from "../../../tests/conformance/test_bytes.ts";
import { startS3StandIn } from "../../../tests/support/s3_stand_in.ts";
import { SYSTEM_CLOCK } from "../../core/clock.ts";
import { objectKeyOf } from "../../core/names.ts";
import { openS3Backend } from "./s3_backend.ts";

/** A page as the first version of the listing has it, with the key of a file. */
function page(more: string): string {
  return '<?xml version="1.0"?><ListBucketResult xmlns=' +
    '"http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix></Prefix><Marker>' +
    `</Marker><MaxKeys>1</MaxKeys><IsTruncated>true</IsTruncated>${more}<Contents>` +
    "<Key>a,v</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>" +
    '<ETag>"x"</ETag><Size>1</Size></Contents></ListBucketResult>';
}

const NAMELESS = {
  "without a token": "",
  "with the marker of the first version": "<NextMarker>a,v</NextMarker>",
  "with an empty token": "<NextContinuationToken></NextContinuationToken>",
};
for (const [which, more] of Object.entries(NAMELESS)) {
  Deno.test(`a page of S3 that is not the last, ${which}, is an error`, async () => {
    await using server = startS3StandIn("b");
    const headers = { "content-type": "application/xml" };
    server.intercept = () => new Response(page(more), { headers });
    const backend = await openS3Backend({
      ...{ type: "s3", bucket: "b", accessKey: "a", secretKey: "s" },
      endpoint: server.endpoint,
      endpointPin: true,
    }, testTools());
    const keys: string[] = [];
    await rejectsAs("invalid", async () => {
      for await (const { key } of backend.list("")) keys.push(key);
    });
    deepStrictEqual(keys, []);
    strictEqual(server.requests.length, 1);
    await backend.close();
  });
}

function begunPage(next: string): string {
  return '<?xml version="1.0"?><ListMultipartUploadsResult xmlns=' +
    '"http://s3.amazonaws.com/doc/2006-03-01/"><Bucket>b</Bucket><MaxUploads>1' +
    `</MaxUploads><IsTruncated>true</IsTruncated>${next}<Upload><Key>a,v</Key>` +
    "<UploadId>1</UploadId><Initiated>2024-01-01T00:00:00.000Z</Initiated></Upload>" +
    "</ListMultipartUploadsResult>";
}

const MARKERS =
  "<NextKeyMarker>a,v</NextKeyMarker><NextUploadIdMarker>1</NextUploadIdMarker>";
const LOST = [
  { which: "without a marker", next: "", pages: 1 },
  { which: "with an empty marker", next: "<NextKeyMarker></NextKeyMarker>", pages: 1 },
  { which: "with the marker that it was asked with", next: MARKERS, pages: 2 },
];
for (const { which, next, pages } of LOST) {
  Deno.test(`a page of begun uploads that is not the last, ${which}, is said to be wrong`, async () => {
    await using server = startS3StandIn("b");
    const headers = { "content-type": "application/xml" };
    let asked = 0;
    server.intercept = ({ method, query }) => {
      if (!query.has("uploads") || method !== "GET") return null;
      asked += 1;
      return new Response(begunPage(next), { headers });
    };
    // It is looked for once the process is an hour old.
    const clock = { ...SYSTEM_CLOCK, monotonicMs: () => 3_600_000 + performance.now() };
    const { promise: warned, resolve: onWarning } = Promise.withResolvers<string>();
    const backend = await openS3Backend({
      ...{ type: "s3", bucket: "b", accessKey: "a", secretKey: "s" },
      endpoint: server.endpoint,
      endpointPin: true,
    }, testTools({ onWarning, clock }));
    const bytes = new TextEncoder().encode("1.1");
    await backend.upload({
      key: objectKeyOf("b,v"),
      source: sourceOf(bytes),
      metadata: NO_METADATA,
    });
    match(
      await warned,
      /cannot look for uploads .*there are more uploads, and not where/,
    );
    strictEqual(asked, pages);
    await backend.close();
  });
}
