/**
 * Text in the manifest's values: UTF-8, held as one character per byte.
 *
 * @module
 */

import { bytePathOf } from "../core/names.ts";
import { FormatError } from "./format_error.ts";

// deno-lint-ignore no-control-regex
const ASCII = /^[\x01-\x7f]*$/;
const utf8Decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** UTF-8, one character per byte. */
export function utf8Of(text: string): string {
  return ASCII.test(text) ? text : bytePathOf(text);
}

/** The inverse of {@linkcode utf8Of}. @throws {FormatError} */
export function textOf(bytes: string): string {
  if (ASCII.test(bytes)) return bytes;
  try {
    return utf8Decoder.decode(Uint8Array.from(bytes, (c) => c.charCodeAt(0)));
  } catch {
    throw new FormatError("damaged", "a text in it is not UTF-8");
  }
}
