/**
 * From parsed JSON to a configuration, or to everything that is wrong with it.
 *
 * @module
 */

import { type BackendConfig, completeBackend } from "./backend_keys.ts";
import { type Config, type ConfigFields, KEYS } from "./key_table.ts";
import { readObject } from "./key_spec.ts";
import { type ConfigProblem, describeValue } from "./problem.ts";
import { type SecretLookup, SYSTEM_SECRETS } from "./secret.ts";
import { isObject } from "./value_kinds.ts";

export type ParsedConfig =
  | { readonly config: Config }
  | { readonly problems: readonly ConfigProblem[] };

/** Pure: secrets in files and in the environment are only read when they are revealed. */
export function parseConfig(
  json: unknown,
  secrets: SecretLookup = SYSTEM_SECRETS,
): ParsedConfig {
  if (!isObject(json)) {
    const wanted = `the file has ${describeValue(json)} where an object is wanted`;
    return { problems: [{ key: "", value: null, wanted }] };
  }
  const { fields, problems } = readObject(json, KEYS, "", secrets);
  const all = [...problems, ...problemsBetween(fields)];
  if (all.length > 0) return { problems: all };
  return { config: complete(fields as ConfigFields) };
}

function complete(fields: ConfigFields): Config {
  const { primary, secondary } = fields;
  return {
    ...fields,
    primary: completeBackend(primary, fields),
    secondary: secondary === null ? null : completeBackend(secondary, fields),
    // 80 %, rounded down, without leaving the integers that a number can hold.
    lowWatermarkBytes: fields.lowWatermarkBytes ??
      fields.maxCacheBytes - Math.ceil(fields.maxCacheBytes / 5),
    logLevel: fields.verbose ? "debug" : fields.logLevel,
  };
}

/** Rules that take more than one key. A field with a problem of its own is missing. */
function problemsBetween(fields: Partial<ConfigFields>): ConfigProblem[] {
  return [
    ...cacheProblems(fields),
    ...retryProblems(fields),
    ...placeProblems(fields),
    ...prefixProblems(fields),
    ...accessProblems(fields),
  ];
}

function cacheProblems(fields: Partial<ConfigFields>): ConfigProblem[] {
  const { maxCacheBytes: max, lowWatermarkBytes: low } = fields;
  if (max === undefined || low === undefined || low === null || low < max) return [];
  const wanted = max === 0
    ? "max_cache_bytes or max_cache_gb with it"
    : `less than max_cache_bytes, which is ${max}`;
  return [{ key: "low_watermark_bytes", value: String(low), wanted }];
}

function retryProblems(fields: Partial<ConfigFields>): ConfigProblem[] {
  const { retryBaseMs: base, retryMaxMs: max } = fields;
  if (base === undefined || max === undefined || base <= max) return [];
  const wanted = `at least retry_base_ms, which is ${base}`;
  return [{ key: "retry_max_ms", value: String(max), wanted }];
}

/** A prefix that is also written would borrow from itself. */
function prefixProblems(
  { primary, readPrefixes }: Partial<ConfigFields>,
): ConfigProblem[] {
  if (primary === undefined || readPrefixes === undefined) return [];
  const own = primary.pathPrefix;
  return readPrefixes
    .filter((it) => it === "" || own === "" || isWithin(it, own) || isWithin(own, it))
    .map((prefix) => ({
      key: "read_prefixes",
      value: describeValue(prefix),
      wanted: `prefixes neither in nor above primary.path_prefix, which is "${own}"`,
    }));
}

function accessProblems(fields: Partial<ConfigFields>): ConfigProblem[] {
  if (fields.accessLogEnabled !== true || fields.accessSink !== null) return [];
  return [{ key: "access_log_enabled", value: "true", wanted: "an access_sink with it" }];
}

/** Our own files must not be tiered, and a store must not lie in the tree that it backs. */
function placeProblems(fields: Partial<ConfigFields>): ConfigProblem[] {
  const { depotPath: depot } = fields;
  if (depot === undefined) return [];
  const problems: ConfigProblem[] = [];
  const refuse = (key: string, path: string, wanted: string): void => {
    problems.push({ key, value: describeValue(path), wanted });
  };
  if (depot === "/") refuse("depot_path", depot, "a directory of its own");
  for (
    const [key, path] of [
      ["log_file", fields.logFile],
      ["metrics_file", fields.metricsFile],
      ["pid_file", fields.pidFile],
      ["access_spool_dir", fields.accessSpoolDir],
    ] as const
  ) {
    if (path && isWithin(path, depot) && !isWithin(path, `${depot}/.p4cache`)) {
      refuse(key, path, "a path outside depot_path, or below its .p4cache");
    }
  }
  for (const key of ["primary", "secondary"] as const) {
    const store = fields[key];
    if (store?.type !== "nfs") continue;
    if (isWithin(store.path, depot) || isWithin(depot, store.path)) {
      refuse(`${key}.path`, store.path, "a directory neither in nor above depot_path");
    }
  }
  return problems;
}

function isWithin(path: string, directory: string): boolean {
  return path === directory || path.startsWith(directory === "/" ? "/" : `${directory}/`);
}

/** The stores of a configuration with the names of their keys. */
export function storesOf(
  config: Config,
): readonly (readonly ["primary" | "secondary", BackendConfig])[] {
  const { primary, secondary } = config;
  if (secondary === null) return [["primary", primary]];
  return [["primary", primary], ["secondary", secondary]];
}
