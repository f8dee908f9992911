import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { type Config, type ConfigKey, KEYS } from "./key_table.ts";
import { parseConfig } from "./parse_config.ts";
import { planReload } from "./reload_plan.ts";

function configOf(keys: Readonly<Record<string, unknown>> = {}, secret = "a"): Config {
  const primary = {
    "type": "s3",
    "bucket": "b",
    "access_key": "k",
    "secret_key": secret,
  };
  const parsed = parseConfig({ "depot_path": "/depot", primary, ...keys });
  if ("config" in parsed) return parsed.config;
  throw new Error(JSON.stringify(parsed.problems));
}

/** What administrators have been told. Never edited. */
const PUBLISHED: Readonly<Record<"live" | "restart", readonly ConfigKey[]>> = {
  live: [
    "stats_interval_secs",
    "metrics_interval_secs",
    "max_cache_bytes",
    "low_watermark_bytes",
    "shim_allowed_uids",
    "watcher_allowed_uids",
    "retry_max_attempts",
    "retry_base_ms",
    "retry_max_ms",
    "verbose",
  ],
  restart: [
    "depot_path",
    "primary",
    "secondary",
    "shim_socket_mode",
    "access_sink",
  ],
};

Deno.test("KEYS keeps to the published rules of what takes effect when", () => {
  for (const rule of ["live", "restart"] as const) {
    deepStrictEqual(PUBLISHED[rule].filter((key) => KEYS[key].reload !== rule), []);
  }
});

Deno.test("planReload() finds nothing to do in an equal configuration", () => {
  const keys = { "shim_allowed_uids": [1, 2], "watcher_allowed_uids": [3] };
  const [running, wanted] = [configOf(keys), configOf(keys)];
  deepStrictEqual(planReload(running, wanted), {
    config: wanted,
    applied: [],
    needRestart: [],
  });
});

Deno.test("planReload() sees another hour in bandwidth_schedule, and applies it", () => {
  const scheduled = (to: string): Config =>
    configOf({ "bandwidth_schedule": [{ "from": "08:00", to, "days": ["mon"] }] });
  deepStrictEqual(planReload(scheduled("18:00"), scheduled("18:00")).applied, []);
  const plan = planReload(scheduled("18:00"), scheduled("19:00"));
  deepStrictEqual(plan.applied, ["bandwidth_schedule"]);
  strictEqual(plan.config.bandwidthSchedule[0]?.to, 1_140);
});

Deno.test("planReload() applies live keys and keeps what needs a restart", () => {
  const running = configOf({ "shim_allowed_uids": [1] });
  const wanted = configOf({
    "shim_allowed_uids": [1, 2],
    "max_cache_gb": 1,
    "depot_path": "/other",
    "upload_threads": 9,
    "verbose": true,
  });
  const plan = planReload(running, wanted);
  deepStrictEqual([...plan.applied].sort(), [
    "log_level",
    "low_watermark_bytes",
    "max_cache_bytes",
    "shim_allowed_uids",
    "verbose",
  ]);
  deepStrictEqual([...plan.needRestart].sort(), ["depot_path", "upload_threads"]);
  deepStrictEqual(plan.config, { ...wanted, depotPath: "/depot", uploadThreads: 4 });
});

Deno.test("planReload() sees a changed secret, which prints like any other", () => {
  const [running, wanted] = [configOf({}, "old"), configOf({}, "new")];
  const plan = planReload(running, wanted);
  deepStrictEqual(plan.needRestart, ["primary"]);
  strictEqual(plan.config.primary, running.primary);
});

Deno.test("planReload() sees a store come and go", () => {
  const without = configOf();
  const secondary = { "type": "nfs", "path": "/store" };
  for (
    const [a, b] of [[without, configOf({ secondary })], [
      configOf({ secondary }),
      without,
    ]]
  ) {
    deepStrictEqual(planReload(a!, b!).needRestart, ["secondary"]);
  }
});
