/**
 * Checkpoints and `,v` files that are damaged at random, with regard to their structure:
 * the verifier never crashes, never hangs, and never calls complete and good what is not.
 * P4CACHE_FUZZ_ROUNDS sets how many (default 60 of each).
 */

import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { readRcsLayout } from "../../src/perforce/rcs_layout.ts";
import { walkRevisions } from "../../src/perforce/rcs_reader.ts";
import { Random, runSeed } from "./random.ts";
import { editedText, joined, randomText } from "./rcs_texts.ts";
import { writeRcs } from "./rcs_writer.ts";
import { CatalogError } from "../../src/verify/catalog.ts";
import {
  AS_OF_S,
  bytesOfText,
  checkpointText,
  REVISIONS,
  revLine,
  STANDARD_REVISIONS,
  standardArchives,
  World,
} from "./world.ts";

const ROUNDS = Number(Deno.env.get("P4CACHE_FUZZ_ROUNDS") ?? 60);

/** Fragments that mean something to one of the two formats. */
const FRAGMENTS = [
  "@",
  "@@",
  " ",
  "\n",
  "\r\n",
  "\n@pv@ 9 @db.rev@ @//depot/x@ 1 ",
  "@ex@ 1 2\n",
  "@nx@ 0 1 @1@ 2 \n",
  "\0",
  "\xff",
  "a1 1\n",
  "d1 1\n",
  "d1 999999999999\n",
  "%99999999\n",
  "%0\n",
  "1.103",
  "next 1.103;",
  "desc",
  "head",
  ";",
  "text\n@",
  "-1",
  "999999999999999999999",
];

function damaged(random: Random, text: string): string {
  let out = text;
  for (let edits = 1 + random.int(3); edits > 0; edits--) {
    const at = random.int(out.length + 1);
    const length = random.int(random.chance(3) ? 200 : 8);
    switch (random.int(7)) {
      case 0:
        out = out.slice(0, at);
        break;
      case 1:
        out = out.slice(0, at) + out.slice(at + length);
        break;
      case 2:
        out = out.slice(0, at) + random.pick(FRAGMENTS) + out.slice(at);
        break;
      case 3:
        out = out.slice(0, at) + random.pick(FRAGMENTS) + out.slice(at + length);
        break;
      case 4: // a piece twice
        out = out.slice(0, at) + out.slice(Math.max(0, at - length));
        break;
      case 5: { // two lines change places
        const lines = out.split("\n");
        const [i, j] = [random.int(lines.length), random.int(lines.length)];
        [lines[i], lines[j]] = [lines[j]!, lines[i]!];
        out = lines.join("\n");
        break;
      }
      default:
        out = out.slice(0, at) + String.fromCharCode(random.int(256)) +
          out.slice(at + 1);
    }
  }
  return out;
}

Deno.test("a damaged checkpoint is complete and good only if it is whole, and its .md5 tells in any case", async () => {
  const seed = runSeed();
  const whole = checkpointText({ lines: REVISIONS.map((it) => revLine(it)) });
  await using world = await World.make(standardArchives(), whole);
  const md5 = createHash("md5").update(bytesOfText(whole)).digest("hex");
  let noticedWithoutMd5 = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const random = new Random(seed + round);
    const text = damaged(random, whole);
    await Deno.writeFile(world.checkpoint, bytesOfText(text));
    await Deno.remove(`${world.checkpoint}.md5`).catch(() => {});
    const alone = await world.verify();
    const isGood = alone.result.incomplete.length === 0 && alone.findings.length === 0;
    if (!isGood) noticedWithoutMd5++;
    // Whole lines may be lost without a trace: then fewer revisions were checked, no more.
    if (isGood) {
      const where = `seed ${seed + round}`;
      strictEqual(alone.result.total.ok <= STANDARD_REVISIONS + 1, true, where);
      match(text, /@nx@ 1 [^]*@ex@ [^]*\n$/, where);
    }
    if (text === whole) continue;
    await Deno.writeTextFile(`${world.checkpoint}.md5`, `MD5 (checkpoint) = ${md5}\n`);
    const { result } = await world.verify();
    strictEqual(result.truncated, true, `seed ${seed + round}: its .md5 file tells`);
  }
  strictEqual(noticedWithoutMd5 > ROUNDS / 4, true);
});

Deno.test("a damaged ,v gives the true text of a revision, another digest, or an error", () => {
  const seed = runSeed();
  for (let round = 0; round < 10 * ROUNDS; round++) {
    const random = new Random(seed + round);
    let lines = randomText(random);
    const revisions = Array.from({ length: 1 + random.int(5) }, (_, index) => {
      const text = String.fromCharCode(...joined(lines));
      lines = editedText(random, lines);
      return { number: `1.${index + 1}`, text };
    });
    const held = bytesOfText(damaged(random, writeRcs(revisions)));
    const bytes = {
      sizeBytes: held.length,
      window: (offset: number, lengthMax: number) =>
        held.subarray(offset, offset + Math.min(lengthMax, 64)),
    };
    const layout = readRcsLayout(bytes);
    const wanted = new Set(revisions.map((it) => it.number));
    const visited: string[] = [];
    const limits = { textBytesMax: 1 << 20 };
    const { failed } = walkRevisions(bytes, layout, wanted, limits, (revision, text) => {
      visited.push(revision);
      strictEqual(text.toBytes().length, text.sizeBytes);
    });
    // Each wanted revision ends in exactly one of the two.
    deepStrictEqual([...visited, ...failed.keys()].sort(), [...wanted].sort());
  }
});

Deno.test("a damaged journal ends in an answer, or is refused", async () => {
  const seed = runSeed();
  await using world = await World.make();
  const mark = `@ex@ 7 ${AS_OF_S + 60}\n`;
  const whole = REVISIONS.map((it, index) =>
    revLine({ ...it, lbrRev: `1.${index}` }, index % 3 === 0 ? "dv" : "rv") + mark
  ).join("");
  const journals = [`${world.directory}/journal`];
  for (let round = 0; round < ROUNDS; round++) {
    const text = damaged(new Random(seed + round), whole);
    await Deno.writeFile(journals[0]!, bytesOfText(text));
    try {
      const { result } = await world.verify({ journals, findsOrphans: false });
      const { checked, ok, missing, bad, unverifiable } = result.total;
      strictEqual(checked, ok + missing + bad + unverifiable, `seed ${seed + round}`);
    } catch (error) {
      strictEqual(error instanceof CatalogError, true, `seed ${seed + round}`);
    }
  }
});

Deno.test("any damage to any archive is found, in a resident and in an evicted copy", async () => {
  const seed = runSeed();
  for (let round = 0; round < ROUNDS / 3; round++) {
    const random = new Random(seed + round);
    await using world = await World.make();
    await world.store();
    const path = random.pick(await world.paths());
    const whole = standardArchives().get(path)!;
    const text = damaged(random, String.fromCharCode(...whole));
    const bytes = bytesOfText(text);
    if (Buffer.compare(bytes, whole) === 0) continue;
    const isEvicted = random.chance(2);
    if (isEvicted) {
      await world.putObject(path, path, bytes);
      await world.evict(path);
    } else {
      await world.write(path, bytes);
    }
    const { result, findings } = await world.verify({ findsOrphans: false });
    const where = `seed ${seed + round}: ${path}, ${isEvicted ? "evicted" : "resident"}`;
    strictEqual(findings.length > 0, true, where);
    strictEqual(findings.every((it) => it.archive === path), true, where);
    deepStrictEqual(result.incomplete, [], where);
  }
});
