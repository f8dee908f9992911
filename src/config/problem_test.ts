import { strictEqual } from "node:assert/strict";
import { ConfigError, describeValue, nearestKey, textOfProblem } from "./problem.ts";

Deno.test("nearestKey() finds what was meant, and is silent where it can only guess", () => {
  const known = ["upload_threads", "restore_threads", "max_cache_gb", "type", "path"];
  const cases: readonly (readonly [string, string | null])[] = [
    ["uplod_threads", "upload_threads"],
    ["upload_thraeds", "upload_threads"],
    ["Upload_Threads", "upload_threads"],
    ["upload-threads", "upload_threads"],
    ["max_cache", "max_cache_gb"],
    ["tpye", "type"],
    ["frobnicate", null],
  ];
  for (const [key, near] of cases) strictEqual(nearestKey(key, known), near, key);
});

Deno.test("describeValue() is short and shows no password of a URL", () => {
  strictEqual(describeValue("x".repeat(200)).length, 80);
  strictEqual(describeValue("https://me:pass@host/x"), '"https://***@host/x"');
  strictEqual(describeValue({ secret_key: "x" }), "an object");
  strictEqual(describeValue(["x"]), "a list");
  strictEqual(describeValue(null), "null");
});

Deno.test("ConfigError lists every problem on a line of its own", () => {
  const problems = [
    { key: "a", value: "0", wanted: "an integer from 1 on" },
    { key: "primary", value: null, wanted: "a store" },
  ];
  strictEqual(
    new ConfigError("/etc/x.json", problems).message,
    'Cannot use the configuration "/etc/x.json":\n' +
      '  "a" is 0; wanted: an integer from 1 on\n' +
      '  "primary" is missing; wanted: a store',
  );
  strictEqual(
    textOfProblem({ key: "", value: null, wanted: "no such file" }),
    "no such file",
  );
});
