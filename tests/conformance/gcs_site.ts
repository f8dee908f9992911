/**
 * A stand-in for Google Cloud Storage, an account of it, and stores that use them.
 *
 * @module
 */

import type { StorageBackend } from "../../src/storage/backend.ts";
import type { BackendTools, GcsOptions } from "../../src/storage/backend_options.ts";
import { openGcsBackend } from "../../src/storage/gcs/gcs_backend.ts";
import { testTools } from "./cloud_fixture.ts";
import { createTestAccount } from "./gcs_account.ts";
import { type GcsServer, startGcsServer } from "./gcs_server.ts";
import type { HttpFixture, HttpOptions, HttpSite } from "./http_site.ts";

export const GCS_ACCOUNT = createTestAccount();

export interface GcsSite extends HttpSite {
  readonly server: GcsServer;
  readonly credentialsFile: string;
  openWith(more: Partial<GcsOptions>, tools?: Partial<BackendTools>): Promise<
    StorageBackend
  >;
}

/** A server of its own, on which everything ends with it. */
export async function startGcsSite(): Promise<GcsSite> {
  const bucket = "p4cache-test";
  const server = startGcsServer({ bucket, publicKey: GCS_ACCOUNT.publicKey });
  const directory = await Deno.makeTempDir({ prefix: "p4cache-gcs-" });
  const credentialsFile = `${directory}/account.json`;
  await GCS_ACCOUNT.writeFile(credentialsFile, `${server.endpoint}/token`);
  const openWith: GcsSite["openWith"] = (more, tools = {}) =>
    openGcsBackend({
      type: "gcs",
      endpoint: server.endpoint,
      endpointPin: true,
      bucket,
      credentialsFile,
      pathPrefix: "pre",
      uploadPartMb: 5,
      restoreChunkThresholdMb: 0,
      ...more,
    }, testTools(tools));
  return {
    server,
    credentialsFile,
    origin: server.endpoint,
    prefix: "pre/",
    openWith,
    open(
      endpoint: string,
      { clock, ...options }: HttpOptions = {},
    ): Promise<StorageBackend> {
      // Upload sessions have URLs of their own, and the pin is about those too.
      server.announce(endpoint);
      const tools = clock === undefined ? {} : { clock };
      return openWith({ endpoint, ...options }, tools);
    },
    async close(): Promise<void> {
      await server.close();
      await Deno.remove(directory, { recursive: true });
    },
  };
}

export const GCS_HTTP: HttpFixture = {
  name: "gcs",
  skip: null,
  start: startGcsSite,
  needsLength: false,
  isContent: ({ target }) => target.includes("alt=media"),
  isCommit: ({ method, target, headers }) => {
    if (method === "POST") return target.includes("uploadType=multipart");
    const [, end, total] = headers.get("content-range")?.match(/-(\d+)\/(\d+)$/) ?? [];
    return method === "PUT" && end !== undefined && Number(end) + 1 === Number(total);
  },
  isPart: ({ method, headers }) =>
    method === "PUT" && /^bytes \d/.test(headers.get("content-range") ?? ""),
  pageOf: (keys, nextPage) =>
    JSON.stringify({
      items: keys.map((name) => ({ name, size: "5", generation: "1" })),
      ...(nextPage === null ? {} : { nextPageToken: nextPage }),
    }),
};
