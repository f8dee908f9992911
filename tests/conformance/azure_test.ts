/** The contract, asked of Microsoft's own emulator: see azure_site.ts. */

import { AZURE_SKIP, makeContainer, newPrefix, openAzure } from "./azure_site.ts";
import { type OpenStore, testBackend } from "./backend_suite.ts";
import { CLOUD_EDGE_BYTES, emptied } from "./cloud_fixture.ts";
import { MIB } from "./contract_tools.ts";

testBackend({
  name: "azure",
  skip: AZURE_SKIP,
  largeBytes: 37 * MIB + 5,
  edgeBytes: CLOUD_EDGE_BYTES,
  listedCount: 300,
  async open(): Promise<OpenStore> {
    await makeContainer();
    const pathPrefix = newPrefix();
    const backend = await openAzure({ pathPrefix, restoreChunkThresholdMb: 20 });
    const prefixBytes = pathPrefix.length + 1;
    return { backend, prefixBytes, close: () => emptied(backend) };
  },
});
