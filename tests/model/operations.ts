/**
 * What a run may do, as plain data, so that a failing list can be cut down and printed.
 * Each operation holds all its own randomness: taking one out leaves the others as they are.
 *
 * @module
 */

import type { ErrorCode } from "../support/mem_disk.ts";
import type { Random } from "../verify/random.ts";

/** Managed names; two directories may trade their names. */
export const PATHS = ["a,v", "d/b,v", "d/c,v", "g/b,v", "g/c,v", "x,d/1.1"] as const;

/** Contents 0 to 7; pairs have the same size. */
export const CONTENT_COUNT = 8;

/** What `p4d`, or a person, does to the disk in one step. */
export type DiskAction =
  | { readonly kind: "write"; readonly path: string; readonly content: number }
  | { readonly kind: "delete"; readonly path: string }
  /** While the gate is dead: the shim writes it down. */
  | { readonly kind: "deleteUnheard"; readonly path: string }
  | { readonly kind: "unlink"; readonly path: string }
  | { readonly kind: "rename"; readonly from: string; readonly to: string }
  | { readonly kind: "renameDirectory"; readonly from: string; readonly to: string }
  | { readonly kind: "chmod"; readonly path: string };

export type Action =
  | DiskAction
  /** The same, `calls` system calls of the daemon later, wherever that is. */
  | { readonly kind: "ambush"; readonly calls: number; readonly action: DiskAction }
  | { readonly kind: "rewrite"; readonly path: string; readonly content: number }
  | { readonly kind: "read"; readonly path: string }
  | { readonly kind: "upload" | "evict"; readonly path: string }
  /** While the daemon is started again. */
  | { readonly kind: "renameUntold"; readonly action: DiskAction }
  /** The object that the row names goes from the primary store to the secondary. */
  | { readonly kind: "demote"; readonly path: string }
  | { readonly kind: "deliver"; readonly count: number; readonly uid: number }
  | { readonly kind: "overflow" }
  | { readonly kind: "sweep" }
  | { readonly kind: "scan"; readonly trusts: boolean }
  | { readonly kind: "tick"; readonly ms: number }
  /** `calls`: how many system calls later; 0: now. Lands: whether what was on its way happened. */
  | { readonly kind: "crash"; readonly calls: number; readonly lands: boolean }
  | { readonly kind: "start"; readonly trusts: boolean }
  | { readonly kind: "diskFault"; readonly code: ErrorCode; readonly calls: number }
  | {
    readonly kind: "storeFault";
    readonly operation: "upload" | "download" | "head" | "delete";
    readonly when: "before" | "middle" | "after";
  }
  | { readonly kind: "manifestFault" };

export interface Operation {
  readonly action: Action;
  /** Steps that the world takes afterwards. */
  readonly steps: number;
  readonly salt: number;
}

/** How much of what: one table, drawn from by weight. */
const WEIGHTS: readonly (readonly [Action["kind"], number])[] = [
  ["write", 14],
  ["delete", 5],
  ["deleteUnheard", 3],
  ["unlink", 2],
  ["rename", 2],
  ["renameDirectory", 1],
  ["renameUntold", 3],
  ["chmod", 1],
  ["ambush", 8],
  ["rewrite", 3],
  ["read", 14],
  ["upload", 16],
  ["evict", 16],
  ["deliver", 14],
  ["overflow", 1],
  ["demote", 2],
  ["sweep", 4],
  ["scan", 3],
  ["tick", 6],
  ["crash", 2],
  ["start", 4],
  ["diskFault", 2],
  ["storeFault", 3],
  ["manifestFault", 1],
];
const TOTAL_WEIGHT = WEIGHTS.reduce((sum, [, weight]) => sum + weight, 0);

export function randomOperations(random: Random, count: number): Operation[] {
  return Array.from({ length: count }, () => ({
    action: randomAction(random, drawKind(random)),
    steps: random.chance(3) ? random.int(60) : random.int(8),
    salt: random.int(2 ** 31),
  }));
}

function drawKind(random: Random): Action["kind"] {
  let left = random.int(TOTAL_WEIGHT);
  for (const [kind, weight] of WEIGHTS) {
    if (left < weight) return kind;
    left -= weight;
  }
  return "read";
}

const DISK_KINDS = [
  "write",
  "write",
  "write",
  "delete",
  "deleteUnheard",
  "unlink",
] as const;
const CODES = ["ENOSPC", "EIO", "EMFILE"] as const;
const OPERATIONS = ["upload", "download", "head", "delete"] as const;
const MOMENTS = ["before", "middle", "after"] as const;
const PAUSES_MS = [50, 1_000, 5_000, 31_000, 61_000];

function randomAction(random: Random, kind: Action["kind"]): Action {
  const path = random.pick(PATHS);
  switch (kind) {
    case "write":
    case "rewrite":
      return { kind, path, content: random.int(CONTENT_COUNT) };
    case "delete":
    case "deleteUnheard":
    case "unlink":
    case "chmod":
    case "read":
    case "upload":
    case "evict":
    case "demote":
      return { kind, path };
    case "rename":
      return { kind, from: path, to: random.pick(PATHS) };
    case "renameDirectory":
      return random.chance(2)
        ? { kind, from: "d", to: "g" }
        : { kind, from: "g", to: "d" };
    case "renameUntold": {
      const what = random.chance(4) ? "renameDirectory" : "rename";
      return { kind, action: randomAction(random, what) as DiskAction };
    }
    case "ambush":
      return {
        kind,
        calls: random.int(24),
        action: randomAction(random, random.pick(DISK_KINDS)) as DiskAction,
      };
    case "deliver":
      return { kind, count: 1 + random.int(4), uid: random.chance(40) ? 7 : 0 };
    case "scan":
      return { kind, trusts: !random.chance(4) };
    case "start":
      return { kind, trusts: !random.chance(4) };
    case "tick":
      return { kind, ms: random.pick(PAUSES_MS) };
    case "crash":
      return {
        kind,
        calls: random.chance(2) ? 0 : random.int(20),
        lands: random.chance(2),
      };
    case "diskFault":
      return { kind, code: random.pick(CODES), calls: random.int(30) };
    case "storeFault":
      return { kind, operation: random.pick(OPERATIONS), when: random.pick(MOMENTS) };
    default:
      return { kind } as Action;
  }
}
