/**
 * The Azure server of the tests: scripts/emulators/azurite.sh starts Microsoft's emulator
 * and prints the settings that are read here.
 *
 * @module
 */

import { BlobServiceClient, StorageSharedKeyCredential } from "@azure/storage-blob";
import { openAzureBackend } from "../../src/storage/azure/azure_backend.ts";
import type { StorageBackend } from "../../src/storage/backend.ts";
import type { AzureOptions } from "../../src/storage/backend_options.ts";
import { emptied, testTools } from "./cloud_fixture.ts";
import type { HttpFixture, HttpOptions, HttpSite } from "./http_site.ts";

export const AZURE_ENDPOINT = Deno.env.get("P4CACHE_TEST_AZURE_ENDPOINT") ?? null;
export const AZURE_ACCOUNT = Deno.env.get("P4CACHE_TEST_AZURE_ACCOUNT") ?? "";
export const AZURE_KEY = Deno.env.get("P4CACHE_TEST_AZURE_KEY") ?? "";
export const AZURE_CONTAINER = Deno.env.get("P4CACHE_TEST_AZURE_CONTAINER") ??
  "p4cache-test";

export const AZURE_SKIP = AZURE_ENDPOINT === null
  ? "no Azure server; scripts/emulators/run_conformance.sh starts one"
  : null;

let openCount = 0;

/** A prefix that no other test has. */
export function newPrefix(): string {
  openCount += 1;
  return `run-${Deno.pid}-${openCount}`;
}

export async function openAzure(
  more: Partial<AzureOptions> = {},
  tools: Parameters<typeof testTools>[0] = {},
): Promise<StorageBackend> {
  const options: AzureOptions = {
    type: "azure",
    endpoint: AZURE_ENDPOINT,
    endpointPin: true,
    container: AZURE_CONTAINER,
    accountName: AZURE_ACCOUNT,
    accountKey: AZURE_KEY,
    uploadPartMb: 5,
    ...more,
  };
  return await openAzureBackend(options, testTools(tools));
}

let container: Promise<unknown> | null = null;

/** Once a run; it may be there from an earlier one. */
export async function makeContainer(): Promise<void> {
  const credential = new StorageSharedKeyCredential(AZURE_ACCOUNT, AZURE_KEY);
  container ??= new BlobServiceClient(AZURE_ENDPOINT!, credential)
    .getContainerClient(AZURE_CONTAINER).createIfNotExists();
  await container;
}

export const AZURE_HTTP: HttpFixture = {
  name: "azure",
  skip: AZURE_SKIP,
  async start(): Promise<HttpSite> {
    await makeContainer();
    const pathPrefix = newPrefix();
    // The emulator's account is part of the path.
    const { origin, pathname } = new URL(AZURE_ENDPOINT!);
    const open = (
      at: string,
      { clock, ...options }: HttpOptions = {},
    ): Promise<StorageBackend> =>
      openAzure(
        { endpoint: at + pathname, pathPrefix, restoreChunkThresholdMb: 0, ...options },
        clock === undefined ? {} : { clock },
      );
    return {
      origin,
      prefix: `${pathPrefix}/`,
      open,
      close: async () => await emptied(await open(origin)),
    };
  },
  needsLength: true,
  isContent: ({ method, target }) =>
    method === "GET" && decodeURIComponent(target).includes("/a/b,v"),
  isCommit: ({ method, target }) =>
    method === "PUT" && !target.includes("comp=block&") &&
    !/comp=block$/.test(target),
  isPart: ({ method, target }) => method === "PUT" && /comp=block(?:&|$)/.test(target),
  pageOf: (keys, nextPage) =>
    '<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>' +
    keys.map((key) =>
      `<Blob><Name>${key}</Name><Properties><Etag>0x1</Etag>` +
      "<Last-Modified>Mon, 01 Jan 2024 00:00:00 GMT</Last-Modified>" +
      "<Content-Length>5</Content-Length></Properties></Blob>"
    ).join("") +
    `</Blobs><NextMarker>${nextPage ?? ""}</NextMarker></EnumerationResults>`,
};
