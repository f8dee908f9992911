/**
 * The kinds of values that keys can have: what is wanted, how it is read, its JSON Schema.
 *
 * @module
 */

import { parseLogFilter } from "../core/log_filter.ts";
import { type ConfigProblem, describeKind, describeValue } from "./problem.ts";
import { Secret, type SecretLookup } from "./secret.ts";

export type JsonSchema = Readonly<Record<string, unknown>>;

export type Reading<T> =
  | { readonly value: T }
  | { readonly problems: readonly ConfigProblem[] };

/** Where a value stands, and what reading it may need. */
export interface Place {
  readonly key: string;
  readonly secrets: SecretLookup;
}

export interface ValueKind<T> {
  /** As it follows `wanted:` in a message and stands in the documentation. */
  readonly wanted: string;
  readonly schema: JsonSchema;
  /** Pure. */
  read(value: unknown, place: Place): Reading<T>;
}

/** A kind whose values are told by one function; `undefined` for what is not wanted. */
function kind<T>(
  wanted: string,
  schema: JsonSchema,
  pick: (value: unknown) => T | undefined,
): ValueKind<T> {
  return {
    wanted,
    schema,
    read(value: unknown, { key }: Place): Reading<T> {
      const picked = pick(value);
      if (picked !== undefined) return { value: picked };
      return { problems: [{ key, value: describeValue(value), wanted }] };
    },
  };
}

export function boolean(): ValueKind<boolean> {
  return kind(
    "true or false",
    { type: "boolean" },
    (value) => typeof value === "boolean" ? value : undefined,
  );
}

/** A switch that this program has in one position only, and says why. */
export function fixed<T extends boolean | null>(only: T, why: string): ValueKind<T> {
  return kind(
    `${only}, because ${why}`,
    { const: only },
    (value) => value === only ? only : undefined,
  );
}

export function integer(min: number, max = Number.MAX_SAFE_INTEGER): ValueKind<number> {
  const isOpen = max === Number.MAX_SAFE_INTEGER;
  return kind(
    isOpen ? `an integer from ${min} on` : `an integer from ${min} to ${max}`,
    { type: "integer", minimum: min, ...(isOpen ? {} : { maximum: max }) },
    (value) =>
      typeof value === "number" && Number.isSafeInteger(value) && value >= min &&
        value <= max
        ? value
        : undefined,
  );
}

/** May have a fraction. */
export function number(min: number, max: number): ValueKind<number> {
  return kind(
    `a number from ${min} to ${max}`,
    { type: "number", minimum: min, maximum: max },
    (value) =>
      typeof value === "number" && value >= min && value <= max ? value : undefined,
  );
}

export function text(): ValueKind<string> {
  return kind("a text that is not empty", { type: "string", minLength: 1 }, plainText);
}

function plainText(value: unknown): string | undefined {
  // deno-lint-ignore no-control-regex
  return typeof value === "string" && value !== "" && !/[\x00-\x1f\x7f]/.test(value)
    ? value
    : undefined;
}

export function oneOf<const T extends string>(...values: readonly T[]): ValueKind<T> {
  return kind(
    values.map((it) => `"${it}"`).join(" or "),
    { enum: values },
    (value) => values.find((it) => it === value),
  );
}

/** Without slashes at the end or in a row. */
export function absolutePath(): ValueKind<string> {
  return kind(
    "an absolute path without . and ..",
    { type: "string", pattern: "^/" },
    (value) => {
      const path = plainText(value);
      if (path === undefined || !path.startsWith("/")) return undefined;
      const segments = path.split("/").filter((it) => it !== "");
      if (segments.some((it) => it === "." || it === "..")) return undefined;
      return `/${segments.join("/")}`;
    },
  );
}

/** Below which keys lie in a store: "" for none, without slashes at the ends. */
export function keyPrefix(): ValueKind<string> {
  return kind(
    "a prefix without empty, . and .. segments",
    { type: "string" },
    (value) => {
      const prefix = value === "" ? "" : plainText(value)?.replace(/^\/+|\/+$/g, "");
      if (prefix === undefined || prefix === "") return prefix;
      return /(?:^|\/)\.{0,2}(?:\/|$)/.test(prefix) ? undefined : prefix;
    },
  );
}

