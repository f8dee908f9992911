import { deepStrictEqual, ok, strictEqual, throws } from "node:assert/strict";
import { InvariantError } from "../core/assert.ts";
import { objectKeyOf } from "../core/names.ts";
import type { FileEntry, FileFlags, LocalStat, ManifestEvent } from "./manifest.ts";
import { NO_FLAGS } from "./row.ts";
import {
  type EventKind,
  isEvictable,
  LEGAL,
  type Phase,
  phaseOf,
  planChange,
  planMove,
  planOverwritten,
} from "./transitions.ts";

const OLD_STAT: LocalStat = {
  sizeBytes: 100,
  mtimeNs: 1n,
  ctimeNs: 2n,
  mode: 0o444,
  uid: 1,
  gid: 2,
  ino: 3n,
  dev: 4n,
};
const NEW_STAT: LocalStat = { ...OLD_STAT, sizeBytes: 200, mtimeNs: 9n, ino: 8n };

const OLD_VERSION = {
  key: objectKeyOf("a,v"),
  hash: "aa".repeat(32),
  sizeBytes: 50,
  mtimeNs: 7n,
  versionId: null,
};
const NEW_VERSION = {
  ...OLD_VERSION,
  key: objectKeyOf("a,v.p4cv-bb"),
  hash: "bb".repeat(32),
};

function entryIn(phase: Phase, flags: Partial<FileFlags> = {}): FileEntry | null {
  if (phase === "absent") return null;
  return {
    state: phase === "dirty" || phase === "uploading" ? phase : "clean",
    resident: phase !== "evicted",
    generation: 5,
    local: OLD_STAT,
    lastAccessS: 100,
    createdAtS: 90,
    settledAtS: 95,
    stored: OLD_VERSION,
    flags: { ...NO_FLAGS, ...flags },
  };
}

/** Throws for a phase without a row. */
function rowIn(phase: Exclude<Phase, "absent">, flags?: Partial<FileFlags>): FileEntry {
  return entryIn(phase, flags)!;
}

const EVENTS: { readonly [K in EventKind]: Extract<ManifestEvent, { kind: K }> } = {
  "written": { kind: "written", stat: NEW_STAT, nowS: 200 },
  "upload-started": { kind: "upload-started" },
  "uploaded": { kind: "uploaded", stored: NEW_VERSION, stat: NEW_STAT, nowMs: 200_000 },
  "upload-failed": { kind: "upload-failed", retryAtMs: 5_000 },
  "evicted": { kind: "evicted", marker: NEW_STAT },
  "restored": { kind: "restored", stat: NEW_STAT, nowS: 200 },
  "adopted": {
    kind: "adopted",
    stored: NEW_VERSION,
    stat: NEW_STAT,
    resident: false,
    flags: {},
    nowS: 200,
  },
  "deleted": { kind: "deleted", nowMs: 200_000, whiteout: false },
  "vanished": { kind: "vanished", nowS: 200 },
  "attributes": { kind: "attributes", stat: NEW_STAT },
  "flagged": { kind: "flagged", flags: { pinned: true } },
};

/**
 * What becomes of each phase by each event; `illegal` throws. Written down apart from the
 * table in transitions.ts, so that a change of one without the other shows.
 */
const OUTCOMES: { readonly [K in EventKind]: readonly (Phase | "illegal")[] } = {
  //                 absent     dirty        uploading    resident    evicted
  "written": ["dirty", "dirty", "dirty", "dirty", "dirty"],
  "upload-started": ["illegal", "uploading", "illegal", "illegal", "illegal"],
  "uploaded": ["illegal", "illegal", "resident", "illegal", "illegal"],
  "upload-failed": ["illegal", "illegal", "dirty", "illegal", "illegal"],
  "evicted": ["illegal", "illegal", "illegal", "evicted", "illegal"],
  "restored": ["illegal", "illegal", "illegal", "resident", "resident"],
  "adopted": ["evicted", "illegal", "illegal", "evicted", "evicted"],
  "deleted": ["absent", "absent", "absent", "absent", "absent"],
  "vanished": ["absent", "evicted", "evicted", "evicted", "evicted"],
  "attributes": ["illegal", "dirty", "dirty", "resident", "evicted"],
  "flagged": ["absent", "dirty", "dirty", "resident", "evicted"],
};

const PHASES: readonly Phase[] = ["absent", "dirty", "uploading", "resident", "evicted"];

function phaseAfter(phase: Phase, kind: EventKind): Phase | "illegal" {
  try {
    const { entry } = planChange(entryIn(phase), EVENTS[kind]);
    return phaseOf(entry === null ? null : { ...entry, generation: 6 });
  } catch (error) {
    ok(error instanceof InvariantError, `${phase} + ${kind}: ${error}`);
    return "illegal";
  }
}

Deno.test("planChange() leads each phase by each event where the table says", () => {
  for (const kind of Object.keys(OUTCOMES) as EventKind[]) {
    const found = PHASES.map((phase) => phaseAfter(phase, kind));
    deepStrictEqual(found, OUTCOMES[kind], kind);
  }
});

Deno.test("LEGAL names exactly the pairs that do not throw", () => {
  for (const [index, phase] of PHASES.entries()) {
    for (const kind of Object.keys(OUTCOMES) as EventKind[]) {
      strictEqual(LEGAL[phase].includes(kind), OUTCOMES[kind][index] !== "illegal");
    }
  }
});

Deno.test("planChange() keeps the stored version until a newer one is uploaded", () => {
  for (const kind of ["written", "attributes", "flagged"] as const) {
    for (const phase of ["dirty", "uploading", "resident"] as const) {
      const { entry, tombstone } = planChange(rowIn(phase), EVENTS[kind]);
      deepStrictEqual(entry!.stored, OLD_VERSION, `${phase} + ${kind}`);
      strictEqual(tombstone, null);
    }
  }
});

