/**
 * Which files somebody tried to read in vain, because their objects are archived.
 *
 * @module
 */

import { selectionOf } from "./operator_command.ts";

/** As many older files as the daemon keeps. */
const ROTATED_MAX = 10;

/** Each once, as selections. The ledger's size is bounded, and so is what is held here. */
export async function archivedInLedger(depotPath: string): Promise<string[]> {
  const path = `${depotPath.replace(/\/+$/, "")}/.p4cache/p4-cache-failed-ops.log`;
  const needed = new Set<string>();
  for (let number = 0; number <= ROTATED_MAX; number++) {
    let text: string;
    try {
      text = await Deno.readTextFile(number === 0 ? path : `${path}.${number}`);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) break;
      throw error;
    }
    for (const line of text.split("\n")) {
      const shown = archivedPathOf(line);
      if (shown !== null) needed.add(selectionOf(shown, depotPath));
    }
  }
  return [...needed];
}

/** Null: the record is of something else, or cut short by a crash. */
function archivedPathOf(line: string): string | null {
  try {
    const { op, path, storeFault } = JSON.parse(line);
    const isOne = op === "restore" && storeFault === "archived";
    return isOne && typeof path === "string" ? path : null;
  } catch {
    return null;
  }
}
