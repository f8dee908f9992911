/**
 * The contract, asked of the stand-in for Google Cloud Storage in gcs_server.ts; with
 * P4CACHE_TEST_GCS_ENDPOINT, P4CACHE_TEST_GCS_BUCKET and P4CACHE_TEST_GCS_CREDENTIALS of
 * the service itself, or of another emulator.
 */

import { openGcsBackend } from "../../src/storage/gcs/gcs_backend.ts";
import { type OpenStore, testBackend } from "./backend_suite.ts";
import { emptied, testTools } from "./cloud_fixture.ts";
import { createTestAccount } from "./gcs_account.ts";
import { startGcsServer } from "./gcs_server.ts";

const external = Deno.env.get("P4CACHE_TEST_GCS_ENDPOINT") ?? null;
const bucket = Deno.env.get("P4CACHE_TEST_GCS_BUCKET") ?? "p4cache-test";
const MIB = 1_048_576;

const account = createTestAccount();
let openCount = 0;

testBackend({
  name: "gcs",
  largeBytes: 37 * MIB + 5,
  listedCount: 1_100,
  async open(): Promise<OpenStore> {
    openCount += 1;
    const { publicKey } = account;
    const server = external === null ? startGcsServer({ bucket, publicKey }) : null;
    const directory = await Deno.makeTempDir({ prefix: "p4cache-gcs-" });
    const ownFile = `${directory}/account.json`;
    await account.writeFile(ownFile, `${server?.endpoint}/token`);
    const backend = await openGcsBackend({
      type: "gcs",
      endpoint: external ?? server!.endpoint,
      endpointPin: true,
      bucket,
      credentialsFile: Deno.env.get("P4CACHE_TEST_GCS_CREDENTIALS") ?? ownFile,
      pathPrefix: `run-${Deno.pid}-${openCount}`,
      uploadPartMb: 5,
      restoreChunkThresholdMb: 20,
    }, testTools());
    const close = async (): Promise<void> => {
      await emptied(backend);
      await server?.close();
      await Deno.remove(directory, { recursive: true });
    };
    return { backend, close };
  },
});