Deno.test("an upload makes the replaced version a tombstone, and never the same key", () => {
  const replaced = planChange(rowIn("uploading"), EVENTS.uploaded);
  deepStrictEqual(replaced.tombstone!.stored, OLD_VERSION);
  strictEqual(replaced.tombstone!.reason, "replaced");
  const same = planChange(rowIn("uploading"), {
    ...EVENTS.uploaded,
    stored: { ...NEW_VERSION, key: OLD_VERSION.key },
  });
  strictEqual(same.tombstone, null);
});

Deno.test("an upload over another instance's object leaves no tombstone and ends the flag", () => {
  const change = planChange(rowIn("uploading", { borrowed: true }), EVENTS.uploaded);
  strictEqual(change.tombstone, null);
  strictEqual(change.entry!.flags.borrowed, false);
});

Deno.test("an upload over a version that only the secondary has keeps that, unless its bytes are the same", () => {
  const row = rowIn("uploading", { secondaryOnly: true });
  const { entry, tombstone } = planChange(row, EVENTS.uploaded);
  strictEqual(entry!.flags.secondaryOnly, false);
  deepStrictEqual(tombstone!.stored, OLD_VERSION);
  deepStrictEqual([tombstone!.reason, tombstone!.secondaryOnly], ["replaced", true]);
  const { hash } = OLD_VERSION;
  const stored = { ...NEW_VERSION, hash };
  strictEqual(planChange(row, { ...EVENTS.uploaded, stored }).tombstone, null);
  const nameless = { ...row, stored: { ...OLD_VERSION, hash: null } };
  deepStrictEqual(planChange(nameless, EVENTS.uploaded).tombstone!.stored.hash, null);
});

Deno.test("a delete of a row whose object stays elsewhere is a whiteout", () => {
  strictEqual(planChange(rowIn("resident"), EVENTS.deleted).tombstone!.whiteout, false);
  for (const flag of ["borrowed", "secondaryOnly"] as const) {
    const change = planChange(rowIn("evicted", { [flag]: true }), EVENTS.deleted);
    strictEqual(change.tombstone!.whiteout, true, flag);
  }
});

Deno.test("a dirty file that vanished falls back to its stored version, evicted", () => {
  for (const phase of ["dirty", "uploading"] as const) {
    const { entry, lost } = planChange(
      rowIn(phase, { conflict: true }),
      EVENTS.vanished,
    );
    strictEqual(lost, false);
    strictEqual(entry!.resident, false);
    strictEqual(entry!.local.sizeBytes, OLD_VERSION.sizeBytes);
    strictEqual(entry!.local.mtimeNs, OLD_VERSION.mtimeNs);
    strictEqual(entry!.flags.conflict, false);
  }
});

Deno.test("a dirty file that vanished without a stored version is lost, and says so", () => {
  const change = planChange({ ...rowIn("dirty"), stored: null }, EVENTS.vanished);
  deepStrictEqual([change.entry, change.lost, change.tombstone], [null, true, null]);
});

Deno.test("only a clean, hashed, free row in the primary may be evicted", () => {
  ok(isEvictable(rowIn("resident")));
  const unhashed = {
    ...rowIn("resident"),
    stored: { ...OLD_VERSION, hash: null },
  };
  const kept = (["foreign", "conflict", "secondaryOnly", "pinned"] as const)
    .map((flag) => rowIn("resident", { [flag]: true }));
  for (const entry of [unhashed, ...kept]) {
    ok(!isEvictable(entry));
    throws(() => planChange(entry, EVENTS.evicted), InvariantError);
  }
});

Deno.test("a file that somebody must decide about is not uploaded", () => {
  for (const flag of ["foreign", "conflict"] as const) {
    const entry = rowIn("dirty", { [flag]: true });
    throws(() => planChange(entry, EVENTS["upload-started"]), InvariantError);
  }
});

Deno.test("a write keeps the place of a waiting row and gives others the last one", () => {
  strictEqual(planChange(rowIn("dirty"), EVENTS.written).queue.kind, "due");
  deepStrictEqual(planChange(rowIn("uploading"), EVENTS.written).queue, {
    kind: "last",
    sinceMs: null,
  });
  deepStrictEqual(planChange(rowIn("resident"), EVENTS.written).queue, {
    kind: "last",
    sinceMs: 200_000,
  });
});

Deno.test("a mark on a row that is being uploaded sends it back to its place", () => {
  for (const kind of ["attributes", "flagged"] as const) {
    const { entry, queue } = planChange(rowIn("uploading"), EVENTS[kind]);
    deepStrictEqual([entry!.state, queue.kind], ["dirty", "keep"]);
  }
});

Deno.test("planMove() takes an upload back and leaves the others as they are", () => {
  strictEqual(planMove(rowIn("uploading"), 1).entry!.state, "dirty");
  for (const phase of ["dirty", "resident", "evicted"] as const) {
    const { state, resident } = planMove(rowIn(phase), 1).entry!;
    deepStrictEqual([state, resident], [rowIn(phase).state, rowIn(phase).resident]);
  }
});

Deno.test("planOverwritten() keeps the overwritten version as a tombstone, if it is no other instance's", () => {
  deepStrictEqual(planOverwritten(rowIn("resident"), 9).tombstone!.stored, OLD_VERSION);
  const { tombstone } = planOverwritten(rowIn("evicted", { secondaryOnly: true }), 9);
  deepStrictEqual([tombstone!.stored, tombstone!.secondaryOnly], [OLD_VERSION, true]);
  strictEqual(planOverwritten(rowIn("evicted", { borrowed: true }), 9).tombstone, null);
});
