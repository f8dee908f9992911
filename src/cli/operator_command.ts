/**
 * What the operator's commands share: what they are given, how they name files, and how they
 * count in words.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import {
  bytePathOf,
  depotPathOrNull,
  displayPath,
  unescapeBytes,
} from "../core/names.ts";
import { type CommandOutput, DEFAULT_CONFIG_PATH, UsageError } from "./command.ts";

export interface OperatorDeps extends CommandOutput {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** For progress. */
  readonly writeError: (text: string) => void;
  readonly isTerminal: boolean;
}

/** For `parseArgs`. */
export const CONFIG_OPTION = {
  config: { type: "string", default: DEFAULT_CONFIG_PATH },
} as const;

export const FLAG = { type: "boolean", default: false } as const;

export const CONFIG_HELP = `\
  --config FILE     the daemon's configuration (default ${DEFAULT_CONFIG_PATH})`;

export const PATH_HELP = `\
A PATH is a file of the depot or a directory in it (every file below, as DIR or DIR/...),
absolute or relative to the depot. \\xNN in it is the byte NN, \\x5c a backslash: as names
are shown.`;

/**
 * One character per byte, relative to the depot.
 *
 * @throws {UsageError} If it is nothing below the depot.
 */
export function selectionOf(argument: string, depotPath: string): string {
  return selectionOfBytes(bytePathOf(argument), depotPath);
}

/** The same of a line in a file. */
export function selectionOfBytes(line: string, depotPath: string): string {
  const root = bytePathOf(depotPath.replace(/\/+$/, ""));
  const bytes = unescapeBytes(line);
  const relative = bytes.startsWith(`${root}/`) ? bytes.slice(root.length + 1) : bytes;
  const selection = relative.replace(/\/(?:\.\.\.)?$/, "");
  // "..." alone is everything to whoever knows p4: that has an option of its own.
  if (selection === "..." || depotPathOrNull(selection) === null) {
    throw new UsageError(`${displayPath(line)} is no path below the depot ${depotPath}`);
  }
  return selection;
}

/** @throws {UsageError} If there is none. */
export function selectionsOf(arguments_: readonly string[], depotPath: string): string[] {
  if (arguments_.length === 0) throw new UsageError("a PATH is wanted");
  return arguments_.map((argument) => selectionOf(argument, depotPath));
}

export function filesOf(count: number): string {
  return count === 1 ? "1 file" : `${count} files`;
}
