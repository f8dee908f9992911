import { ok, strictEqual } from "node:assert/strict";
import { TransportError } from "../http/transport.ts";
import { StorageError, type StorageFault } from "../storage_error.ts";
import { sasExpiryMsOf } from "./azure_client.ts";
import { azureError } from "./azure_errors.ts";

/** As the SDK throws what the service answers: recorded from its list and from Azurite. */
function sdkError(code: string | undefined, statusCode: number, headers = {}): Error {
  const all = new Map<string, string>(Object.entries(headers));
  const response = { headers: { get: (name: string) => all.get(name) } };
  const message = "what the store says\nRequestId:1\nTime:2";
  return Object.assign(new Error(message), {
    name: "RestError",
    code,
    statusCode,
    response,
  });
}

function faultOf(error: unknown): StorageFault {
  const fault = azureError("download", "k", error, undefined);
  ok(fault instanceof StorageError, String(fault));
  ok(!fault.message.includes("RequestId"), "one line is enough");
  return fault.fault;
}

Deno.test("each answer of Azure has its fault", () => {
  const table: readonly (readonly [string, number, StorageFault])[] = [
    ["BlobNotFound", 404, "not-found"],
    ["ContainerNotFound", 404, "invalid"],
    ["AuthenticationFailed", 403, "denied"],
    ["AuthorizationFailure", 403, "denied"],
    ["BlobAlreadyExists", 409, "precondition"],
    ["ConditionNotMet", 412, "precondition"],
    ["Md5Mismatch", 400, "corrupt"],
    ["InvalidRange", 416, "corrupt"],
    ["BlobArchived", 409, "archived"],
    ["ServerBusy", 503, "throttled"],
    ["InternalError", 500, "unavailable"],
    ["InvalidBlockList", 400, "unavailable"],
    ["RequestBodyTooLarge", 413, "invalid"],
    // A version id that another vendor gave.
    ["InvalidQueryParameterValue", 400, "invalid"],
  ];
  for (const [code, status, fault] of table) {
    strictEqual(faultOf(sdkError(code, status)), fault, code);
  }
});

Deno.test("the code of an answer without a body is in its headers", () => {
  const absent = sdkError(undefined, 404, { "x-ms-error-code": "ContainerNotFound" });
  strictEqual(faultOf(absent), "invalid");
  const gone = sdkError(undefined, 404, { "x-ms-error-code": "BlobNotFound" });
  strictEqual(faultOf(gone), "not-found");
  strictEqual(faultOf(sdkError(undefined, 404)), "invalid", "somebody else's words");
});

Deno.test("credentials that cannot be found are denied, no answer is unavailable", () => {
  const name = "CredentialUnavailableError";
  strictEqual(faultOf(Object.assign(new Error("none"), { name })), "denied");
  strictEqual(faultOf(new TransportError("connect", "x")), "unavailable");
  // As DefaultAzureCredential says it of an endpoint where nobody listens.
  const away =
    "ChainedTokenCredential authentication failed.\nCredentialUnavailableError: " +
    "ManagedIdentityCredential: Network unreachable. Message: network_error: See https://x";
  const aggregate = { name: "AggregateAuthenticationError" };
  strictEqual(faultOf(Object.assign(new Error(away), aggregate)), "unavailable");
  strictEqual(faultOf(Object.assign(new Error("all failed"), aggregate)), "denied");
});

Deno.test("a bug and an abort are not the store's", () => {
  const bug = new TypeError("undefined is not a function");
  strictEqual(azureError("head", "k", bug, undefined), bug);
  const reason = new Error("stop");
  strictEqual(azureError("head", "k", bug, AbortSignal.abort(reason)), reason);
});

Deno.test("sasExpiryMsOf() reads the end of a SAS", () => {
  const end = Date.parse("2030-01-02T03:04:05Z");
  strictEqual(sasExpiryMsOf("sv=2024&se=2030-01-02T03%3A04%3A05Z&sig=x"), end);
  strictEqual(sasExpiryMsOf("?se=2030-01-02T03:04:05Z"), end);
  strictEqual(sasExpiryMsOf("si=policy"), null);
  strictEqual(sasExpiryMsOf(""), null);
});
