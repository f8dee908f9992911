/**
 * What the table says of a key, and how an object with such keys is read.
 *
 * @module
 */

import { GIB } from "../core/units.ts";
import { type ConfigProblem, describeKind, nearestKey } from "./problem.ts";
import type { SecretLookup } from "./secret.ts";
import { number, type Reading, type ValueKind } from "./value_kinds.ts";

export interface KeySpec<T> {
  readonly kind: ValueKind<T>;
  /** Undefined: the key must be given. */
  readonly default: T | undefined;
  /** `restart` for what other state refers to, or what is built once at start. */
  readonly reload: "live" | "restart";
  /** One or two sentences of Markdown, for the documentation. */
  readonly help: string;
  /** What the default means, where the value alone does not say it. */
  readonly defaultNote?: string;
  /** An older name of the key. */
  readonly alias?: string;
  /** A key for the same in units of 2^30 bytes. */
  readonly gigabytes?: string;
}

export type KeyTable = Readonly<Record<string, KeySpec<unknown>>>;

type Camel<S extends string> = S extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<Camel<Tail>>}`
  : S;

/** The object that a table describes: its keys in our spelling, with the types of their kinds. */
export type FieldsOf<T extends KeyTable> = {
  readonly [K in keyof T & string as Camel<K>]: T[K] extends KeySpec<infer V> ? V : never;
};

type Rest<T> = Omit<KeySpec<T>, "kind" | "default" | "reload" | "help"> & {
  readonly help: string;
};

export function live<T>(
  kind: ValueKind<T>,
  fallback: NoInfer<T> | undefined,
  rest: Rest<T>,
): KeySpec<T> {
  return { kind, default: fallback, reload: "live", ...rest };
}

export function restart<T>(
  kind: ValueKind<T>,
  fallback: NoInfer<T> | undefined,
  rest: Rest<T>,
): KeySpec<T> {
  return { kind, default: fallback, reload: "restart", ...rest };
}

export function camelCase(key: string): string {
  return key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** All names under which the keys of a table may be given. */
export function namesOf(table: KeyTable): string[] {
  return Object.entries(table).flatMap(([key, { alias, gigabytes }]) =>
    [key, alias, gigabytes].filter((it) => it !== undefined)
  );
}

export interface ObjectReading {
  /** By field name; what has a problem is missing. */
  readonly fields: Readonly<Record<string, unknown>>;
  readonly problems: readonly ConfigProblem[];
}

/**
 * Reads an object of the configuration. Unknown keys are problems: a misspelt limit that
 * is silently no limit costs more than a refused start.
 *
 * @param at "" or the path of the object with a dot at its end.
 */
export function readObject(
  json: Readonly<Record<string, unknown>>,
  table: KeyTable,
  at: string,
  secrets: SecretLookup,
): ObjectReading {
  const problems: ConfigProblem[] = [];
  const fields: Record<string, unknown> = {};
  const known = namesOf(table);
  for (const [key, value] of Object.entries(json)) {
    if (!known.includes(key)) problems.push(unknownKey(at, key, value, known));
  }
  for (const [key, spec] of Object.entries(table)) {
    const reading = readKey(json, key, spec, { at, secrets });
    if ("problems" in reading) problems.push(...reading.problems);
    else fields[camelCase(key)] = reading.value;
  }
  return { fields, problems };
}

/** The value is not shown: the key may be the misspelt one of a secret. */
function unknownKey(
  at: string,
  key: string,
  value: unknown,
  known: readonly string[],
): ConfigProblem {
  const near = nearestKey(key, known);
  return {
    key: `${at}${key}`,
    value: describeKind(value),
    wanted: near === null
      ? "a key that is known"
      : `a key that is known, such as "${at}${near}"`,
  };
}

function readKey(
  json: Readonly<Record<string, unknown>>,
  key: string,
  spec: KeySpec<unknown>,
  { at, secrets }: { readonly at: string; readonly secrets: SecretLookup },
): Reading<unknown> {
  const given = [key, spec.alias, spec.gigabytes].filter((it) =>
    it !== undefined && Object.hasOwn(json, it)
  ) as string[];
  const [name, other] = given;
  if (name === undefined) {
    if (spec.default !== undefined) return { value: spec.default };
    return { problems: [{ key: `${at}${key}`, value: null, wanted: spec.kind.wanted }] };
  }
  if (other !== undefined) {
    const wanted = `only one of it and "${at}${name}", which says the same`;
    return {
      problems: [{ key: `${at}${other}`, value: describeKind(json[other]), wanted }],
    };
  }
  const place = { key: `${at}${name}`, secrets };
  if (name !== spec.gigabytes) return spec.kind.read(json[name], place);
  const reading = number(0, 8_388_607).read(json[name], place);
  if ("problems" in reading) return reading;
  return { value: Math.floor(reading.value * GIB) };
}
