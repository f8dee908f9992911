/**
 * The contract, asked of Microsoft's own emulator: scripts/emulators/azurite.sh starts one
 * and prints the settings that are read here.
 */

import { BlobServiceClient, StorageSharedKeyCredential } from "@azure/storage-blob";
import { openAzureBackend } from "../../src/storage/azure/azure_backend.ts";
import type { AzureOptions } from "../../src/storage/backend_options.ts";
import { type OpenStore, testBackend } from "./backend_suite.ts";
import { emptied, testTools } from "./cloud_fixture.ts";

const endpoint = Deno.env.get("P4CACHE_TEST_AZURE_ENDPOINT") ?? null;
const accountName = Deno.env.get("P4CACHE_TEST_AZURE_ACCOUNT") ?? "";
const accountKey = Deno.env.get("P4CACHE_TEST_AZURE_KEY") ?? "";
const container = Deno.env.get("P4CACHE_TEST_AZURE_CONTAINER") ?? "p4cache-test";
const MIB = 1_048_576;

let isContainerMade = false;
let openCount = 0;

/** Once a run; it may be there from an earlier one. */
async function makeContainer(): Promise<void> {
  if (isContainerMade) return;
  const credential = new StorageSharedKeyCredential(accountName, accountKey);
  const service = new BlobServiceClient(endpoint!, credential);
  await service.getContainerClient(container).createIfNotExists();
  isContainerMade = true;
}

function optionsFor(prefix: string): AzureOptions {
  return {
    type: "azure",
    endpoint,
    endpointPin: true,
    container,
    accountName,
    accountKey,
    pathPrefix: prefix,
    uploadPartMb: 5,
    restoreChunkThresholdMb: 20,
  };
}

testBackend({
  name: "azure",
  skip: endpoint === null
    ? "no Azure server; scripts/emulators/run_conformance.sh starts one"
    : null,
  largeBytes: 37 * MIB + 5,
  listedCount: 300,
  async open(): Promise<OpenStore> {
    await makeContainer();
    openCount += 1;
    const prefix = `run-${Deno.pid}-${openCount}`;
    const backend = await openAzureBackend(optionsFor(prefix), testTools());
    return { backend, close: () => emptied(backend) };
  },
});
