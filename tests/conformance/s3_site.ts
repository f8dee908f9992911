/**
 * The S3 server of the tests: scripts/emulators/radosgw.sh starts one and prints the
 * settings that are read here.
 *
 * @module
 */

import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import type { StorageBackend } from "../../src/storage/backend.ts";
import type { S3Options } from "../../src/storage/backend_options.ts";
import { openS3Backend } from "../../src/storage/s3/s3_backend.ts";
import { emptied, testTools } from "./cloud_fixture.ts";
import type { HttpFixture, HttpOptions, HttpSite } from "./http_site.ts";

export const S3_ENDPOINT = Deno.env.get("P4CACHE_TEST_S3_ENDPOINT") ?? null;
export const S3_BUCKET = Deno.env.get("P4CACHE_TEST_S3_BUCKET") ?? "p4cache-test";
const accessKey = Deno.env.get("P4CACHE_TEST_S3_ACCESS_KEY") ?? "";
const secretKey = Deno.env.get("P4CACHE_TEST_S3_SECRET_KEY") ?? "";

export const S3_SKIP = S3_ENDPOINT === null
  ? "no S3 server; scripts/emulators/run_conformance.sh starts one"
  : null;

let openCount = 0;

/** A prefix that no other test has. */
export function newPrefix(): string {
  openCount += 1;
  return `run-${Deno.pid}-${openCount}`;
}

export function s3Options(): S3Options {
  return {
    type: "s3",
    endpoint: S3_ENDPOINT,
    endpointPin: true,
    bucket: S3_BUCKET,
    accessKey,
    secretKey,
    uploadPartMb: 5,
  };
}

export async function openS3(
  more: Partial<S3Options> = {},
  tools: Parameters<typeof testTools>[0] = {},
): Promise<StorageBackend> {
  return await openS3Backend({ ...s3Options(), ...more }, testTools(tools));
}

export function s3Client(): S3Client {
  return new S3Client({
    endpoint: S3_ENDPOINT!,
    region: "us-east-1",
    forcePathStyle: true,
    credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
  });
}

let bucket: Promise<void> | null = null;

/** Once a run; it may be there from an earlier one. */
export function makeBucket(): Promise<void> {
  return bucket ??= (async (): Promise<void> => {
    const client = s3Client();
    await client.send(new CreateBucketCommand({ Bucket: S3_BUCKET }));
    client.destroy();
  })();
}

export const S3_HTTP: HttpFixture = {
  name: "s3",
  skip: S3_SKIP,
  async start(): Promise<HttpSite> {
    await makeBucket();
    const pathPrefix = newPrefix();
    const open = (
      endpoint: string,
      { clock, ...options }: HttpOptions = {},
    ): Promise<StorageBackend> =>
      openS3(
        { endpoint, pathPrefix, restoreChunkThresholdMb: 0, ...options },
        clock === undefined ? {} : { clock },
      );
    return {
      origin: S3_ENDPOINT!,
      prefix: `${pathPrefix}/`,
      open,
      close: async () => await emptied(await open(S3_ENDPOINT!)),
    };
  },
  needsLength: false,
  isContent: ({ method, target }) => method === "GET" && target.includes("/a/b%2Cv"),
  isCommit: ({ method, target }) =>
    target.includes("/a/b%2Cv") &&
    (method === "PUT" ? !target.includes("uploadId=") : target.includes("uploadId=")),
  isPart: ({ method, target }) => method === "PUT" && target.includes("partNumber="),
  pageOf: (keys, nextPage) =>
    `<?xml version="1.0"?><ListBucketResult><IsTruncated>${nextPage !== null}` +
    "</IsTruncated>" +
    (nextPage === null
      ? ""
      : `<NextContinuationToken>${nextPage}</NextContinuationToken>`) +
    keys.map((key) =>
      `<Contents><Key>${key}</Key><Size>5</Size><ETag>"e"</ETag></Contents>`
    )
      .join("") +
    "</ListBucketResult>",
};
