/** What tells of the whole manifest tells of one moment, whatever another process writes. */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { parseDepotPath } from "../../src/core/names.ts";
import { exportLines } from "../../src/manifest/exchange.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import type { Manifest } from "../../src/manifest/manifest.ts";
import { summarizeManifest } from "../../src/manifest/summary.ts";
import type { Rename } from "./mover_child.ts";
import { statOf } from "./sample_manifest.ts";

const ROWS = 1_500;
/** Of an export, before something is renamed. */
const LINES_BEFORE = 900;
const PATHS = Array.from(
  { length: ROWS },
  (_, i) => parseDepotPath(`d/f${String(i).padStart(5, "0")},v`),
);

async function inDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-one-moment-" });
  try {
    await run(`${root}/manifest`);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

function spawnChild(script: string, args: readonly string[]): Deno.ChildProcess {
  const { pathname } = new URL(script, import.meta.url);
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", pathname, ...args],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
}

async function makeRows(directory: string): Promise<void> {
  const manifest = await openManifest({ directory });
  await Promise.all(PATHS.map((path, i) => {
    return manifest.apply(path, "absent", {
      kind: "written",
      stat: statOf(i),
      nowS: 1_000,
    });
  }));
  await manifest.close();
}

interface ExportedLine {
  readonly type: string;
  readonly path?: string;
  readonly files?: number;
}

/** Exports the manifest, and waits in the middle for `meanwhile`. */
async function exportAround(
  manifest: Manifest,
  meanwhile: () => Promise<void>,
): Promise<ExportedLine[]> {
  const lines: ExportedLine[] = [];
  for await (const line of exportLines(manifest)) {
    lines.push(JSON.parse(line));
    if (lines.length === LINES_BEFORE) await meanwhile();
  }
  return lines;
}

/** Renames in a process of its own, as often as `run` asks. */
async function withMover(
  directory: string,
  run: (rename: (what: Rename) => Promise<void>) => Promise<void>,
): Promise<void> {
  const mover = spawnChild("mover_child.ts", [directory]);
  const input = mover.stdin.getWriter();
  const output = mover.stdout.getReader();
  try {
    await run(async (what) => {
      await input.write(new TextEncoder().encode(`${JSON.stringify(what)}\n`));
      strictEqual((await output.read()).done, false, "the other process did not rename");
    });
  } finally {
    await input.close();
    await output.cancel();
    ok((await mover.status).success);
  }
}

for (
  const what of [
    { kind: "move", from: PATHS.at(-1)!, to: "a/from-behind,v" },
    { kind: "move", from: PATHS[0]!, to: "z/from-before,v" },
    { kind: "moveTree", from: "d", to: "a" },
    { kind: "moveTree", from: "d", to: "z" },
  ] as const
) {
  Deno.test(`an export has each file once while another process renames ${what.from} to ${what.to}`, () =>
    inDirectory(async (directory) => {
      await makeRows(directory);
      const manifest = await openManifest({ directory, readOnly: true });
      try {
        await withMover(directory, async (rename) => {
          const lines = await exportAround(manifest, () => rename(what));
          const files = lines.filter(({ type }) => type === "file");
          strictEqual(files.length, ROWS);
          deepStrictEqual(files.map(({ path }) => path), PATHS);
          deepStrictEqual(lines.at(-1), { type: "end", files: ROWS });
          const paths = manifest.paths(null, ROWS + 1);
          strictEqual(paths.includes(PATHS.at(-1)!), what.from === PATHS[0]);
        });
      } finally {
        await manifest.close();
      }
    }));
}

/** Reads numbers until more than `count` have come, or the writer is no more. */
async function waitForRows(
  output: ReadableStreamDefaultReader<Uint8Array>,
  count: number,
): Promise<void> {
  let lines = 0;
  while (lines <= count) {
    const { done, value } = await output.read();
    ok(!done, "the writer has ended");
    lines += value.filter((byte) => byte === 0x0a).length;
  }
}

Deno.test("a summary agrees with itself while another process writes", () =>
  inDirectory(async (directory) => {
    const writer = spawnChild("writer_child.ts", [directory, "0"]);
    await writer.stdin.close();
    const output = writer.stdout.getReader();
    try {
      await waitForRows(output, ROWS);
      const manifest = await openManifest({ directory, readOnly: true });
      try {
        for (let round = 1; round <= 6; round++) {
          const options = { nowMs: 99_000_000, top: 1, depth: 1 };
          const summary = await summarizeManifest(manifest, options);
          ok(summary.countersAgree, `round ${round}`);
          ok(summary.total.files >= ROWS * round);
          strictEqual(summary.dirtyQueue.files, summary.total.files);
          // More is written before the next.
          await waitForRows(output, ROWS);
        }
      } finally {
        await manifest.close();
      }
    } finally {
      writer.kill("SIGKILL");
      await output.cancel();
      await writer.status;
    }
  }));
