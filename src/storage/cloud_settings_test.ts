import { deepStrictEqual, ok, strictEqual, throws } from "node:assert/strict";
import { hostRuleFor, planCloudSettings, SettingsError } from "./cloud_settings.ts";

function refuses(options: Parameters<typeof planCloudSettings>[0], words: RegExp): void {
  throws(() => planCloudSettings(options), (error) => {
    ok(error instanceof SettingsError && words.test(error.message), String(error));
    return true;
  });
}

Deno.test("verify_ssl = false is refused, with the alternative", () => {
  refuses({ verifySsl: false }, /ca_cert_path/);
  planCloudSettings({ verifySsl: true });
});

Deno.test("an endpoint needs its pin, and no secrets in its URL", () => {
  refuses({ endpoint: "https://s3.example.com" }, /endpoint_pin = true/);
  refuses({ endpoint: "https://s3.example.com", endpointPin: false }, /endpoint_pin/);
  for (
    const endpoint of [
      "s3.example.com",
      "ftp://s3.example.com",
      "https://user:secret@s3.example.com",
      "https://s3.example.com?x=1",
      "https://",
    ]
  ) {
    refuses({ endpoint, endpointPin: true }, /https:\/\/host/);
  }
  const { endpoint } = planCloudSettings({ endpoint: "https://a:1/", endpointPin: true });
  strictEqual(endpoint, "https://a:1");
});

Deno.test("a prefix ends with one slash, or is empty", () => {
  const prefixes = ["", "/", "a", "/a/", "a/b"].map((pathPrefix) =>
    planCloudSettings({ pathPrefix }).prefix
  );
  deepStrictEqual(prefixes, ["", "", "a/", "a/", "a/b/"]);
  refuses({ pathPrefix: "a/../b" }, /segment/);
  refuses({ pathPrefix: "a//b" }, /segment/);
});

Deno.test("the pin allows its host and the bucket's own below it, and nothing else", () => {
  const rule = hostRuleFor("https://s3.example.com:9000", "bucket", /^vendor$/);
  ok(rule.allows("s3.example.com:9000"));
  ok(rule.allows("bucket.s3.example.com:9000"));
  for (
    const host of [
      "s3.example.com",
      "evil.example.com:9000",
      "s3.example.com:9000.evil.com",
      "other.s3.example.com:9000",
      "vendor",
    ]
  ) {
    ok(!rule.allows(host), host);
  }
});

Deno.test("without an endpoint only the vendor's own hosts are allowed", () => {
  const rule = hostRuleFor(null, "b", /\.amazonaws\.com$/);
  ok(rule.allows("b.s3.eu-central-1.amazonaws.com"));
  ok(!rule.allows("amazonaws.com.evil.com"));
});
