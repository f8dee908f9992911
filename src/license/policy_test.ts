import { deepStrictEqual, match } from "node:assert/strict";
import { developmentLicense } from "./policy.ts";

Deno.test("developmentLicense() allows every upload, marks no object and says what it is", () => {
  const policy = developmentLicense();
  deepStrictEqual(policy.mayUpload(Number.MAX_SAFE_INTEGER), { allowed: true });
  deepStrictEqual([policy.softCeilingBytes, policy.hardCeilingBytes], [
    Infinity,
    Infinity,
  ]);
  deepStrictEqual(policy.watermark, {});
  match(policy.banner(), /^Development licence\b/);
});
