import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { type DepotPath, parseDepotPath } from "../core/names.ts";
import { importLines, type ImportResult } from "./import_lines.ts";
import type { Manifest } from "./manifest.ts";
import { openMemManifest } from "./mem_manifest.ts";

const NOW_S = 1_700_000_000;

function lineOf(fields: Record<string, unknown>): string {
  return JSON.stringify({ path: "b,v", size: 1, storage_key: "b,v", ...fields });
}

async function* linesOf(...lines: string[]): AsyncGenerator<string> {
  for (const line of lines) yield await Promise.resolve(line);
}

function take(
  manifest: Manifest,
  lines: AsyncIterable<string>,
  dryRun = false,
): Promise<ImportResult> {
  return importLines(manifest, lines, {
    dryRun,
    nowS: NOW_S,
    manage: "all",
    look: () => null,
  });
}

/** Of each field the greatest that a row can hold, and one that it cannot. */
const BOUNDS: readonly (readonly [string, unknown, unknown])[] = [
  ["generation", 1e15 - 1, 1e15],
  ["generation", 0, 9007199254740991],
  ["size", 2 ** 48 - 1, 2 ** 48],
  ["stored_size", 2 ** 48 - 1, 2 ** 48],
  ["mtime_ns", "9223372036854775807", "9223372036854775808"],
  ["mtime_ns", "-9223372036854775808", "-9223372036854775809"],
  ["ctime_ns", "9223372036854775807", "9223372036854775808"],
  ["stored_mtime_ns", "9223372036854775807", "9223372036854775808"],
  ["ino", "18446744073709551615", "18446744073709551616"],
  ["ino", "0", "-1"],
  ["dev", "18446744073709551615", "18446744073709551616"],
  ["mode", 0o177777, 2 ** 32],
  ["uid", 2 ** 32 - 1, 2 ** 32],
  ["gid", 2 ** 32 - 1, 2 ** 32],
  ["created_at", 253_402_300_799, 9_007_199_254_741],
  ["last_access", 253_402_300_799, 253_402_300_800],
  ["storage_key", "k".repeat(900), "k".repeat(901)],
  ["storage_key", "é".repeat(450), "é".repeat(451)],
  ["storage_key", "b,v", "k".repeat(4_200)],
  ["version_id", "v".repeat(1_024), "v".repeat(1_025)],
];

for (const [name, good, bad] of BOUNDS) {
  const shown = String(bad).slice(0, 24);
  Deno.test(`an import refuses ${name} ${shown} by its line, and keeps the rows before it`, async () => {
    for (const state of ["clean", "dirty"]) {
      const manifest = await openMemManifest();
      const first = lineOf({ path: "a,v" });
      const lines = [first, lineOf({ [name]: bad, state })];
      const complaint = { name: "ImportError", line: 2 };
      await rejects(take(manifest, linesOf(...lines), true), complaint);
      await rejects(take(manifest, linesOf(...lines)), complaint);
      deepStrictEqual(manifest.paths(null, 10), ["a,v"]);
      // The greatest is taken, and the manifest can be written as before.
      await take(manifest, linesOf(lineOf({ [name]: good, state })));
      const path = parseDepotPath("c,v");
      const { local, generation } = manifest.get(parseDepotPath("b,v"))!;
      strictEqual(generation > 0, true);
      const written = { kind: "written", stat: local, nowS: 1 } as const;
      strictEqual((await manifest.apply(path, "absent", written)).outcome, "applied");
    }
  });
}

Deno.test("an import refuses the line at which the sum of all sizes cannot be counted any more", async () => {
  const manifest = await openMemManifest();
  const lines = Array.from(
    { length: 40 },
    (_, i) => lineOf({ path: `${i},v`, size: 2 ** 48 - 1, storage_key: `${i},v` }),
  );
  await rejects(take(manifest, linesOf(...lines)), { name: "ImportError", line: 33 });
  const { kept, counted } = await manifest.recount();
  deepStrictEqual(kept, counted);
});

Deno.test("a line of a name that is not managed is left out and counted", async () => {
  const manifest = await openMemManifest();
  const paths = ["a,v", "db.config", "notes.txt", "journal"];
  const options = { dryRun: false, nowS: NOW_S } as const;
  const lines = paths.map((path) => lineOf({ path, storage_key: path }));
  lines.push(JSON.stringify({ type: "end", files: 4 }));
  const result = await importLines(manifest, linesOf(...lines), {
    look: () => null,
    ...options,
    manage: "archives",
  });
  deepStrictEqual(manifest.paths(null, 10), ["a,v"]);
  deepStrictEqual([result.unmanaged, result.firstUnmanagedLine], [3, 2]);
  const all = await importLines(manifest, linesOf(...lines), {
    look: () => null,
    ...options,
    manage: "all",
  });
  deepStrictEqual(manifest.paths(null, 10), ["a,v", "notes.txt"]);
  deepStrictEqual([all.unmanaged, all.kept], [2, 1]);
});

Deno.test("a row that the manifest refuses ends the import with its error, while the next line is waited for", async () => {
  const manifest = await openMemManifest();
  const refused = new Error("the disk is full");
  manifest.apply = () => Promise.reject(refused);
  async function* slow(): AsyncGenerator<string> {
    for (let i = 0; i < 1_000; i++) {
      yield lineOf({ path: `${i},v` });
      // The runtime tells of what nobody takes when all that can run has run.
      await new Promise((resolve) => setTimeout(resolve, 0));
      if (i > 2) throw new Error("the import has not stopped");
    }
  }
  await rejects(take(manifest, slow()), refused);
});

Deno.test("what is under way is durable when an import ends with a line that it refuses", async () => {
  const manifest = await openMemManifest();
  const paths = Array.from({ length: 20 }, (_, i) => `${i},v` as DepotPath).sort();
  const lines = paths.map((path) => lineOf({ path, last_access: 7 }));
  await rejects(take(manifest, linesOf(...lines, "{")), { name: "ImportError" });
  await manifest.close();
  deepStrictEqual(manifest.paths(null, 100), paths);
});
