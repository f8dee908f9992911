import { deepStrictEqual } from "node:assert/strict";
import { SYSTEM_CLOCK } from "../core/clock.ts";
import { type DepotPath, parseDepotPath } from "../core/names.ts";
import type { PathAndEntry } from "../manifest/manifest.ts";
import { openMemManifest } from "../manifest/mem_manifest.ts";
import { noOutcome, restoreAll } from "./rehydrate_run.ts";
import type { RestoreReply } from "./restore_client.ts";

const NOTHING = { files: 0, bytes: 0 };

/** Rows as a manifest has them; the test says which are evicted. */
async function rowsOf(paths: readonly string[]): Promise<Map<string, PathAndEntry>> {
  const manifest = await openMemManifest();
  const stat = {
    sizeBytes: 4,
    mtimeNs: 1n,
    ctimeNs: 1n,
    mode: 0o444,
    uid: 1,
    gid: 1,
    ino: 1n,
    dev: 1n,
  };
  const rows = new Map<string, PathAndEntry>();
  for (const text of paths) {
    const path = parseDepotPath(text);
    const event = { kind: "written", stat, nowS: 1 } as const;
    const { entry } = await manifest.apply(path, "absent", event);
    const stored = { key: path as never, hash: null, sizeBytes: 4, mtimeNs: 1n };
    rows.set(text, {
      path,
      entry: { ...entry!, stored: { ...stored, versionId: null } },
    });
  }
  await manifest.close();
  return rows;
}

async function restored(
  wanted: () => Iterable<PathAndEntry>,
  answer: (path: DepotPath) => RestoreReply["kind"],
): Promise<{ asked: string[]; told: string[]; outcome: ReturnType<typeof noOutcome> }> {
  const asked: string[] = [];
  const told: string[] = [];
  const outcome = noOutcome();
  const restorer = {
    restore(path: DepotPath): Promise<RestoreReply> {
      asked.push(path);
      const kind = answer(path);
      if (kind === "restored") return Promise.resolve({ kind, sizeBytes: 4 });
      if (kind === "missing") return Promise.resolve({ kind });
      return Promise.resolve({ kind, code: "EIO", why: "no store" });
    },
  };
  const run = { wanted, jobs: 1, evicted: NOTHING, outcome, write: (): void => {} };
  await restoreAll(run, restorer, {
    clock: SYSTEM_CLOCK,
    isTerminal: false,
    signal: new AbortController().signal,
    printError: (line) => void told.push(line),
  });
  return { asked, told, outcome };
}

Deno.test("a file that is renamed while its turn comes is restored under its new name", async () => {
  const rows = await rowsOf(["a,v", "b,v", "new,v"]);
  const evicted = new Set(["a,v", "b,v"]);
  const { asked, outcome } = await restored(
    () => [...evicted].map((name) => rows.get(name)!),
    (path) => {
      evicted.delete(path);
      if (path !== "b,v") return "restored";
      evicted.add("new,v");
      return "missing";
    },
  );
  deepStrictEqual(asked, ["a,v", "b,v", "new,v"]);
  deepStrictEqual(outcome, {
    restored: { files: 2, bytes: 8 },
    failedFiles: 0,
    goneFiles: 0,
  });
});

Deno.test("what fails is named and counted once, and a name that stays gone is told of", async () => {
  const rows = await rowsOf(["a,v", "b,v"]);
  const { asked, told, outcome } = await restored(
    () => [...rows.values()],
    (path) => path === "a,v" ? "failed" : "missing",
  );
  deepStrictEqual(asked.length, 10);
  deepStrictEqual(told[0], "a,v: EIO no store");
  deepStrictEqual(outcome, { restored: NOTHING, failedFiles: 1, goneFiles: 1 });
});
