import { deepStrictEqual } from "node:assert/strict";
import { localHere, type SaidLocal } from "./local_here.ts";
import type { LocalStat } from "./manifest.ts";
import type { LocalThing } from "./rebuild_sides.ts";

const LOCAL: LocalStat = {
  sizeBytes: 10,
  mtimeNs: 1_000n,
  ctimeNs: 2_000n,
  mode: 0o444,
  uid: 1,
  gid: 2,
  ino: 77n,
  dev: 1n,
};
const CLEAN: SaidLocal = { state: "clean", resident: true, local: LOCAL };
const EVICTED: SaidLocal = { ...CLEAN, resident: false };
const DIRTY: SaidLocal = { ...CLEAN, state: "dirty" };

function here(kind: LocalThing["kind"], more: Partial<LocalStat>): LocalThing {
  return { kind, stat: { ...LOCAL, ...more } };
}

function unknown(row: SaidLocal): SaidLocal {
  return { ...row, resident: false, local: { ...LOCAL, ino: 0n } };
}

Deno.test("localHere() keeps what lies here unchanged, on whatever device number", () => {
  for (const row of [CLEAN, DIRTY]) {
    const thing = here("file", { dev: 9n });
    deepStrictEqual(localHere(row, thing), { ...row, local: thing.stat });
  }
});

Deno.test("localHere() knows a row's own marker by its number here", () => {
  const thing = here("marker", { ino: 5n, dev: 9n, ctimeNs: 9_000n });
  for (const row of [CLEAN, EVICTED]) {
    deepStrictEqual(localHere(row, thing), { ...EVICTED, local: thing.stat });
  }
});

Deno.test("localHere() forgets the number of what is not here, also where another file has it", () => {
  const others = [
    null,
    here("file", { ctimeNs: 9_000n }),
    here("file", { ino: 5n }),
    here("file", { sizeBytes: 11 }),
    here("marker", { sizeBytes: 11 }),
    here("marker", { mtimeNs: 9_000n }),
  ];
  for (const thing of others) {
    for (const row of [CLEAN, EVICTED, DIRTY]) {
      deepStrictEqual(localHere(row, thing), unknown(row));
    }
  }
  deepStrictEqual(localHere(DIRTY, here("marker", {})), unknown(DIRTY));
});

Deno.test("localHere() knows no marker that was put back", () => {
  const row = { ...EVICTED, local: { ...LOCAL, ino: 0n } };
  deepStrictEqual(localHere(row, here("marker", { ino: 5n })), row);
});
