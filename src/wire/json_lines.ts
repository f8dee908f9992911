/**
 * JSON lines in pure ASCII, between the daemon and its helpers. A string holds bytes, one
 * character each; what is not printable ASCII is written `\u00XX`.
 *
 * @module
 */

import { textOfBytes } from "../core/names.ts";
import { WireError } from "./wire_error.ts";

/**
 * The longest line that a helper writes: a datagram of 64 KiB with every byte escaped, and
 * the object around it. More is not of a helper, and not kept in memory.
 */
export const LINE_CHARACTERS_MAX = 65_536 * 6 + 1_024;

/** One object and its line feed. Strings hold characters up to 255 only. */
export function encodeJsonLine(value: Readonly<Record<string, unknown>>): string {
  const text = JSON.stringify(value).replace(
    /[\x7f-\uffff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return `${text}\n`;
}

/** An object's members, not yet looked at. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** @throws {WireError} If the line is no JSON object. */
export function parseJsonLine(line: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new WireError(line, "it is no JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new WireError(line, "it is no object");
  }
  return value as JsonObject;
}

/** Cuts what a pipe gives into lines. */
export class LineSplitter {
  #rest = "";

  /**
   * The lines that `chunk` completes, without their line feeds.
   *
   * @throws {WireError} If one is longer than {@linkcode LINE_CHARACTERS_MAX}.
   */
  push(chunk: Uint8Array): string[] {
    const lines = (this.#rest + textOfBytes(chunk)).split("\n");
    this.#rest = lines.pop()!;
    if (this.#rest.length > LINE_CHARACTERS_MAX) {
      throw new WireError(this.#rest, "it has no end");
    }
    return lines;
  }
}

/** Typed members of one object; each throws a {@linkcode WireError} for another type. */
export class Members {
  readonly #line: string;
  readonly #object: JsonObject;

  constructor(line: string, object: JsonObject = parseJsonLine(line)) {
    this.#line = line;
    this.#object = object;
  }

  /** The object itself, for whoever only passes it on. */
  get object(): JsonObject {
    return this.#object;
  }

  /** The objects of a list. */
  items(name: string): Members[] {
    const value = this.#object[name];
    if (!Array.isArray(value)) return this.#fail(name, "a list");
    return value.map((item) =>
      typeof item === "object" && item !== null && !Array.isArray(item)
        ? new Members(this.#line, item as JsonObject)
        : this.#fail(name, "a list of objects")
    );
  }

  text(name: string): string {
    const value = this.#object[name];
    return typeof value === "string" ? value : this.#fail(name, "a string");
  }

  textOrNull(name: string): string | null {
    return this.#object[name] === null ? null : this.text(name);
  }

  /** A whole number from 0. */
  count(name: string): number {
    const value = this.#object[name];
    return typeof value === "number" && Number.isSafeInteger(value) && value >= 0
      ? value
      : this.#fail(name, "a whole number");
  }

  countOrNull(name: string): number | null {
    return this.#object[name] === null ? null : this.count(name);
  }

  flag(name: string): boolean {
    const value = this.#object[name];
    return typeof value === "boolean" ? value : this.#fail(name, "true or false");
  }

  oneOf<T extends string>(name: string, choices: readonly T[]): T {
    const value = this.#object[name];
    return choices.find((choice) => choice === value) ??
      this.#fail(name, choices.join(", "));
  }

  #fail(name: string, wanted: string): never {
    throw new WireError(this.#line, `"${name}" is wanted as ${wanted}`);
  }
}
