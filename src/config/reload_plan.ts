/**
 * Decides what a changed configuration may do to a running daemon. Pure.
 *
 * @module
 */

import { camelCase } from "./key_spec.ts";
import { type Config, type ConfigKey, KEYS } from "./key_table.ts";
import { Secret } from "./secret.ts";

export interface ReloadPlan {
  /** What runs from now on: the wanted `live` keys, the running `restart` keys. */
  readonly config: Config;
  /** Changed and in effect. */
  readonly applied: readonly ConfigKey[];
  /** Changed in the file, but not in effect until a restart. */
  readonly needRestart: readonly ConfigKey[];
}

export function planReload(running: Config, wanted: Config): ReloadPlan {
  const changed = (Object.keys(KEYS) as ConfigKey[]).filter((key) => {
    const field = camelCase(key) as keyof Config;
    return !isSame(running[field], wanted[field]);
  });
  const needRestart = changed.filter((key) => KEYS[key].reload === "restart");
  const kept = needRestart.map((key) => {
    const field = camelCase(key) as keyof Config;
    return [field, running[field]];
  });
  return {
    config: { ...wanted, ...Object.fromEntries(kept) },
    applied: changed.filter((key) => KEYS[key].reload === "live"),
    needRestart,
  };
}

/** Values of a configuration: primitives, secrets, and lists and objects of them. */
function isSame(a: unknown, b: unknown): boolean {
  if (a instanceof Secret || b instanceof Secret) {
    return a instanceof Secret && b instanceof Secret && a.isSame(b);
  }
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) {
    return a === b;
  }
  const [left, right] = [a, b] as Readonly<Record<string, unknown>>[];
  const keys = Object.keys(left!);
  return keys.length === Object.keys(right!).length &&
    keys.every((key) => Object.hasOwn(right!, key) && isSame(left![key], right![key]));
}
