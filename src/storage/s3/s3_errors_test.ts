import { ok, strictEqual } from "node:assert/strict";
import { TransportError } from "../http/transport.ts";
import { StorageError, type StorageFault } from "../storage_error.ts";
import { isRefusal, s3Error } from "./s3_errors.ts";

/** As the SDK throws what services answer: recorded from AWS's list and from radosgw 16. */
function sdkError(
  code: string,
  status: number | null,
  headers: Record<string, string> = {},
): Error {
  return Object.assign(new Error("what the store says"), {
    name: code,
    ...(status === null ? {} : { $metadata: { httpStatusCode: status } }),
    $response: { headers },
  });
}

function faultOf(error: unknown): StorageFault {
  const fault = s3Error("download", "k", error, undefined);
  ok(fault instanceof StorageError, String(fault));
  return fault.fault;
}

Deno.test("each answer of S3 has its fault", () => {
  const table: readonly (readonly [string, number, StorageFault])[] = [
    ["NoSuchKey", 404, "not-found"],
    // The SDK's name for a 404 without the service's own words.
    ["NotFound", 404, "invalid"],
    ["NoSuchBucket", 404, "invalid"],
    ["AccessDenied", 403, "denied"],
    ["SignatureDoesNotMatch", 403, "denied"],
    ["InvalidAccessKeyId", 403, "denied"],
    ["ExpiredToken", 400, "denied"],
    ["RequestTimeTooSkewed", 403, "unavailable"],
    ["PreconditionFailed", 412, "precondition"],
    ["ConditionalRequestConflict", 409, "unavailable"],
    ["XAmzContentSHA256Mismatch", 400, "corrupt"],
    ["BadDigest", 400, "corrupt"],
    ["InvalidRange", 416, "corrupt"],
    ["InvalidObjectState", 403, "archived"],
    ["SlowDown", 503, "throttled"],
    ["InternalError", 500, "unavailable"],
    ["PermanentRedirect", 301, "invalid"],
    ["QuotaExceeded", 403, "full"],
    ["KeyTooLongError", 400, "invalid"],
    // A version id that another vendor gave.
    ["InvalidArgument", 400, "invalid"],
    // A HEAD's answer has no body: the SDK makes a name of the status.
    ["Unknown", 403, "denied"],
    ["Unknown", 503, "throttled"],
    ["UnknownError", 502, "unavailable"],
  ];
  for (const [code, status, fault] of table) {
    strictEqual(faultOf(sdkError(code, status)), fault, code);
  }
});

Deno.test("a HEAD that is answered 404 finds nothing", () => {
  const error = s3Error("head", "k", sdkError("NotFound", 404), undefined);
  ok(error instanceof StorageError);
  strictEqual(error.fault, "not-found");
});

Deno.test("a HEAD that is answered 400 is of an expired token, or of another region", () => {
  const error = s3Error("head", "k", sdkError("Unknown", 400), undefined);
  ok(error instanceof StorageError);
  strictEqual(error.fault, "denied");
  ok(/credentials have expired, or region is wrong/.test(error.message), error.message);
  strictEqual(faultOf(sdkError("Unknown", 400)), "invalid", "a GET would have said why");
});

Deno.test("only the service's own words are a refusal", () => {
  const refused = ["PreconditionFailed", "AccessDenied", "InvalidPart", "EntityTooSmall"];
  for (const code of refused) strictEqual(isRefusal(sdkError(code, 400)), true, code);
  const unsure = [
    sdkError("InternalError", 500),
    sdkError("SlowDown", 503),
    sdkError("RequestTimeout", 400),
    sdkError("NoSuchUpload", 404),
    sdkError("ConditionalRequestConflict", 409),
    // Pages of something in between.
    sdkError("Unknown", 403),
    sdkError("UnknownError", 502),
    new TransportError("stalled", "x"),
    new Error("stop"),
  ];
  for (const error of unsure) strictEqual(isRefusal(error), false, error.name);
});

Deno.test("credentials that cannot be found are denied, without any answer", () => {
  strictEqual(faultOf(sdkError("CredentialsProviderError", null)), "denied");
});

Deno.test("no answer is unavailable, a refused host is a setting", () => {
  for (const fault of ["dns", "connect", "tls", "broken", "stalled"] as const) {
    strictEqual(faultOf(new TransportError(fault, "x")), "unavailable", fault);
  }
  strictEqual(faultOf(new TransportError("pinned", "x")), "invalid");
});

Deno.test("Retry-After is passed on", () => {
  const error = sdkError("SlowDown", 503, { "retry-after": "3" });
  const fault = s3Error("head", "k", error, undefined) as StorageError;
  strictEqual(fault.retryAfterMs, 3_000);
});

Deno.test("a bug and an abort are not the store's", () => {
  const bug = new TypeError("undefined is not a function");
  strictEqual(s3Error("head", "k", bug, undefined), bug);
  const reason = new Error("stop");
  strictEqual(s3Error("head", "k", bug, AbortSignal.abort(reason)), reason);
});
