import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { makeSample, writeFile } from "./sample_manifest.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";

const RUNS = 1_000;
const FILES = 400;
/** What a damage may come to. */
const GOOD = ["refused", "detected", "harmless"];

/** A new child for the seeds from `from`; its lines, and how it ended if not by itself. */
async function runChild(
  root: string,
  who: "daemon" | "command",
  [from, to]: readonly [number, number],
): Promise<{ lines: string[]; death: string | null }> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--no-check",
      new URL("corrupt_child.ts", import.meta.url).pathname,
      who,
      `${root}/base/data.mdb`,
      `${root}/older.mdb`,
      `${root}/work`,
      String(from),
      String(to),
    ],
    stdout: "piped",
    stderr: "piped",
  });
  const { stdout, success, signal, stderr } = await child.output();
  const lines = new TextDecoder().decode(stdout).trim().split("\n");
  if (success) return { lines, death: null };
  return { lines, death: signal ?? new TextDecoder().decode(stderr) };
}

/** Of each seed. One that ended its child has how as its verdict, and the next begins. */
async function verdictsOf(
  root: string,
  who: "daemon" | "command",
): Promise<Map<number, string>> {
  const verdicts = new Map<number, string>();
  let from = Number(Deno.env.get("P4CACHE_SEED") ?? 0);
  const to = from + RUNS;
  while (from < to) {
    const { lines, death } = await runChild(root, who, [from, to]);
    for (const line of lines) {
      const [seed, ...verdict] = line.split(" ");
      verdicts.set(Number(seed), verdict.join(" "));
    }
    if (death === null) break;
    const last = Math.max(from, ...verdicts.keys());
    verdicts.set(last, `ended by ${death}`);
    from = last + 1;
  }
  return verdicts;
}

/** A manifest, and its file as it was some commits before. */
async function makeBase(root: string): Promise<void> {
  await makeSample(`${root}/base`, FILES);
  await Deno.copyFile(`${root}/base/data.mdb`, `${root}/older.mdb`);
  const manifest = await openManifest({ directory: `${root}/base` });
  for (let seed = 0; seed < 40; seed++) await writeFile(manifest, seed * 8);
  await manifest.close();
  await Deno.mkdir(`${root}/work`);
}

for (const who of ["daemon", "command"] as const) {
  Deno.test(`of 1,000 damaged manifests none gives a ${who} a wrong answer, or ends it`, async () => {
    // The layout of the file differs from run to run: a seed repeats with the file it had.
    const root = await Deno.makeTempDir({ prefix: "p4-cache-corrupt-" });
    try {
      await makeBase(root);
      const verdicts = await verdictsOf(root, who);
      const counts: Record<string, number> = {};
      for (const verdict of verdicts.values()) {
        counts[verdict] = (counts[verdict] ?? 0) + 1;
      }
      // deno-lint-ignore no-console -- the figures are part of the result
      console.log(`damaged manifests, opened by a ${who}: ${JSON.stringify(counts)}`);
      const bad = [...verdicts].filter(([, verdict]) => !GOOD.includes(verdict));
      deepStrictEqual(bad, [], "set P4CACHE_SEED to the first seed to repeat it");
      strictEqual(verdicts.size, RUNS);
      await Deno.remove(root, { recursive: true });
    } catch (error) {
      // deno-lint-ignore no-console -- for a repetition
      console.log(`the files are left in ${root}`);
      throw error;
    }
  });
}
