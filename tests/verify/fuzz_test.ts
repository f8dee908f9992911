/**
 * Checkpoints and `,v` files that are damaged at random, with regard to their structure:
 * the verifier never crashes, never hangs, and never calls complete and good what is not.
 * P4CACHE_FUZZ_ROUNDS sets how many (default 150 of each).
 */

import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { createHash } from "node:crypto";
import { readRcsLayout } from "../../src/perforce/rcs_layout.ts";
import { walkRevisions } from "../../src/perforce/rcs_reader.ts";
import { Random, runSeed } from "./random.ts";
import { editedText, joined, randomText } from "./rcs_texts.ts";
import { writeRcs } from "./rcs_writer.ts";
import {
  bytesOfText,
  checkpointText,
  REVISIONS,
  revLine,
  STANDARD_REVISIONS,
  standardArchives,
  World,
} from "./world.ts";

const ROUNDS = Number(Deno.env.get("P4CACHE_FUZZ_ROUNDS") ?? 150);

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
  strictEqual(noticedWithoutMd5 > ROUNDS / 2, true);
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
