/** The contract, asked of a real S3 server: see s3_site.ts. */

import { type OpenStore, testBackend } from "./backend_suite.ts";
import { CLOUD_EDGE_BYTES, emptied } from "./cloud_fixture.ts";
import { MIB } from "./contract_tools.ts";
import { makeBucket, newPrefix, openS3, S3_SKIP } from "./s3_site.ts";

testBackend({
  name: "s3",
  skip: S3_SKIP,
  largeBytes: 37 * MIB + 5,
  edgeBytes: CLOUD_EDGE_BYTES,
  listedCount: 1_100,
  async open(): Promise<OpenStore> {
    await makeBucket();
    const pathPrefix = newPrefix();
    const backend = await openS3({ pathPrefix, restoreChunkThresholdMb: 20 });
    const prefixBytes = pathPrefix.length + 1;
    return { backend, prefixBytes, close: () => emptied(backend) };
  },
});
