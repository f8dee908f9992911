/**
 * The record of a directory's move that has begun, as it stands in `meta`.
 *
 * @module
 */

import { type DepotPath, depotPathOrNull } from "../core/names.ts";
import { FormatError } from "./format_error.ts";

/** Its name in `meta`. */
export const MOVING = "moving";

export interface Moving {
  readonly kind: "move" | "exchange";
  readonly from: DepotPath;
  readonly to: DepotPath;
  /** When the kernel's word of it came, in milliseconds; 0: it did not. */
  readonly toldMs: number;
  readonly whiteout: boolean;
  /** Relative to both directories: what has its name by now, or keeps it, ends here. */
  readonly after: string;
}

/** JSON in ASCII: one character of a path is one byte. */
export function encodeMoving(moving: Moving): string {
  return JSON.stringify(moving).replace(
    /[\x7f-\xff]/g,
    (char) => `\\u00${char.charCodeAt(0).toString(16)}`,
  );
}

/** @throws {FormatError} `damaged`; {SyntaxError} if it is no JSON. */
export function decodeMoving(text: string): Moving {
  const { kind, from, to, toldMs, whiteout, after } = JSON.parse(text) ?? {};
  const isWhole = (kind === "move" || kind === "exchange") && isPath(from) &&
    isPath(to) && Number.isFinite(toldMs) && typeof whiteout === "boolean" &&
    typeof after === "string";
  if (!isWhole) throw new FormatError("damaged", "it is no record of a move");
  return { kind, from, to, toldMs, whiteout, after };
}

function isPath(value: unknown): value is DepotPath {
  return typeof value === "string" && depotPathOrNull(value) !== null;
}
