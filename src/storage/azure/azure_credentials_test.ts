/**
 * DefaultAzureCredential: the places that a server has, each as a stand-in, and which token
 * the store is asked with then.
 */

import { rejects, strictEqual } from "node:assert/strict";
import { createHash } from "node:crypto";
import { testTools } from "../../../tests/conformance/cloud_fixture.ts";
import { expectContent, rejectsAs } from "../../../tests/conformance/contract_tools.ts";
import {
  metadataOf,
  patternBytes,
  sourceOf,
} from "../../../tests/conformance/test_bytes.ts";
import { createTestAuthority } from "../../../tests/conformance/tls_front.ts";
import { ManualClock } from "../../../tests/support/manual_clock.ts";
import { type Clock, SYSTEM_CLOCK } from "../../core/clock.ts";
import { objectKeyOf } from "../../core/names.ts";
import type { StorageBackend } from "../backend.ts";
import { openAzureBackend } from "./azure_backend.ts";

const KEY = objectKeyOf("a,v");
const CONTENT = patternBytes(5_000, 1);

/** This machine's own credentials must not answer in place of the test's. */
const NO_OTHER_PLACE = {
  AZURE_CLIENT_ID: "",
  AZURE_TENANT_ID: "",
  AZURE_CLIENT_SECRET: "",
  AZURE_FEDERATED_TOKEN_FILE: "",
  IDENTITY_ENDPOINT: "",
  IDENTITY_HEADER: "",
  // Only the kinds that servers have: no command lines of developers.
  AZURE_TOKEN_CREDENTIALS: "prod",
};

/** The store speaks TLS: Azure's SDK sends tokens nowhere else. */
async function withStore(
  places: Readonly<Record<string, string>>,
  body: (backend: StorageBackend, tokens: readonly (string | null)[]) => Promise<void>,
  clock: Clock = SYSTEM_CLOCK,
): Promise<void> {
  const authority = await createTestAuthority();
  const tokens: (string | null)[] = [];
  const server = Deno.serve({
    ...{ hostname: "127.0.0.1", port: 0, onListen: (): void => {} },
    cert: authority.certificate,
    key: authority.key,
  }, async (request) => {
    tokens.push(request.headers.get("authorization"));
    const body = new Uint8Array(await request.arrayBuffer());
    if (request.method === "PUT") {
      // As the service does: what arrived is what was sent.
      const md5 = createHash("md5").update(body).digest("base64");
      const isWhole = body.length > 0 && request.headers.get("content-md5") === md5;
      const described = { etag: '"1"', "last-modified": "Thu, 02 Jan 2025 03:04:05 GMT" };
      return new Response(null, { status: isWhole ? 201 : 400, headers: described });
    }
    if (request.method === "GET") {
      const described = { etag: '"1"', "last-modified": "Thu, 02 Jan 2025 03:04:05 GMT" };
      return new Response(CONTENT, { headers: described });
    }
    const headers = { "x-ms-error-code": "BlobNotFound" };
    return new Response(null, { status: 404, headers });
  });
  const before = Deno.env.toObject();
  const all = { ...NO_OTHER_PLACE, ...places };
  for (const [name, value] of Object.entries(all)) {
    if (value === "") Deno.env.delete(name);
    else Deno.env.set(name, value);
  }
  const backend = await openAzureBackend({
    ...{ type: "azure", container: "c", accountName: "a" },
    endpoint: `https://localhost:${server.addr.port}/a`,
    endpointPin: true,
    caCertPath: authority.caPath,
  }, testTools({ clock }));
  try {
    await body(backend, tokens);
  } finally {
    await backend.close();
    await server.shutdown();
    await authority.remove();
    for (const name of Object.keys(all)) {
      if (before[name] === undefined) Deno.env.delete(name);
      else Deno.env.set(name, before[name]);
    }
  }
}

function test(sentence: string, fn: () => Promise<void>): void {
  // The library keeps its connections and timers.
  const sanitize = { sanitizeOps: false, sanitizeResources: false };
  Deno.test({ name: `DefaultAzureCredential: ${sentence}`, fn, ...sanitize });
}

/** What the endpoint of a managed identity does with a request that is as it must be. */
type Mood = "refuses" | "grants" | Promise<Response>;

/** One endpoint for all: the library remembers it, and its tokens, for the whole process. */
test("a managed identity: refused, silent, then with one token for many requests", async () => {
  let askedCount = 0;
  let mood: Mood = "refuses";
  let onAsked = (): void => {};
  const identity = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: (): void => {} },
    (request) => {
      askedCount += 1;
      onAsked();
      if (mood instanceof Promise) return mood;
      const { searchParams } = new URL(request.url);
      const isGood = mood === "grants" &&
        request.headers.get("x-identity-header") === "the-header" &&
        searchParams.get("resource") === "https://storage.azure.com";
      if (!isGood) return Response.json({ error: "invalid_request" }, { status: 400 });
      return Response.json({
        "access_token": "identity-token",
        "expires_on": String(Math.floor(Date.now() / 1_000) + 7_200),
        resource: "https://storage.azure.com",
        "token_type": "Bearer",
      });
    },
  );
  const places = {
    IDENTITY_ENDPOINT: `http://127.0.0.1:${identity.addr.port}/msi/token`,
    IDENTITY_HEADER: "the-header",
  };
  await withStore(places, (backend) => rejectsAs("denied", () => backend.head(KEY)));
  const { promise: never, resolve: onEnd } = Promise.withResolvers<Response>();
  mood = never;
  const clock = new ManualClock();
  await withStore(places, async (backend) => {
    const { promise: isAsked, resolve } = Promise.withResolvers<void>();
    onAsked = resolve;
    const stop = new AbortController();
    const reason = new Error("stop");
    const other = rejectsAs("unavailable", () => backend.head(KEY));
    const stopped = backend.head(KEY, stop.signal);
    await isAsked;
    stop.abort(reason);
    await rejects(() => stopped, reason);
    await clock.advance(60_000);
    await other;
  }, clock);
  [askedCount, mood] = [0, "grants"];
  await withStore(places, async (backend, tokens) => {
    // The token is asked for inside of a download, and is no part of its bytes.
    await expectContent(backend, KEY, CONTENT);
    strictEqual(await backend.head(KEY), null);
    const metadata = metadataOf(CONTENT);
    const sent = { key: KEY, source: sourceOf(CONTENT), metadata };
    strictEqual((await backend.upload(sent)).etag, '"1"');
    strictEqual(tokens.at(-1), "Bearer identity-token");
    strictEqual(askedCount, 1);
  });
  onEnd(new Response());
  await identity.shutdown();
});

test("none at all is denied", async () => {
  const places = { AZURE_TOKEN_CREDENTIALS: "EnvironmentCredential" };
  await withStore(places, (backend) => rejectsAs("denied", () => backend.head(KEY)));
});
