/**
 * The contract, asked of the stand-in for Google Cloud Storage in gcs_server.ts; with
 * P4CACHE_TEST_GCS_ENDPOINT, P4CACHE_TEST_GCS_BUCKET and P4CACHE_TEST_GCS_CREDENTIALS of
 * the service itself, or of another emulator; and of fake-gcs-server where
 * scripts/emulators/fake_gcs.sh started one.
 */

import { openGcsBackend } from "../../src/storage/gcs/gcs_backend.ts";
import { type OpenStore, testBackend } from "./backend_suite.ts";
import { CLOUD_EDGE_BYTES, emptied, testTools } from "./cloud_fixture.ts";
import { createTestAccount } from "./gcs_account.ts";
import { startGcsServer } from "./gcs_server.ts";

const MIB = 1_048_576;

interface Service {
  /** Null: a stand-in of its own for each test. */
  readonly endpoint: string | null;
  readonly bucket: string;
  /** Null: the account of the stand-in, which gives the tokens. */
  readonly credentialsFile: string | null;
  readonly notAsked?: Readonly<Record<string, string>>;
}

const account = createTestAccount();
let openCount = 0;

async function open(service: Service): Promise<OpenStore> {
  openCount += 1;
  const pathPrefix = `run-${Deno.pid}-${openCount}`;
  const { bucket } = service;
  const standIn = startGcsServer({ bucket, publicKey: account.publicKey });
  const directory = await Deno.makeTempDir({ prefix: "p4cache-gcs-" });
  const ownFile = `${directory}/account.json`;
  await account.writeFile(ownFile, `${standIn.endpoint}/token`);
  const backend = await openGcsBackend({
    type: "gcs",
    endpoint: service.endpoint ?? standIn.endpoint,
    endpointPin: true,
    bucket,
    credentialsFile: service.credentialsFile ?? ownFile,
    pathPrefix,
    uploadPartMb: 5,
    restoreChunkThresholdMb: 20,
  }, testTools());
  const close = async (): Promise<void> => {
    await emptied(backend);
    await standIn.close();
    await Deno.remove(directory, { recursive: true });
  };
  return { backend, prefixBytes: pathPrefix.length + 1, close };
}

function ask(name: string, service: Service): void {
  testBackend({
    name,
    largeBytes: 37 * MIB + 5,
    edgeBytes: CLOUD_EDGE_BYTES,
    listedCount: 1_100,
    notAsked: service.notAsked ?? {},
    open: () => open(service),
  });
}

ask("gcs", {
  endpoint: Deno.env.get("P4CACHE_TEST_GCS_ENDPOINT") ?? null,
  bucket: Deno.env.get("P4CACHE_TEST_GCS_BUCKET") ?? "p4cache-test",
  credentialsFile: Deno.env.get("P4CACHE_TEST_GCS_CREDENTIALS") ?? null,
});

const fakeGcs = Deno.env.get("P4CACHE_TEST_FAKE_GCS_ENDPOINT");
if (fakeGcs !== undefined) {
  const bucket = Deno.env.get("P4CACHE_TEST_FAKE_GCS_BUCKET")!;
  ask("gcs on fake-gcs-server", {
    endpoint: fakeGcs,
    bucket,
    credentialsFile: null,
    notAsked: {
      "delete() with ifMatch removes only that object":
        "fake-gcs-server ignores ifGenerationMatch of a DELETE",
    },
  });
}
