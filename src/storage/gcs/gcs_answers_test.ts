/**
 * Google's documented error answers.
 */

import { testTools } from "../../../tests/conformance/cloud_fixture.ts";
import { createTestAccount } from "../../../tests/conformance/gcs_account.ts";
import { expectFaults, type Recorded } from "../../../tests/support/recorded_answers.ts";
import type { StorageFault } from "../storage_error.ts";
import { openGcsBackend } from "./gcs_backend.ts";

function answer(
  request: Recorded["request"],
  status: number,
  [reason, message]: readonly [reason: string, message: string],
  fault: StorageFault,
  more: Partial<Recorded> = {},
): Recorded {
  const errors = [{ message, domain: "global", reason }];
  const body = JSON.stringify({ error: { code: status, message, errors } });
  const headers = { "content-type": "application/json; charset=UTF-8", ...more.headers };
  return { request, status, body, fault, ...more, headers };
}

const NO_OBJECT = ["notFound", "No such object: b/depot/a,v"] as const;
const NO_BUCKET = ["notFound", "The specified bucket does not exist."] as const;
const SLOW = [
  "rateLimitExceeded",
  "The object b/depot/a,v exceeded the rate limit for object mutation operations.",
] as const;
const PAYER = [
  "required",
  "Bucket is a requester pays bucket but no user project provided.",
] as const;
const FORBIDDEN = [
  "forbidden",
  "p4@x.iam.gserviceaccount.com does not have storage.objects.get access to the Google " +
  "Cloud Storage object.",
] as const;
const HELD = [
  "objectUnderActiveHold",
  "Object 'b/a' is under active Event-Based hold.",
] as const;
const HASH = [
  "invalid",
  'Provided MD5 hash "rL0Y20zC+Fzt72VPzMSk2A==" doesn\'t match calculated MD5 hash "x".',
] as const;

const RECORDED: readonly Recorded[] = [
  answer("download", 404, NO_OBJECT, "not-found"),
  answer("download", 404, NO_BUCKET, "invalid"),
  answer("download", 403, FORBIDDEN, "denied", { says: /storage\.objects\.get/ }),
  answer("download", 401, ["authError", "Invalid Credentials"], "denied"),
  answer("download", 412, ["conditionNotMet", "Precondition Failed"], "precondition"),
  answer("download", 429, SLOW, "throttled", {
    headers: { "retry-after": "4" },
    retryAfterMs: 4_000,
  }),
  answer("download", 503, ["backendError", "Backend Error"], "unavailable"),
  answer("download", 500, ["internalError", "Internal Error"], "unavailable"),
  answer("upload", 412, ["conditionNotMet", "Precondition Failed"], "precondition"),
  answer("upload", 400, HASH, "corrupt"),
  answer("upload", 429, SLOW, "throttled"),
  answer("upload", 400, PAYER, "denied", { says: /requester pays/ }),
  answer(
    "delete",
    403,
    ["retentionPolicyNotMet", "Object is subject to bucket's"],
    "denied",
  ),
  answer("delete", 403, HELD, "denied"),
  answer("list", 404, NO_BUCKET, "invalid"),
  answer("head", 403, FORBIDDEN, "denied"),
  // A media answer's errors are plain text.
  { request: "download", status: 404, body: "No such object: b/a,v", fault: "not-found" },
  {
    request: "download",
    status: 502,
    headers: { "content-type": "text/html; charset=UTF-8" },
    body: "<!DOCTYPE html><title>Error 502 (Server Error)!!1</title>",
    fault: "unavailable",
  },
];

Deno.test("each documented error answer of Google has its fault", async () => {
  const { retry } = testTools();
  const once = { ...retry, policy: { ...retry.policy, attemptsMax: 1 } };
  const directory = await Deno.makeTempDir();
  const file = `${directory}/account.json`;
  const account = createTestAccount();
  await expectFaults(
    async (endpoint) => {
      await account.writeFile(file, `${endpoint}/token`);
      return await openGcsBackend({
        ...{ type: "gcs", bucket: "b", credentialsFile: file },
        endpoint,
        endpointPin: true,
      }, testTools({ retry: once }));
    },
    RECORDED,
    ({ url }) =>
      url.endsWith("/token")
        ? Response.json({ "access_token": "t", "expires_in": 3_600 })
        : null,
  );
  await Deno.remove(directory, { recursive: true });
});
