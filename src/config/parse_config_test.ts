// deno-lint-ignore-file no-console -- the seed of a random test
import { deepStrictEqual, doesNotMatch, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import { GIB } from "../core/units.ts";
import { namesOf } from "./key_spec.ts";
import { type Config, KEYS } from "./key_table.ts";
import { parseConfig } from "./parse_config.ts";
import { textOfProblem } from "./problem.ts";
import { revealSecrets, type SecretLookup } from "./secret.ts";

const NO_SECRETS: SecretLookup = {
  file: () => {
    throw new Error("parseConfig() must not read");
  },
  env: () => {
    throw new Error("parseConfig() must not read");
  },
};

const LEAST = { "depot_path": "/depot", "primary": { "type": "nfs", "path": "/store" } };
const S3 = { "type": "s3", "bucket": "b" };

type Json = Readonly<Record<string, unknown>>;

/** The configuration of the least one with these keys. */
function configOf(keys: Json = {}): Config {
  const parsed = parseConfig({ ...LEAST, ...keys }, NO_SECRETS);
  if ("config" in parsed) return parsed.config;
  throw new Error(parsed.problems.map(textOfProblem).join("\n"));
}

/** What is wrong with the least configuration with these keys. */
function complaintsOf(keys: Json): string[] {
  const parsed = parseConfig({ ...LEAST, ...keys }, NO_SECRETS);
  return "problems" in parsed ? parsed.problems.map(textOfProblem) : [];
}

Deno.test("parseConfig() needs a depot and a store, and knows a default for the rest", () => {
  deepStrictEqual(configOf(), {
    depotPath: "/depot",
    manage: "archives",
    readOnly: false,
    primary: { type: "nfs", path: "/store", pathPrefix: "", initialize: false },
    secondary: null,
    storeLookupOnMiss: null,
    enforceContentHash: true,
    maxCacheBytes: 0,
    lowWatermarkBytes: 0,
    minFreeBytes: null,
    evictMinAgeSecs: 60,
    evictVerify: "head",
    uploadThreads: 4,
    uploadConcurrency: 16,
    uploadSettleMs: 2_000,
    restoreThreads: 16,
    restoreChunkThresholdMb: 64,
    restoreChunkThreads: 4,
    bandwidthUploadMbps: 0,
    borrowedTtlSecs: 3_600,
    readPrefixes: [],
    recallMaxBytesPerDay: 0,
    recallUidSharePercent: 100,
    backgroundScanFilesPerSec: 1000,
    bandwidthDownloadMbps: 0,
    bandwidthSchedule: [],
    retryMaxAttempts: 3,
    retryBaseMs: 500,
    retryMaxMs: 30_000,
    slowRetrySecs: 900,
    deleteGraceSecs: 86_400,
    deleteMaxPerHour: 1_000,
    skipStartupScan: false,
    rescanCooldownSecs: 30,
    shimAllowedUids: [],
    watcherAllowedUids: [],
    shimSocketMode: "0660",
    shimMaxRequests: 1_024,
    logFile: null,
    logFormat: "text",
    logLevel: "info",
    verbose: false,
    logRotateMaxMb: 100,
    logRetentionDays: 14,
    failedLogRotateMaxMb: 50,
    statsIntervalSecs: 60,
    metricsFile: null,
    metricsIntervalSecs: 15,
    accessLogEnabled: false,
    accessSink: null,
    accessBatchSize: 500,
    accessFlushIntervalSecs: 5,
    accessMaxPendingEntries: 100_000,
    accessSpoolDir: null,
    accessSpoolMaxBytes: GIB,
    daemon: false,
    pidFile: null,
  });
});

Deno.test("parseConfig() says what is missing", () => {
  const parsed = parseConfig({}, NO_SECRETS);
  deepStrictEqual(
    "problems" in parsed && parsed.problems.map((it) => [it.key, it.value]),
    [
      ["depot_path", null],
      ["primary", null],
    ],
  );
  for (const json of [null, [], "text", 1]) {
    strictEqual("problems" in parseConfig(json, NO_SECRETS), true);
  }
});

Deno.test("parseConfig() takes the cache's sizes in bytes or in units of 2^30", () => {
  const cases: readonly (readonly [Json, number, number])[] = [
    [{ "max_cache_bytes": 1_000 }, 1_000, 800],
    [{ "max_cache_gb": 1.5 }, 1.5 * GIB, 1_288_490_188],
    [{ "max_cache_gb": 2, "low_watermark_gb": 1 }, 2 * GIB, GIB],
    [{ "max_cache_gb": 2, "low_watermark_bytes": 7 }, 2 * GIB, 7],
    [{ "max_cache_bytes": 1 }, 1, 0],
    [{ "max_cache_bytes": 2 ** 53 - 1 }, 2 ** 53 - 1, 7_205_759_403_792_792],
  ];
  for (const [keys, max, low] of cases) {
    const { maxCacheBytes, lowWatermarkBytes } = configOf(keys);
    deepStrictEqual([maxCacheBytes, lowWatermarkBytes], [max, low]);
  }
});

Deno.test("parseConfig() reads the hours of bandwidth_schedule as minutes", () => {
  const { bandwidthSchedule } = configOf({
    "bandwidth_schedule": [
      { "from": "08:30", "to": "18:00", "days": ["mon", "fri"], "upload_mbps": 100 },
      { "from": "22:00", "to": "06:00" },
      { "from": "00:00", "to": "24:00", "download_mbps": 1.5 },
    ],
  });
  const open = { days: null, uploadMbps: 0, downloadMbps: 0 };
  deepStrictEqual(bandwidthSchedule, [
    { ...open, from: 510, to: 1_080, days: ["mon", "fri"], uploadMbps: 100 },
    { ...open, from: 1_320, to: 360 },
    { ...open, from: 0, to: 1_440, downloadMbps: 1.5 },
  ]);
});

Deno.test("parseConfig() says which hour of bandwidth_schedule is wrong", () => {
  const window = { "from": "08:00", "to": "18:00" };
  const cases: readonly (readonly [unknown, string])[] = [
    ["08:00-18:00", "bandwidth_schedule"],
    [["08:00"], "bandwidth_schedule[0]"],
    [[window, { "from": "08:00" }], "bandwidth_schedule[1].to"],
    [[{ ...window, "to": "08:00" }], "bandwidth_schedule[0].to"],
    [[{ ...window, "from": "24:00" }], "bandwidth_schedule[0].from"],
    [[{ ...window, "from": "8:00" }], "bandwidth_schedule[0].from"],
    [[{ ...window, "days": [] }], "bandwidth_schedule[0].days"],
    [[{ ...window, "days": ["Mon"] }], "bandwidth_schedule[0].days[0]"],
    [[{ ...window, "upload_mbps": -1 }], "bandwidth_schedule[0].upload_mbps"],
    [[{ ...window, "upload": 1 }], "bandwidth_schedule[0].upload"],
  ];
  for (const [value, key] of cases) {
    const parsed = parseConfig({ ...LEAST, "bandwidth_schedule": value }, NO_SECRETS);
    deepStrictEqual("problems" in parsed && parsed.problems.map((it) => it.key), [key]);
  }
});

Deno.test("parseConfig() takes the older names of two keys", () => {
  const config = configOf({ "stats_interval": 0, "metrics_interval": 5 });
  deepStrictEqual([config.statsIntervalSecs, config.metricsIntervalSecs], [0, 5]);
});

Deno.test("parseConfig() writes paths, prefixes and modes in one way", () => {
  const config = configOf({
    "depot_path": "//p4//depots/",
    "shim_socket_mode": "600",
    "primary": {
      ...S3,
      "path_prefix": "/x/y/",
      "endpoint": "https://h:9/",
      "endpoint_pin": true,
    },
  });
  strictEqual(config.depotPath, "/p4/depots");
  strictEqual(config.shimSocketMode, "0600");
  strictEqual(config.primary.pathPrefix, "x/y");
  strictEqual("endpoint" in config.primary && config.primary.endpoint, "https://h:9");
});

Deno.test("parseConfig() folds verbose into the level", () => {
  strictEqual(configOf({ "verbose": true, "log_level": "warn" }).logLevel, "debug");
  strictEqual(
    configOf({ "log_level": "warn,engine=debug" }).logLevel,
    "warn,engine=debug",
  );
});

Deno.test("parseConfig() gives a store the common chunk settings unless it has its own", () => {
  const { primary, secondary } = configOf({
    "restore_chunk_threshold_mb": 0,
    "restore_chunk_threads": 9,
    "primary": { ...S3, "restore_chunk_threads": 2 },
    "secondary": { "type": "gcs", "bucket": "b" },
  });
  const tuning = (store: unknown): unknown[] => {
    const { restoreChunkThresholdMb, restoreChunkThreads } = store as Config;
    return [restoreChunkThresholdMb, restoreChunkThreads];
  };
  deepStrictEqual(tuning(primary), [0, 2]);
  deepStrictEqual(tuning(secondary), [0, 9]);
});

Deno.test("parseConfig() addresses an endpoint of one's own by path unless told otherwise", () => {
  const pathStyle = (keys: Json): unknown => {
    const { primary } = configOf({ "primary": { ...S3, ...keys } });
    return "forcePathStyle" in primary ? primary.forcePathStyle : undefined;
  };
  const own = { "endpoint": "http://127.0.0.1:9000", "endpoint_pin": true };
  strictEqual(pathStyle({}), false);
  strictEqual(pathStyle(own), true);
  strictEqual(pathStyle({ ...own, "force_path_style": false }), false);
});

Deno.test("parseConfig() takes secrets from three places and reads none of them", () => {
  const { primary } = configOf({
    "primary": {
      ...S3,
      "access_key": "text",
      "secret_key": { "file": "/key" },
      "session_token": { "env": "TOKEN" },
    },
  });
  if (primary.type !== "s3") throw new Error("not s3");
  strictEqual(primary.accessKey?.reveal(), "text");
  strictEqual(primary.secretKey?.file, "/key");
  strictEqual(revealSecrets({ key: primary.accessKey }).key, "text");
});

Deno.test("parseConfig() names every problem at once, with what is wanted", () => {
  deepStrictEqual(
    complaintsOf({
      "depot_path": "p4/depots",
      "uplod_threads": 5,
      "upload_threads": 0,
      "retry_max_attempts": 2.5,
      "verbose": "yes",
      "manage": "some",
      "shim_socket_mode": "rw",
      "log_level": "loud",
      "shim_allowed_uids": [1, "a", -1],
      "max_cache_bytes": "10G",
      "daemon": true,
      "access_sink": { "type": "postgres" },
    }),
    [
      '"uplod_threads" is a number; wanted: a key that is known, such as "upload_threads"',
      '"depot_path" is "p4/depots"; wanted: an absolute path without . and ..',
      '"manage" is "some"; wanted: "archives" or "all"',
      '"max_cache_bytes" is "10G"; wanted: an integer from 0 on',
      '"upload_threads" is 0; wanted: an integer from 1 to 64',
      '"retry_max_attempts" is 2.5; wanted: an integer from 0 to 20',
      '"shim_allowed_uids[1]" is "a"; wanted: an integer from 0 to 4294967294',
      '"shim_allowed_uids[2]" is -1; wanted: an integer from 0 to 4294967294',
      '"shim_socket_mode" is "rw"; wanted: a mode in octal digits, such as "0660"',
      '"log_level" is "loud"; wanted: debug, info, warn or error, and exceptions for modules: ' +
      '"info,engine=debug"',
      '"verbose" is "yes"; wanted: true or false',
      '"access_sink" is an object; wanted: null, because this build has no access log sink',
      '"daemon" is true; wanted: false, because systemd or another supervisor keeps the ' +
      "process in the background",
    ],
  );
});

Deno.test("parseConfig() never repeats what may be a secret", () => {
  const said = complaintsOf({
    "sas_token": "hunter2",
    "primary": {
      ...S3,
      "secret_kye": "hunter2",
      "secret_key": ["hunter2"],
      "session_token": { "text": "hunter2" },
      "endpoint": "https://me:hunter2@host",
    },
    "secondary": "s3://hunter2@bucket",
  });
  strictEqual(said.length, 6, said.join("\n"));
  strictEqual(said.some((it) => it.includes("hunter2")), false, said.join("\n"));
});

/** One rule between keys each: the keys, and the key that is complained of. */
const RULES: readonly (readonly [string, Json, string])[] = [
  ["both sizes", { "max_cache_gb": 1, "max_cache_bytes": 1 }, "max_cache_gb"],
  ["both names", { "stats_interval": 1, "stats_interval_secs": 1 }, "stats_interval"],
  [
    "low as max",
    { "max_cache_bytes": 9, "low_watermark_bytes": 9 },
    "low_watermark_bytes",
  ],
  ["low without max", { "low_watermark_gb": 1 }, "low_watermark_bytes"],
  ["waits", { "retry_base_ms": 2_000, "retry_max_ms": 1_000 }, "retry_max_ms"],
  [
    "an own prefix to read",
    { "primary": { ...S3, "path_prefix": "a/b" }, "read_prefixes": ["c", "a"] },
    "read_prefixes",
  ],
  ["no prefix of its own", { "read_prefixes": ["c"] }, "read_prefixes"],
  ["no sink", { "access_log_enabled": true }, "access_log_enabled"],
  ["log in the depot", { "log_file": "/depot/x.log" }, "log_file"],
  ["metrics in the depot", { "metrics_file": "/depot/x.prom" }, "metrics_file"],
  ["pid in the depot", { "pid_file": "/depot/x.pid" }, "pid_file"],
  ["spool in the depot", { "access_spool_dir": "/depot/a/b" }, "access_spool_dir"],
  ["root as depot", { "depot_path": "/", "primary": S3 }, "depot_path"],
  [
    "store in the depot",
    { "primary": { "type": "nfs", "path": "/depot/store" } },
    "primary.path",
  ],
  [
    "depot in the store",
    { "secondary": { "type": "nfs", "path": "/" } },
    "secondary.path",
  ],
  ["store as depot", { "primary": { "type": "nfs", "path": "/depot/" } }, "primary.path"],
  ["unpinned", { "primary": { ...S3, "endpoint": "https://h" } }, "primary.endpoint_pin"],
  ["half a key", { "primary": { ...S3, "access_key": "a" } }, "primary.secret_key"],
  ["other half", { "primary": { ...S3, "secret_key": "a" } }, "primary.access_key"],
  [
    "token alone",
    { "primary": { ...S3, "session_token": "a" } },
    "primary.session_token",
  ],
  ["KMS alone", { "primary": { ...S3, "kms_key_id": "a" } }, "primary.kms_key_id"],
  [
    "two credentials",
    {
      "primary": {
        "type": "azure",
        "container": "c",
        "account_name": "a",
        "account_key": "k",
        "sas_token": "s",
      },
    },
    "primary.sas_token",
  ],
  ["no TLS check", { "primary": { ...S3, "verify_ssl": false } }, "primary.verify_ssl"],
  ["no type", { "primary": { "bucket": "b" } }, "primary.type"],
  ["unknown type", { "primary": { "type": "ftp" } }, "primary.type"],
  [
    "a key of another store",
    { "primary": { ...S3, "account_key": "x" } },
    "primary.account_key",
  ],
  [
    "a bad prefix",
    { "primary": { ...S3, "path_prefix": "a/../b" } },
    "primary.path_prefix",
  ],
  ["a control", { "primary": { ...S3, "bucket": "a\nb" } }, "primary.bucket"],
  ["a scheme", { "primary": { ...S3, "endpoint": "ftp://h" } }, "primary.endpoint"],
];

for (const [name, keys, key] of RULES) {
  Deno.test(`parseConfig() refuses: ${name}`, () => {
    const parsed = parseConfig({ ...LEAST, ...keys }, NO_SECRETS);
    deepStrictEqual("problems" in parsed && parsed.problems.map((it) => it.key), [key]);
  });
}

Deno.test("parseConfig() lets our own files lie outside the depot or below its .p4cache", () => {
  configOf({
    "log_file": "/depot/.p4cache/p4-cache.log",
    "metrics_file": "/depots/x.prom",
  });
});

Deno.test("parseConfig() answers whatever stands under its keys, in single lines", () => {
  const seed = Date.now() % 2 ** 31;
  console.log(`seed ${seed}`);
  const store = fc.dictionary(
    fc.constantFrom(
      "type",
      "path",
      "bucket",
      "endpoint",
      "secret_key",
      "path_prefix",
      "x",
    ),
    fc.oneof(fc.constantFrom("s3", "nfs", "azure", "gcs"), fc.jsonValue({ maxDepth: 1 })),
  );
  const keys = fc.dictionary(
    fc.oneof(fc.constantFrom(...namesOf(KEYS)), fc.string({ unit: "binary" })),
    fc.oneof(store, fc.jsonValue({ maxDepth: 2 }), fc.integer(), fc.boolean()),
  );
  fc.assert(
    fc.property(keys, fc.boolean(), (json, isComplete) => {
      const parsed = parseConfig(isComplete ? { ...LEAST, ...json } : json, NO_SECRETS);
      if ("config" in parsed) return;
      strictEqual(parsed.problems.length > 0, true);
      for (const problem of parsed.problems) {
        // deno-lint-ignore no-control-regex
        doesNotMatch(textOfProblem(problem), /[\x00-\x1f]/);
      }
    }),
    { seed, numRuns: 2_000 },
  );
});
