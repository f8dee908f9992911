/**
 * The default chain: every place that Amazon documents for credentials, each as a stand-in,
 * and what the store's requests are signed with then.
 */

import { match, strictEqual } from "node:assert/strict";
import { testTools } from "../../../tests/conformance/cloud_fixture.ts";
import { expectContent, rejectsAs } from "../../../tests/conformance/contract_tools.ts";
import { patternBytes } from "../../../tests/conformance/test_bytes.ts";
import { type S3StandIn, startS3StandIn } from "../../../tests/support/s3_stand_in.ts";
import { objectKeyOf } from "../../core/names.ts";
import type { StorageBackend } from "../backend.ts";
import { openS3Backend } from "./s3_backend.ts";

const KEY = objectKeyOf("a,v");

/** The chain of this machine must not answer in place of the test's. */
const NO_OTHER_PLACE: Readonly<Record<string, string>> = {
  AWS_ACCESS_KEY_ID: "",
  AWS_SECRET_ACCESS_KEY: "",
  AWS_SESSION_TOKEN: "",
  AWS_PROFILE: "",
  AWS_CONFIG_FILE: "/nonexistent/config",
  AWS_SHARED_CREDENTIALS_FILE: "/nonexistent/credentials",
  AWS_EC2_METADATA_DISABLED: "true",
  AWS_WEB_IDENTITY_TOKEN_FILE: "",
  AWS_ROLE_ARN: "",
  AWS_CONTAINER_CREDENTIALS_FULL_URI: "",
  AWS_ENDPOINT_URL_STS: "",
};

async function withChain(
  places: Readonly<Record<string, string>>,
  body: (backend: StorageBackend, server: S3StandIn) => Promise<void>,
): Promise<void> {
  const before = Deno.env.toObject();
  for (const [name, value] of Object.entries({ ...NO_OTHER_PLACE, ...places })) {
    if (value === "") Deno.env.delete(name);
    else Deno.env.set(name, value);
  }
  await using server = startS3StandIn("b");
  const { endpoint } = server;
  const options = { type: "s3", bucket: "b", endpoint, endpointPin: true } as const;
  const backend = await openS3Backend(options, testTools());
  try {
    await body(backend, server);
  } finally {
    await backend.close();
    for (const name of Object.keys({ ...NO_OTHER_PLACE, ...places })) {
      if (before[name] === undefined) Deno.env.delete(name);
      else Deno.env.set(name, before[name]);
    }
  }
}

async function expectSignedBy(
  accessKey: string,
  backend: StorageBackend,
  server: S3StandIn,
): Promise<void> {
  strictEqual(await backend.head(KEY), null);
  const { headers } = server.requests.at(-1)!;
  match(headers.get("authorization") ?? "", new RegExp(`Credential=${accessKey}/`));
}

/** A server of credentials, which tells each request's path. */
async function withServer(
  answer: (request: Request) => Response | Promise<Response>,
  body: (origin: string) => Promise<void>,
): Promise<void> {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen(): void {} },
    answer,
  );
  try {
    await body(`http://127.0.0.1:${server.addr.port}`);
  } finally {
    await server.shutdown();
  }
}

function test(sentence: string, fn: () => Promise<void>): void {
  // The SDK's own client for credentials keeps its connections.
  const sanitize = { sanitizeOps: false, sanitizeResources: false };
  Deno.test({ name: `S3's default chain: ${sentence}`, fn, ...sanitize });
}

test("the environment", async () => {
  const places = { AWS_ACCESS_KEY_ID: "AKIAENV", AWS_SECRET_ACCESS_KEY: "s" };
  await withChain(
    places,
    (backend, server) => expectSignedBy("AKIAENV", backend, server),
  );
});

test("a profile of the shared file, and another key in it after it was opened anew", async () => {
  const file = await Deno.makeTempFile();
  const write = (key: string): Promise<void> =>
    Deno.writeTextFile(
      file,
      `[p4]\naws_access_key_id = ${key}\naws_secret_access_key = s\n`,
    );
  await write("AKIAFILE");
  const places = { AWS_SHARED_CREDENTIALS_FILE: file, AWS_PROFILE: "p4" };
  await withChain(places, async (backend, server) => {
    await expectSignedBy("AKIAFILE", backend, server);
    await write("AKIAROTATED");
    const { endpoint } = server;
    const again = await openS3Backend(
      { type: "s3", bucket: "b", endpoint, endpointPin: true },
      testTools(),
    );
    await expectSignedBy("AKIAROTATED", again, server);
    await again.close();
  });
  await Deno.remove(file);
});

const INSTANT = new Date(Date.now() + 3_600_000).toISOString();

