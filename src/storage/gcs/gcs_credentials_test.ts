/**
 * Application Default Credentials: each place, as a stand-in, and which token the store is
 * asked with then.
 */

import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { testTools } from "../../../tests/conformance/cloud_fixture.ts";
import { rejectsAs } from "../../../tests/conformance/contract_tools.ts";
import { createTestAccount } from "../../../tests/conformance/gcs_account.ts";
import { ManualClock } from "../../../tests/support/manual_clock.ts";
import { type Clock, SYSTEM_CLOCK } from "../../core/clock.ts";
import { objectKeyOf } from "../../core/names.ts";
import type { StorageBackend } from "../backend.ts";
import { openGcsBackend } from "./gcs_backend.ts";

const KEY = objectKeyOf("a,v");

/** This machine's own credentials must not answer in place of the test's. */
const NO_OTHER_PLACE = {
  GOOGLE_APPLICATION_CREDENTIALS: "",
  CLOUDSDK_CONFIG: "/nonexistent",
  GCE_METADATA_HOST: "127.0.0.1:1",
  METADATA_SERVER_DETECTION: "none",
  HOME: "/nonexistent",
};

interface Asked {
  readonly path: string;
  readonly form: Readonly<Record<string, string>>;
  readonly headers: Headers;
}

/** One server for tokens, metadata and objects, none of which there is. */
async function withServer(
  prepare: (origin: string, directory: string) => Promise<Record<string, string>>,
  answer: (asked: Asked) => Response | Promise<Response> | null,
  body: (backend: StorageBackend, asked: readonly Asked[]) => Promise<void>,
  clock: Clock = SYSTEM_CLOCK,
): Promise<void> {
  const asked: Asked[] = [];
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: (): void => {} },
    async (request) => {
      const { pathname } = new URL(request.url);
      const form = Object.fromEntries(new URLSearchParams(await request.text()));
      asked.push({ path: pathname, form, headers: request.headers });
      const error = { code: 404, message: "No such object: b/a,v", errors: [] };
      return answer(asked.at(-1)!) ?? Response.json({ error }, { status: 404 });
    },
  );
  const directory = await Deno.makeTempDir();
  const origin = `http://127.0.0.1:${server.addr.port}`;
  const places = { ...NO_OTHER_PLACE, ...await prepare(origin, directory) };
  const before = Deno.env.toObject();
  for (const [name, value] of Object.entries(places)) {
    if (value === "") Deno.env.delete(name);
    else Deno.env.set(name, value);
  }
  const options = {
    type: "gcs",
    bucket: "b",
    endpoint: origin,
    endpointPin: true,
  } as const;
  const backend = await openGcsBackend(options, testTools({ clock }));
  try {
    await body(backend, asked);
  } finally {
    await backend.close();
    await server.shutdown();
    for (const name of Object.keys(places)) {
      if (before[name] === undefined) Deno.env.delete(name);
      else Deno.env.set(name, before[name]);
    }
    await Deno.remove(directory, { recursive: true });
  }
}

function test(sentence: string, fn: () => Promise<void>): void {
  // Google's library keeps its connections and timers.
  const sanitize = { sanitizeOps: false, sanitizeResources: false };
  Deno.test({ name: `Google's default credentials: ${sentence}`, fn, ...sanitize });
}

const USER = {
  type: "authorized_user",
  "client_id": "the-client",
  "client_secret": "its-secret",
  "refresh_token": "of-the-user",
};

test("a user's, as gcloud keeps them", async () => {
  await withServer(
    async (origin, directory) => {
      const file = `${directory}/application_default_credentials.json`;
      const fields = { ...USER, "token_uri": `${origin}/token` };
      await Deno.writeTextFile(file, JSON.stringify(fields));
      return { CLOUDSDK_CONFIG: directory };
    },
    ({ path }) =>
      path === "/token"
        ? Response.json({ "access_token": "user-token", "expires_in": 3_599 })
        : null,
    async (backend, asked) => {
      strictEqual(await backend.head(KEY), null);
      strictEqual(await backend.head(KEY), null);
      deepStrictEqual(asked[0]?.form, {
        "grant_type": "refresh_token",
        "client_id": "the-client",
        "client_secret": "its-secret",
        "refresh_token": "of-the-user",
      });
      strictEqual(asked.length, 3, "one token for both");
      strictEqual(asked[2]?.headers.get("authorization"), "Bearer user-token");
    },
  );
});

test("a service account's, in the file that the environment names", async () => {
  await withServer(
    async (origin, directory) => {
      const file = `${directory}/account.json`;
      await createTestAccount().writeFile(file, `${origin}/token`);
      return { GOOGLE_APPLICATION_CREDENTIALS: file };
    },
    ({ path }) =>
      path === "/token"
        ? Response.json({ "access_token": "account-token", "expires_in": 3_599 })
        : null,
    async (backend, asked) => {
      strictEqual(await backend.head(KEY), null);
      strictEqual(asked[1]?.headers.get("authorization"), "Bearer account-token");
    },
  );
});

