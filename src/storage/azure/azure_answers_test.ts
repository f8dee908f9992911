/**
 * Azure's documented error answers, through the SDK's own parser.
 */

import { deepStrictEqual, rejects } from "node:assert/strict";
import { testTools } from "../../../tests/conformance/cloud_fixture.ts";
import { expectFaults, type Recorded } from "../../../tests/support/recorded_answers.ts";
import { objectKeyOf } from "../../core/names.ts";
import type { StorageBackend } from "../backend.ts";
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
  answer("delete", 403, "OperationNotAllowedOnRootBlob", "denied"),
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

function openAt(origin: string): Promise<StorageBackend> {
  const { retry } = testTools();
  const once = { ...retry, policy: { ...retry.policy, attemptsMax: 1 } };
  return openAzureBackend({
    ...{ type: "azure", container: "c", accountName: "a", accountKey: "aw==" },
    endpoint: `${origin}/a`,
    endpointPin: true,
  }, testTools({ retry: once }));
}

Deno.test("each documented error answer of Azure has its fault, parsed by the SDK", () =>
  expectFaults(openAt, RECORDED));

const ETAG = '"0x8D1"';

/** A blob with versions as the service has it; which requests it got, and what it keeps. */
class VersionedBlob {
  readonly requests: string[] = [];
  current: string | null = "v2";
  readonly versions = new Set(["v1", "v2"]);

  answer(request: Request): Response {
    const version = new URL(request.url).searchParams.get("versionid");
    const match = request.headers.get("if-match");
    this.requests.push(`${request.method} ${version ?? "current"} ${match ?? "-"}`);
    const refusal = this.#refusal(version, match);
    if (refusal !== null) return refusal;
    if (version === null) this.current = null;
    else this.versions.delete(version);
    return new Response(null, { status: 202 });
  }

  #refusal(version: string | null, match: string | null): Response | null {
    const refuse = (status: number, code: string): Response =>
      new Response(`<?xml version="1.0"?><Error><Code>${code}</Code></Error>`, {
        status,
        headers: { "content-type": "application/xml", "x-ms-error-code": code },
      });
    if (version === null && this.current === null) return refuse(404, "BlobNotFound");
    if (version !== null && !this.versions.has(version)) {
      return refuse(404, "BlobNotFound");
    }
    if (match !== null && match !== ETAG) return refuse(412, "ConditionNotMet");
    return version !== null && version === this.current
      ? refuse(403, "OperationNotAllowedOnRootBlob")
      : null;
  }
}

async function withVersionedBlob(
  run: (backend: StorageBackend, blob: VersionedBlob) => Promise<void>,
): Promise<void> {
  const blob = new VersionedBlob();
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: (): void => {} },
    (request) => blob.answer(request),
  );
  const backend = await openAt(`http://127.0.0.1:${server.addr.port}`);
  try {
    await run(backend, blob);
  } finally {
    await backend.close();
    await server.shutdown();
  }
}

const KEY = objectKeyOf("depot/a,v");

Deno.test("the current version is deleted by way of its blob, and of that only the one that was meant", () =>
  withVersionedBlob(async (backend, blob) => {
    await backend.delete({ key: KEY, versionId: "v2", ifMatch: ETAG });
    deepStrictEqual(blob.requests, [
      `DELETE v2 ${ETAG}`,
      `DELETE current ${ETAG}`,
      "DELETE v2 -",
    ]);
    deepStrictEqual([blob.current, [...blob.versions]], [null, ["v1"]]);
    // Again, as after an answer that was lost.
    await backend.delete({ key: KEY, versionId: "v2", ifMatch: ETAG });
    deepStrictEqual([blob.current, [...blob.versions]], [null, ["v1"]]);
  }));

Deno.test("a previous version is deleted by its id alone", () =>
  withVersionedBlob(async (backend, blob) => {
    await backend.delete({ key: KEY, versionId: "v1", ifMatch: ETAG });
    deepStrictEqual(blob.requests, [`DELETE v1 ${ETAG}`]);
    deepStrictEqual([blob.current, [...blob.versions]], ["v2", ["v2"]]);
  }));

Deno.test("a current version is left alone if the blob is not the one that was meant, or nobody said which", () =>
  withVersionedBlob(async (backend, blob) => {
    const other = { key: KEY, versionId: "v2", ifMatch: '"0x8D2"' };
    await rejects(backend.delete(other), { fault: "precondition" });
    await rejects(backend.delete({ key: KEY, versionId: "v2" }), { fault: "denied" });
    deepStrictEqual([blob.current, [...blob.versions]], ["v2", ["v1", "v2"]]);
  }));