/** Four octal digits. */
export function socketMode(): ValueKind<string> {
  return kind(
    'a mode in octal digits, such as "0660"',
    { type: "string", pattern: "^0?[0-7]{3}$" },
    (value) =>
      typeof value === "string" && /^0?[0-7]{3}$/.test(value)
        ? value.padStart(4, "0")
        : undefined,
  );
}

/** A time of day, as minutes since midnight: 0 to 1440. */
export function dayTime(): ValueKind<number> {
  return kind(
    'a time from "00:00" to "24:00"',
    { type: "string", pattern: "^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$" },
    (value) => {
      if (typeof value !== "string") return undefined;
      const match = /^([01]\d|2[0-3]):([0-5]\d)$|^(24):(00)$/.exec(value);
      if (match === null) return undefined;
      return Number(match[1] ?? match[3]) * 60 + Number(match[2] ?? match[4]);
    },
  );
}

export function logLevel(): ValueKind<string> {
  return kind(
    'debug, info, warn or error, and exceptions for modules: "info,engine=debug"',
    { type: "string" },
    (value) =>
      typeof value === "string" && parseLogFilter(value) !== null ? value : undefined,
  );
}

/** URL of a service, without a slash at the end. */
export function endpoint(): ValueKind<string> {
  return kind(
    "https://host or https://host:port",
    { type: "string", pattern: "^https?://" },
    (value) => {
      if (typeof value !== "string" || !URL.canParse(value)) return undefined;
      return /^https?:\/\/[^/?#@\s]+(?:\/[^?#@\s]*)?$/.test(value)
        ? value.replace(/\/+$/, "")
        : undefined;
    },
  );
}

/** Each value once. */
export function listOf<T extends string | number>(
  item: ValueKind<T>,
): ValueKind<readonly T[]> {
  const wanted = `a list, each ${item.wanted}`;
  return {
    wanted,
    schema: { type: "array", items: item.schema, uniqueItems: true },
    read(value: unknown, place: Place): Reading<readonly T[]> {
      if (!Array.isArray(value)) {
        return { problems: [{ key: place.key, value: describeValue(value), wanted }] };
      }
      const values: T[] = [];
      const problems: ConfigProblem[] = [];
      value.forEach((it, index) => {
        const reading = item.read(it, { ...place, key: `${place.key}[${index}]` });
        if ("problems" in reading) problems.push(...reading.problems);
        else if (!values.includes(reading.value)) values.push(reading.value);
      });
      return problems.length > 0 ? { problems } : { value: values };
    },
  };
}

export function nullable<T>(inner: ValueKind<T>): ValueKind<T | null> {
  const wanted = `${inner.wanted}, or null`;
  return {
    wanted,
    schema: { anyOf: [inner.schema, { type: "null" }] },
    read: (value, place) => value === null ? { value: null } : inner.read(value, place),
  };
}

/** What stands there is never repeated in a problem. */
export function secret(): ValueKind<Secret> {
  const wanted = 'a text, {"file": "/path"} or {"env": "NAME"}';
  return {
    wanted,
    schema: {
      anyOf: [
        { type: "string", minLength: 1 },
        {
          type: "object",
          properties: { file: absolutePath().schema },
          required: ["file"],
          additionalProperties: false,
        },
        {
          type: "object",
          properties: { env: { type: "string", minLength: 1 } },
          required: ["env"],
          additionalProperties: false,
        },
      ],
    },
    read(value: unknown, { key, secrets }: Place): Reading<Secret> {
      const text = plainText(value);
      if (text !== undefined) return { value: new Secret({ text }, secrets) };
      if (isObject(value) && Object.keys(value).length === 1) {
        const file = plainText(value["file"]);
        const env = plainText(value["env"]);
        if (file?.startsWith("/")) return { value: new Secret({ file }, secrets) };
        if (env !== undefined) return { value: new Secret({ env }, secrets) };
      }
      return { problems: [{ key, value: describeKind(value), wanted }] };
    },
  };
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