test("an instance's, from the metadata server", async () => {
  await withServer(
    (origin) =>
      Promise.resolve({
        GCE_METADATA_HOST: new URL(origin).host,
        METADATA_SERVER_DETECTION: "assume-present",
      }),
    ({ path, headers }) => {
      if (!path.startsWith("/computeMetadata/")) return null;
      if (headers.get("metadata-flavor") !== "Google") {
        return new Response(null, { status: 403 });
      }
      const token = { "access_token": "instance-token", "expires_in": 3_599 };
      const isToken = path.endsWith("/token");
      const body = isToken ? JSON.stringify({ ...token, "token_type": "Bearer" }) : "p4";
      const type = isToken ? "application/json" : "text/plain";
      const all = { "metadata-flavor": "Google", "content-type": type };
      return new Response(body, { headers: all });
    },
    async (backend, asked) => {
      strictEqual(await backend.head(KEY), null);
      strictEqual(
        asked.at(-1)?.headers.get("authorization"),
        "Bearer instance-token",
      );
    },
  );
});

test("a refresh token that was revoked is denied, and none at all too", async () => {
  await withServer(
    async (origin, directory) => {
      const file = `${directory}/user.json`;
      const fields = { ...USER, "token_uri": `${origin}/token` };
      await Deno.writeTextFile(file, JSON.stringify(fields));
      return { GOOGLE_APPLICATION_CREDENTIALS: file };
    },
    ({ path }) =>
      path === "/token"
        ? Response.json({ error: "invalid_grant" }, { status: 400 })
        : null,
    (backend) => rejectsAs("denied", () => backend.head(KEY)),
  );
  await withServer(
    () => Promise.resolve({}),
    () => null,
    (backend) => rejectsAs("denied", () => backend.head(KEY)),
  );
});

/** Workload identity federation: Google's library asks, with no timeout of its own. */
async function writeFederated(
  origin: string,
  directory: string,
): Promise<Record<string, string>> {
  await Deno.writeTextFile(`${directory}/subject`, "the-subject");
  const file = `${directory}/federated.json`;
  const fields = {
    type: "external_account",
    audience: "//iam.googleapis.com/projects/1/locations/global/p",
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    "token_url": `${origin}/token`,
    "credential_source": { file: `${directory}/subject` },
  };
  await Deno.writeTextFile(file, JSON.stringify(fields));
  // Without it the library looks for a metadata server first, for seconds.
  return { GOOGLE_APPLICATION_CREDENTIALS: file, GOOGLE_CLOUD_PROJECT: "p" };
}

function federatedToken(): Response {
  return Response.json({
    "access_token": "federated-token",
    "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
    "token_type": "Bearer",
    "expires_in": 3_599,
  });
}

test("an endpoint that never answers is unavailable, and the next request asks anew", async () => {
  const { promise: never, resolve: onEnd } = Promise.withResolvers<Response>();
  const { promise: isAsked, resolve: onAsked } = Promise.withResolvers<void>();
  const clock = new ManualClock();
  let tokenCount = 0;
  await withServer(
    writeFederated,
    ({ path }) => {
      if (path !== "/token") return null;
      tokenCount += 1;
      onAsked();
      return tokenCount === 1 ? never : federatedToken();
    },
    async (backend, asked) => {
      const both = [1, 2].map(() => rejectsAs("unavailable", () => backend.head(KEY)));
      await isAsked;
      await clock.advance(60_000);
      await Promise.all(both);
      strictEqual(tokenCount, 1, "one for both");
      strictEqual(await backend.head(KEY), null);
      strictEqual(asked.at(-1)?.headers.get("authorization"), "Bearer federated-token");
      onEnd(federatedToken());
    },
    clock,
  );
});

test("a request that waits for a token ends with its signal, and leaves it to the others", async () => {
  const { promise: late, resolve: onEnd } = Promise.withResolvers<Response>();
  const { promise: isAsked, resolve: onAsked } = Promise.withResolvers<void>();
  let tokenCount = 0;
  await withServer(
    writeFederated,
    ({ path }) => {
      if (path !== "/token") return null;
      tokenCount += 1;
      onAsked();
      return late;
    },
    async (backend) => {
      const stop = new AbortController();
      const reason = new Error("stop");
      const stopped = backend.head(KEY, stop.signal);
      const other = backend.head(KEY);
      await isAsked;
      stop.abort(reason);
      await rejects(() => stopped, reason);
      onEnd(federatedToken());
      strictEqual(await other, null);
      strictEqual(tokenCount, 1);
    },
  );
});
