/**
 * Data of real servers, where it is at hand (../shared/p4data beside the repository): every
 * archive of one, and for the others counts that awk makes of the same records in its own way.
 */

import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { World } from "./world.ts";

const SAMPLES = new URL("../../../shared/p4data/", import.meta.url).pathname;

function hasSamples(): boolean {
  try {
    Deno.statSync(SAMPLES);
    return true;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    // deno-lint-ignore no-console -- a skip says why
    console.log("skipped: there are no sample servers at ../shared/p4data");
    return false;
  }
}

async function shell(script: string): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command("sh", {
    args: ["-c", script],
    env: { LC_ALL: "C" },
  }).output();
  strictEqual(success, true, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

Deno.test("every archive revision of a real server's data has the digest of its record", async () => {
  if (!hasSamples()) return;
  await using world = await World.make(new Map());
  const sample = `${SAMPLES}p4-plugin/r17.1`;
  await shell(`tar xzf ${sample}/depot.tar.gz -C ${world.root}`);
  const checkpoint = `${sample}/checkpoint.gz`;
  const { result, findings } = await world.verify({ checkpoint });
  deepStrictEqual([findings, result.incomplete], [[], []]);
  const { missing, bad, unverifiable } = result.total;
  deepStrictEqual([missing, bad, unverifiable], [0, 0, 0]);
  // 750 revisions, one of them deleted; the server ignores case, 29 rows are +ko.
  strictEqual(result.tallies.get("depot")?.ok, 749);
  strictEqual(result.tallies.get("graph")?.ok, 3);
  deepStrictEqual([result.orphans, result.strays], [0, 0]);
});

/**
 * Splits records at each "@", which is enough for rows whose paths have none: 6 is the depot
 * file, 7 the numbers and the digest, 8 the archive, 10 its revision, 11 its type.
 */
const AWK = `
  /^@pv@ 9 @db\\.(rev|revsx|revsh)@ / && NF == 11 {
    rows++
    split($7, number, " ")
    if (number[3] == 2 || number[3] == 7) { deleted++; next }
    archives[$8 "|" $10 "|" $11 % 16] = 1
  }
  END {
    for (it in archives) distinct++
    print rows + 0, deleted + 0, distinct + 0
  }`;

for (
  const { name, file } of [
    { name: "a unicode server of 2016", file: "p4ic4idea/unicode/checkpoint.gz" },
    { name: "a server of 2016", file: "p4ic4idea/nonunicode/checkpoint.gz" },
    {
      name: "a Windows server of 2020",
      file: "google-perforce-utils/example_journal.txt",
    },
  ]
) {
  Deno.test(`the counts of ${name} are those that awk makes`, async () => {
    if (!hasSamples()) return;
    const path = SAMPLES + file;
    const read = file.endsWith(".gz") ? `gzip -dc '${path}'` : `cat '${path}'`;
    const counted = await shell(`${read} | awk -F@ '${AWK}'`);
    const [rows, deleted, distinct] = counted.trim().split(" ").map(Number);
    await using world = await World.make(new Map());
    const { result, findings } = await world.verify({
      checkpoint: path,
      depth: "exists",
    });
    const { revisionRows, rowsWithoutContent } = result.stats;
    deepStrictEqual(
      { rows: revisionRows, deleted: rowsWithoutContent, distinct: result.total.checked },
      { rows, deleted, distinct },
    );
    // There are no archives at all: each is missing, and nothing else is said.
    strictEqual(findings.length, distinct);
    strictEqual(result.total.missing, distinct);
    deepStrictEqual(result.incomplete, []);
  });
}

Deno.test("journals of real servers are read to their end", async () => {
  if (!hasSamples()) return;
  const history = `${SAMPLES}p4-plugin/p4root-history`;
  await using world = await World.make(new Map());
  for await (const entry of Deno.readDir(history)) {
    const journal = `${history}/${entry.name}/journal`;
    const records = Number(await shell(`grep -c '^@[prd]v@ ' '${journal}'`));
    const { result } = await world.verify({ checkpoint: null, journals: [journal] });
    deepStrictEqual(
      [result.incomplete, result.stats.recordsRead],
      [[], records],
      journal,
    );
  }
});
