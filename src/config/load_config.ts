/**
 * Reads the configuration file, with everything that has to be looked up for it.
 *
 * @module
 */

import { JsonTextError, parseJsonText } from "./json_text.ts";
import type { Config } from "./key_table.ts";
import { parseConfig, storesOf } from "./parse_config.ts";
import { ConfigError, type ConfigProblem } from "./problem.ts";
import { Secret, SecretError, type SecretLookup, SYSTEM_SECRETS } from "./secret.ts";

/**
 * @throws {ConfigError} With all problems at once: the file, its JSON, its keys, and
 * secrets that are not where it says.
 */
export function loadConfig(path: string, secrets: SecretLookup = SYSTEM_SECRETS): Config {
  const parsed = parseConfig(readJson(path), secrets);
  if ("problems" in parsed) throw new ConfigError(path, parsed.problems);
  const unreadable = secretsOf(parsed.config).flatMap(([key, secret]) =>
    secretProblems(key, secret)
  );
  if (unreadable.length > 0) throw new ConfigError(path, unreadable);
  return parsed.config;
}

function readJson(path: string): unknown {
  try {
    const bytes = Deno.readFileSync(path);
    return parseJsonText(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new ConfigError(
      path,
      [{ key: "", value: null, wanted: whyNoJson(error) }],
      error,
    );
  }
}

function whyNoJson(error: unknown): string {
  if (error instanceof JsonTextError) return error.message;
  if (error instanceof Deno.errors.NotFound) return "there is no such file";
  if (error instanceof TypeError) return "it is not valid UTF-8";
  return error instanceof Error ? error.message : String(error);
}

/** The secrets of the stores with the names of their keys. */
function secretsOf(config: Config): [key: string, secret: Secret][] {
  return storesOf(config).flatMap(([name, store]) =>
    Object.entries(store).flatMap(([field, value]): [string, Secret][] => {
      const key = field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
      return value instanceof Secret ? [[`${name}.${key}`, value]] : [];
    })
  );
}

function secretProblems(key: string, secret: Secret): ConfigProblem[] {
  try {
    secret.reveal();
    return [];
  } catch (error) {
    if (!(error instanceof SecretError)) throw error;
    const wanted = `a secret that can be read (${error.message})`;
    return [{ key, value: "not usable", wanted }];
  }
}

/**
 * What is allowed but should not stay so: secrets in files that every user may read.
 * For the log at start.
 */
export function warningsAbout(path: string, config: Config): string[] {
  const files = new Set<string>();
  for (const [, secret] of secretsOf(config)) {
    if (secret.isInline) files.add(path);
    if (secret.file !== null) files.add(secret.file);
  }
  return [...files].filter(isReadableByAll).map((file) =>
    `${JSON.stringify(file)} holds secrets and every user may read it: ` +
    "chmod 0640 it, or put them into a file of their own"
  );
}

function isReadableByAll(path: string): boolean {
  const { mode } = Deno.statSync(path);
  return mode !== null && (mode & 0o004) !== 0;
}
