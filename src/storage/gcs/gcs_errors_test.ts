import { ok, strictEqual } from "node:assert/strict";
import { StorageError, type StorageFault } from "../storage_error.ts";
import { GcsAnswerError, GcsAuthError, gcsError } from "./gcs_errors.ts";

function answer(
  status: number,
  reason: string,
  message = "what it says",
): GcsAnswerError {
  const error = {
    code: status,
    message,
    errors: [{ domain: "global", reason, message }],
  };
  return new GcsAnswerError(status, {}, JSON.stringify({ error }));
}

function faultOf(error: unknown): StorageFault {
  const fault = gcsError("download", "k", error, undefined);
  ok(fault instanceof StorageError, String(fault));
  return fault.fault;
}

Deno.test("each answer of Google has its fault", () => {
  const bucket = "The specified bucket does not exist.";
  const hash = 'Provided MD5 hash "x" doesn\'t match calculated MD5 hash "y".';
  strictEqual(faultOf(answer(404, "notFound", "No such object: b/k")), "not-found");
  strictEqual(faultOf(answer(404, "notFound", bucket)), "invalid");
  strictEqual(faultOf(answer(401, "authError")), "denied");
  strictEqual(faultOf(answer(403, "forbidden")), "denied");
  strictEqual(faultOf(answer(403, "rateLimitExceeded")), "throttled");
  strictEqual(faultOf(answer(412, "conditionNotMet")), "precondition");
  strictEqual(faultOf(answer(400, "invalid", hash)), "corrupt");
  strictEqual(faultOf(answer(400, "invalid")), "invalid");
  strictEqual(faultOf(answer(410, "gone")), "unavailable");
  strictEqual(faultOf(answer(416, "requestedRangeNotSatisfiable")), "corrupt");
  strictEqual(faultOf(answer(429, "rateLimitExceeded")), "throttled");
  strictEqual(faultOf(answer(503, "backendError")), "unavailable");
});

Deno.test("an answer in plain text has the fault of its status", () => {
  strictEqual(faultOf(new GcsAnswerError(404, {}, "No such object: b/k")), "not-found");
  strictEqual(faultOf(new GcsAnswerError(503, {}, "<html>busy</html>")), "throttled");
});

Deno.test("tokens that cannot be had are denied, or unavailable", () => {
  strictEqual(faultOf(new GcsAuthError("denied", "x")), "denied");
  strictEqual(faultOf(new GcsAuthError("unavailable", "x")), "unavailable");
});

Deno.test("a bug and an abort are not the store's", () => {
  const bug = new TypeError("undefined is not a function");
  strictEqual(gcsError("head", "k", bug, undefined), bug);
  const reason = new Error("stop");
  strictEqual(gcsError("head", "k", bug, AbortSignal.abort(reason)), reason);
});
