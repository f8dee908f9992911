/**
 * Reads the shim's events: which file of the depot a process opened, when, and what it met.
 * A sender is of an allowed user, and still believed nothing: what is no event is dropped. Pure.
 *
 * @module
 */

export type OpenResult = "hot" | "cold" | "missing" | "error";

export interface AccessEvent {
  /** By the sender's clock, or by his fancy: not negative, in milliseconds. */
  readonly atMs: number;
  /** One character per byte; not yet checked to be a depot path. */
  readonly path: string;
  readonly result: OpenResult;
}

/** So many opens could not be told since the sender's last such line. */
export interface DroppedEvents {
  readonly droppedCount: number;
}

/** The shim counts in 32 bits. */
const DROPPED_MAX = 0xffff_ffff;

const OPEN_RESULTS: readonly string[] = ["hot", "cold", "missing", "error"];

/** One line of a datagram; null for what is no event. */
export function parseAccessEvent(line: string): AccessEvent | DroppedEvents | null {
  let event: unknown;
  try {
    event = JSON.parse(line);
  } catch {
    return null;
  }
  if (typeof event !== "object" || event === null) return null;
  const { ts, op, n, path, result } = event as Record<string, unknown>;
  // JSON has numbers that the manifest has no place for, such as 1e400, -1 and 0.5.
  if (!Number.isSafeInteger(ts) || (ts as number) < 0) return null;
  if (op === "dropped") return isDroppedCount(n) ? { droppedCount: n } : null;
  // A character above 255 is no byte, and would be taken for another name's.
  // deno-lint-ignore no-control-regex
  if (typeof path !== "string" || !/^[\x00-\xff]+$/.test(path)) return null;
  if (typeof result !== "string" || !OPEN_RESULTS.includes(result)) return null;
  return { atMs: ts as number, path, result: result as OpenResult };
}

function isDroppedCount(n: unknown): n is number {
  return Number.isSafeInteger(n) && (n as number) > 0 && (n as number) <= DROPPED_MAX;
}
