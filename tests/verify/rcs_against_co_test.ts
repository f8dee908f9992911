/**
 * Our RCS reader against GNU RCS: `ci` makes files from random edits, with branches, and `co`
 * must give the same bytes for every revision. P4CACHE_RCS_FILES sets how many (default 40).
 */

import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { readRcsLayout } from "../../src/perforce/rcs_layout.ts";
import { walkRevisions } from "../../src/perforce/rcs_reader.ts";
import { Random, runSeed } from "./random.ts";
import { editedText, joined, type Lines, randomText } from "./rcs_texts.ts";

const FILES = Number(Deno.env.get("P4CACHE_RCS_FILES") ?? 40);

interface Planned {
  readonly revision: string;
  readonly parent: string | null;
  readonly text: Lines;
}

/** A trunk, and now and then a branch of a few revisions. */
function planHistory(random: Random): Planned[] {
  const planned: Planned[] = [];
  let text = randomText(random);
  let parent: string | null = null;
  const revisions = 1 + random.int(8);
  for (let number = 1; number <= revisions; number++) {
    planned.push({ revision: `1.${number}`, parent, text });
    parent = `1.${number}`;
    text = editedText(random, text);
  }
  for (let branches = random.int(3); branches > 0; branches--) {
    const from = planned[random.int(Math.min(planned.length, revisions))]!;
    const taken = planned.filter((it) => it.revision.startsWith(`${from.revision}.`));
    const branch = `${from.revision}.${2 * (1 + taken.length)}`;
    if (planned.some((it) => it.revision.startsWith(`${branch}.`))) continue;
    let last = from;
    for (let number = 1; number <= 1 + random.int(3); number++) {
      const next: Planned = {
        revision: `${branch}.${number}`,
        parent: last.revision,
        text: editedText(random, last.text),
      };
      planned.push(next);
      last = next;
    }
  }
  return planned;
}

function scriptFor(planned: readonly Planned[]): string {
  const lines = ["set -e", "export LC_ALL=C", "rcs -q -i -U -t-x -kb f"];
  planned.forEach(({ revision, parent }, index) => {
    // A lock on the parent is what tells ci where a branch begins.
    if (parent !== null) lines.push(`rcs -q -l${parent} f`);
    lines.push(`cp in.${index} f`, `ci -q -f -mx -wt -r${revision} f`);
  });
  planned.forEach(({ revision }, index) => {
    lines.push(`co -q -p -kb -r${revision} f > out.${index}`);
  });
  return lines.join("\n");
}

async function checkOne(directory: string, random: Random): Promise<number> {
  const planned = planHistory(random);
  for (const [index, { text }] of planned.entries()) {
    await Deno.writeFile(`${directory}/in.${index}`, joined(text));
  }
  const { success, stderr } = await new Deno.Command("sh", {
    args: ["-c", scriptFor(planned)],
    cwd: directory,
    stdout: "null",
  }).output();
  strictEqual(success, true, new TextDecoder().decode(stderr));
  const held = await Deno.readFile(`${directory}/f,v`);
  const bytes = {
    sizeBytes: held.length,
    window: (offset: number, lengthMax: number) =>
      // Small windows, so that every token meets the end of one.
      held.subarray(offset, offset + Math.min(lengthMax, 1 + random.int(100))),
  };
  const layout = readRcsLayout(bytes);
  strictEqual(layout.damage, null);
  const wanted = new Set(planned.map((it) => it.revision));
  deepStrictEqual(new Set(layout.revisions.keys()), wanted);
  const got = new Map<string, Uint8Array>();
  const limits = { textBytesMax: 1 << 30 };
  const { failed } = walkRevisions(bytes, layout, wanted, limits, (revision, text) => {
    got.set(revision, text.toBytes());
  });
  deepStrictEqual([...failed], []);
  for (const [index, { revision, text }] of planned.entries()) {
    const byCo = await Deno.readFile(`${directory}/out.${index}`);
    deepStrictEqual(byCo, joined(text), `co gives back ${revision}`);
    deepStrictEqual(got.get(revision), byCo, `our ${revision} is that of co`);
  }
  return planned.length;
}

function hasRcs(): boolean {
  try {
    return new Deno.Command("ci", { args: ["-V"], stdout: "null" }).outputSync().success;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    // deno-lint-ignore no-console -- a skip says why
    console.log("skipped: GNU RCS (ci, co) is not installed");
    return false;
  }
}

Deno.test(`every revision of ${FILES} generated files is that of GNU co`, async () => {
  if (!hasRcs()) return;
  const seed = runSeed();
  const directory = await Deno.makeTempDir();
  try {
    let revisions = 0;
    for (let file = 0; file < FILES; file++) {
      const one = `${directory}/${file}`;
      await Deno.mkdir(one);
      revisions += await checkOne(one, new Random(seed + file));
      await Deno.remove(one, { recursive: true });
    }
    strictEqual(revisions >= FILES, true);
    // deno-lint-ignore no-console -- how much was compared
    console.log(`${revisions} revisions of ${FILES} files`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