test("an instance's role, from the metadata service", async () => {
  const answer = (request: Request): Response => {
    const { pathname } = new URL(request.url);
    if (request.method === "PUT") return new Response("a-token");
    if (request.headers.get("x-aws-ec2-metadata-token") !== "a-token") {
      return new Response(null, { status: 401 });
    }
    if (pathname.endsWith("/security-credentials/")) return new Response("the-role");
    return Response.json({
      Code: "Success",
      Type: "AWS-HMAC",
      AccessKeyId: "ASIAROLE",
      SecretAccessKey: "s",
      Token: "t",
      Expiration: INSTANT,
    });
  };
  await withServer(answer, (origin) =>
    withChain({
      AWS_EC2_METADATA_DISABLED: "",
      AWS_EC2_METADATA_SERVICE_ENDPOINT: origin,
    }, async (backend, server) => {
      await expectSignedBy("ASIAROLE", backend, server);
      const { headers } = server.requests.at(-1)!;
      strictEqual(headers.get("x-amz-security-token"), "t");
    }));
});

/** What STS answers. Each key has a number of its own. */
function webIdentityXml(count: number, lifeMs: number): string {
  const expiration = new Date(Date.now() + lifeMs).toISOString();
  return '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/' +
    '2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAWEB' +
    `${count}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t` +
    `</SessionToken><Expiration>${expiration}</Expiration></Credentials>` +
    "</AssumeRoleWithWebIdentityResult><ResponseMetadata><RequestId>1</RequestId>" +
    "</ResponseMetadata></AssumeRoleWithWebIdentityResponse>";
}

/** @param body `askedCount` says how often STS was asked. */
async function withWebIdentity(
  lifeMs: number,
  body: (
    backend: StorageBackend,
    server: S3StandIn,
    askedCount: () => number,
  ) => Promise<void>,
): Promise<void> {
  const token = await Deno.makeTempFile();
  await Deno.writeTextFile(token, "a.web.identity");
  let count = 0;
  const answer = async (request: Request): Promise<Response> => {
    const form = new URLSearchParams(await request.text());
    if (form.get("WebIdentityToken") !== "a.web.identity") {
      return new Response(null, { status: 403 });
    }
    count += 1;
    const headers = { "content-type": "text/xml" };
    return new Response(webIdentityXml(count, lifeMs), { headers });
  };
  await withServer(answer, (origin) =>
    withChain({
      AWS_WEB_IDENTITY_TOKEN_FILE: token,
      AWS_ROLE_ARN: "arn:aws:iam::123456789012:role/p4",
      AWS_ENDPOINT_URL_STS: origin,
    }, (backend, server) => body(backend, server, () => count)));
  await Deno.remove(token);
}

test("a web identity (IRSA), exchanged at STS, which the endpoint's pin does not forbid", async () => {
  await withWebIdentity(
    3_600_000,
    (backend, server) => expectSignedBy("ASIAWEB1", backend, server),
  );
});

const LIVES: readonly (readonly [string, number])[] = [
  ["that live long", 3_600_000],
  // The SDK renews in the last five minutes: at first beside the request, then before it.
  ["in their last minutes", 200_000],
  ["in their last seconds", 3_000],
  ["that are over when they come", -1_000],
];
for (const [which, lifeMs] of LIVES) {
  test(`a download's bytes are the object's, with keys of STS ${which}`, async () => {
    await withWebIdentity(lifeMs, async (backend, server, askedCount) => {
      const bytes = patternBytes(5_000, 1);
      server.objects.set(KEY, {
        bytes,
        metadata: {},
        storageClass: "STANDARD",
        restore: null,
      });
      await expectContent(backend, KEY, bytes);
      strictEqual((await backend.head(KEY))?.sizeBytes, bytes.length);
      for (let i = 0; i < 2; i++) await expectContent(backend, KEY, bytes);
      // One request each: nothing was taken for broken and asked for again.
      strictEqual(server.requests.length, 7);
      const isRenewing = lifeMs < 300_000;
      strictEqual(askedCount() > 1, isRenewing, `STS was asked ${askedCount()} times`);
    });
  });
}

test("a container's role (ECS, EKS pod identity)", async () => {
  const answer = (): Response =>
    Response.json({
      AccessKeyId: "ASIATASK",
      SecretAccessKey: "s",
      Token: "t",
      Expiration: INSTANT,
    });
  await withServer(answer, (origin) =>
    withChain(
      { AWS_CONTAINER_CREDENTIALS_FULL_URI: `${origin}/v2/credentials` },
      (backend, server) => expectSignedBy("ASIATASK", backend, server),
    ));
});

test("none at all is denied", async () => {
  await withChain({}, async (backend) => {
    await rejectsAs("denied", () => backend.head(KEY));
  });
});
