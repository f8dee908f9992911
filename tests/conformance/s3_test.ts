/**
 * The contract, asked of a real S3 server: scripts/emulators/radosgw.sh starts one and
 * prints the settings that are read here.
 */

import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import type { S3Options } from "../../src/storage/backend_options.ts";
import { openS3Backend } from "../../src/storage/s3/s3_backend.ts";
import { type OpenStore, testBackend } from "./backend_suite.ts";
import { emptied, testTools } from "./cloud_fixture.ts";

const endpoint = Deno.env.get("P4CACHE_TEST_S3_ENDPOINT") ?? null;
const accessKey = Deno.env.get("P4CACHE_TEST_S3_ACCESS_KEY") ?? "";
const secretKey = Deno.env.get("P4CACHE_TEST_S3_SECRET_KEY") ?? "";
const bucket = Deno.env.get("P4CACHE_TEST_S3_BUCKET") ?? "p4cache-test";
const MIB = 1_048_576;

let isBucketMade = false;
let openCount = 0;

/** Once a run; it may be there from an earlier one. */
async function makeBucket(): Promise<void> {
  if (isBucketMade) return;
  const client = new S3Client({
    endpoint: endpoint!,
    region: "us-east-1",
    forcePathStyle: true,
    credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
  });
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
  client.destroy();
  isBucketMade = true;
}

function optionsFor(prefix: string): S3Options {
  return {
    type: "s3",
    endpoint,
    endpointPin: true,
    bucket,
    accessKey,
    secretKey,
    pathPrefix: prefix,
    uploadPartMb: 5,
    restoreChunkThresholdMb: 20,
  };
}

testBackend({
  name: "s3",
  skip: endpoint === null
    ? "no S3 server; scripts/emulators/run_conformance.sh starts one"
    : null,
  largeBytes: 37 * MIB + 5,
  listedCount: 1_100,
  async open(): Promise<OpenStore> {
    await makeBucket();
    openCount += 1;
    const prefix = `run-${Deno.pid}-${openCount}`;
    const backend = await openS3Backend(optionsFor(prefix), testTools());
    return { backend, close: () => emptied(backend) };
  },
});
