import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { dateMsOf, faultOfStatus, retryAfterMsOf } from "./http_fault.ts";

Deno.test("a status without a code still says what to do", () => {
  const statuses = [301, 307, 400, 401, 403, 404, 408, 412, 429, 500, 502, 503, 504, 507];
  deepStrictEqual(statuses.map(faultOfStatus), [
    ...["invalid", "invalid", "invalid", "denied", "denied", "invalid", "unavailable"],
    ...["precondition", "throttled", "unavailable", "unavailable", "throttled"],
    ...["unavailable", "full"],
  ]);
});

Deno.test("Retry-After is seconds or a date, and nothing else", () => {
  const nowMs = Date.parse("Mon, 01 Jan 2024 00:00:00 GMT");
  strictEqual(retryAfterMsOf("7", nowMs), 7_000);
  strictEqual(retryAfterMsOf("Mon, 01 Jan 2024 00:00:30 GMT", nowMs), 30_000);
  strictEqual(retryAfterMsOf("Mon, 01 Jan 2023 00:00:30 GMT", nowMs), 0);
  strictEqual(retryAfterMsOf("soon", nowMs), null);
  strictEqual(retryAfterMsOf(undefined, nowMs), null);
});

Deno.test("a date that is none is unknown", () => {
  strictEqual(dateMsOf("Mon, 01 Jan 2024 00:00:00 GMT"), 1_704_067_200_000);
  strictEqual(dateMsOf("yesterday"), null);
  strictEqual(dateMsOf(undefined), null);
});
