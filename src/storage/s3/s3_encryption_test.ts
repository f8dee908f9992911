/**
 * What new objects are asked to be: encryption and storage class, in the headers that S3
 * documents, of a small upload and of one in parts.
 */

import { deepStrictEqual } from "node:assert/strict";
import { testTools } from "../../../tests/conformance/cloud_fixture.ts";
import {
  metadataOf,
  patternBytes,
  sourceOf,
} from "../../../tests/conformance/test_bytes.ts";
import { startS3StandIn } from "../../../tests/support/s3_stand_in.ts";
import { objectKeyOf } from "../../core/names.ts";
import type { S3Options } from "../backend_options.ts";
import { openS3Backend } from "./s3_backend.ts";

const MIB = 1_048_576;
const NAMES = [
  "x-amz-server-side-encryption",
  "x-amz-server-side-encryption-aws-kms-key-id",
  "x-amz-storage-class",
];

/** The headers above, of the request that makes the object. */
async function askedFor(
  sizeBytes: number,
  options: Partial<S3Options>,
): Promise<(string | null)[]> {
  await using server = startS3StandIn("b");
  const { endpoint } = server;
  const backend = await openS3Backend({
    ...{ type: "s3", bucket: "b", accessKey: "a", secretKey: "s", uploadPartMb: 5 },
    endpoint,
    endpointPin: true,
    ...options,
  }, testTools());
  const bytes = patternBytes(sizeBytes, 1);
  const key = objectKeyOf("a,v");
  const request = { key, source: sourceOf(bytes), metadata: metadataOf(bytes) };
  // The stand-in knows no parts: what it is asked is all that is looked at.
  await backend.upload(request).catch(() => {});
  await backend.close();
  const made = server.requests.filter((it) => it.key === "a,v").find((
    { method, query },
  ) => method === "PUT" || (method === "POST" && query.has("uploads")));
  return NAMES.map((name) => made!.headers.get(name));
}

Deno.test("uploads ask for the encryption and the class that are configured", async () => {
  for (const sizeBytes of [10, 6 * MIB]) {
    deepStrictEqual(await askedFor(sizeBytes, {}), [null, null, null]);
    const sse = { serverSideEncryption: true };
    deepStrictEqual(await askedFor(sizeBytes, sse), ["AES256", null, null]);
    const kms = { ...sse, kmsKeyId: "arn:aws:kms:eu-central-1:1:key/k" };
    deepStrictEqual(
      await askedFor(sizeBytes, { ...kms, storageClass: "INTELLIGENT_TIERING" }),
      ["aws:kms", "arn:aws:kms:eu-central-1:1:key/k", "INTELLIGENT_TIERING"],
    );
  }
});
