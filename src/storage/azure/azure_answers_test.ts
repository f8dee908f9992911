/**
 * Azure's documented error answers, through the SDK's own parser.
 */

import { testTools } from "../../../tests/conformance/cloud_fixture.ts";
import { expectFaults, type Recorded } from "../../../tests/support/recorded_answers.ts";
import type { StorageFault } from "../storage_error.ts";
import { openAzureBackend } from "./azure_backend.ts";

function answer(
  request: Recorded["request"],
  status: number,
  code: string,
  fault: StorageFault,
  more: Partial<Recorded> = {},
): Recorded {
  const body = `\uFEFF<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code>` +
    "<Message>What the service says of it.\nRequestId:3b8b0f3f-f01e-0000-00dd-6c2a00000000" +
    "\nTime:2025-01-02T03:04:05.0000000Z</Message></Error>";
  const headers = {
    "content-type": "application/xml",
    "x-ms-error-code": code,
    "x-ms-request-id": "3b8b0f3f-f01e-0000-00dd-6c2a00000000",
    ...more.headers,
  };
  return { request, status, body, fault, ...more, headers };
}

const RECORDED: readonly Recorded[] = [
  answer("download", 404, "BlobNotFound", "not-found"),
  answer("download", 404, "ContainerNotFound", "invalid", {
    says: /create it, or correct/,
  }),
  answer("download", 404, "ResourceNotFound", "invalid"),
  answer("download", 403, "AuthenticationFailed", "denied", {
    says: /account_key or sas/,
  }),
  answer("download", 403, "AuthorizationFailure", "denied"),
  answer("download", 403, "AuthorizationPermissionMismatch", "denied"),
  answer("download", 403, "AuthorizationSourceIPMismatch", "denied"),
  answer("download", 401, "NoAuthenticationInformation", "denied"),
  answer("download", 409, "BlobArchived", "archived", { says: /restore-archived/ }),
  answer("download", 409, "BlobBeingRehydrated", "archived", { says: /--wait/ }),
  answer("download", 412, "ConditionNotMet", "precondition"),
  answer("download", 416, "InvalidRange", "corrupt"),
  answer("download", 503, "ServerBusy", "throttled", {
    headers: { "retry-after": "3" },
    retryAfterMs: 3_000,
  }),
  answer("download", 500, "InternalError", "unavailable"),
  answer("download", 500, "OperationTimedOut", "unavailable"),
  answer("upload", 409, "BlobAlreadyExists", "precondition"),
  answer("upload", 412, "UnauthorizedBlobOverwrite", "precondition"),
  answer("upload", 400, "Md5Mismatch", "corrupt"),
  answer("upload", 409, "BlobImmutableDueToPolicy", "denied"),
  answer("upload", 403, "AccountIsDisabled", "denied"),
  answer("upload", 413, "RequestBodyTooLarge", "invalid"),
  answer("delete", 409, "BlobImmutableDueToPolicy", "denied"),
  answer("list", 404, "ContainerNotFound", "invalid"),
  answer("list", 409, "ContainerBeingDeleted", "unavailable"),
  // The answer to a HEAD has its code in a header only.
  answer("head", 403, "AuthenticationFailed", "denied"),
  answer("head", 404, "ContainerNotFound", "invalid"),
  answer("head", 503, "ServerBusy", "throttled"),
  {
    request: "download",
    status: 502,
    headers: { "content-type": "text/html" },
    body: "<html><body>Bad Gateway</body></html>",
    fault: "unavailable",
  },
];

Deno.test("each documented error answer of Azure has its fault, parsed by the SDK", async () => {
  const { retry } = testTools();
  const once = { ...retry, policy: { ...retry.policy, attemptsMax: 1 } };
  await expectFaults((origin) =>
    openAzureBackend({
      ...{ type: "azure", container: "c", accountName: "a", accountKey: "aw==" },
      endpoint: `${origin}/a`,
      endpointPin: true,
    }, testTools({ retry: once })), RECORDED);
});
