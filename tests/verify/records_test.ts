/**
 * Checkpoints and journals as a whole: what is applied, what is refused, what is called
 * complete.
 */

import { deepStrictEqual, match, rejects, strictEqual } from "node:assert/strict";
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { CatalogError } from "../../src/verify/catalog.ts";
import type { VerifyOptions } from "../../src/verify/verify_types.ts";
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

const EXISTS: Partial<VerifyOptions> = { depth: "exists", findsOrphans: false };

async function journal(world: World, name: string, text: string): Promise<string> {
  const path = `${world.directory}/${name}`;
  await Deno.writeFile(path, bytesOfText(text));
  return path;
}

const mark = (timeS: number, pid = 9): string => `@ex@ ${pid} ${timeS}\n`;

const NEW = revLine({ depotFile: "//depot/src/new.c", rev: 1, text: "new" });
const A3 = REVISIONS[2]!;

Deno.test("journals add, replace and delete rows of the checkpoint", async () => {
  await using world = await World.make();
  const journals = [
    await journal(
      world,
      "j.1",
      NEW + mark(AS_OF_S + 10) + revLine(A3, "dv") + mark(AS_OF_S + 11),
    ),
    await journal(
      world,
      "j.2",
      revLine({ ...A3, lbrRev: "1.777" }, "rv") + mark(AS_OF_S + 20) +
        revLine({ depotFile: "//depot/src/new.c", rev: 1, text: "new" }, "dv") +
        mark(AS_OF_S + 21),
    ),
  ];
  const first = await world.verify({ ...EXISTS, journals: journals.slice(0, 1) });
  deepStrictEqual(first.findings.map((it) => it.depotFile), ["//depot/src/new.c"]);
  strictEqual(first.result.total.checked, STANDARD_REVISIONS);
  const both = await world.verify({ ...EXISTS, depth: "content", journals });
  deepStrictEqual(both.findings.map((it) => [it.depotFile, it.depotRev, it.why]), [
    ["//depot/src/a.c", 3, "the file has no revision 1.777"],
  ]);
  deepStrictEqual(both.result.incomplete, []);
});

Deno.test("a transaction without its end is not applied, and said", async () => {
  await using world = await World.make();
  const journals = [
    await journal(
      world,
      "j",
      mark(AS_OF_S + 1) + NEW + `@mx@ 9 ${AS_OF_S + 2}\n` + NEW.slice(0, 30),
    ),
  ];
  const { result, findings } = await world.verify({ ...EXISTS, journals });
  deepStrictEqual([findings, result.incomplete], [[], []]);
  strictEqual(result.stats.uncommittedRows, 1);
  match(result.warnings.join(), /transaction that is not complete/);
});

Deno.test("a journal in the middle that stops inside a record makes the run incomplete", async () => {
  await using world = await World.make();
  const journals = [
    await journal(world, "j.1", NEW + mark(AS_OF_S + 1) + NEW.slice(0, 30)),
    await journal(world, "j.2", mark(AS_OF_S + 2)),
  ];
  const { result } = await world.verify({ ...EXISTS, journals });
  match(result.incomplete.join(), /j\.1 ends inside a record/);
});

Deno.test("a journal from before the checkpoint is refused", async () => {
  await using world = await World.make();
  const journals = [await journal(world, "j", NEW + mark(AS_OF_S - 1000))];
  await rejects(world.verify({ ...EXISTS, journals }), CatalogError);
});

Deno.test("journals out of order are told", async () => {
  await using world = await World.make();
  const journals = [
    await journal(world, "j.2", mark(AS_OF_S + 200)),
    await journal(world, "j.1", mark(AS_OF_S + 100)),
  ];
  const { result } = await world.verify({ ...EXISTS, journals });
  match(result.warnings.join(), /are they in order/);
});

Deno.test("journals alone are enough, and depots may come in them", async () => {
  await using world = await World.make();
  const rows = REVISIONS.map((it) => revLine(it)).join("");
  const journals = [
    await journal(
      world,
      "j",
      rows + mark(AS_OF_S) + `@pv@ 1 @db.depot@ @depot@ 0 @@ @depot/...@ \n` +
        mark(AS_OF_S),
    ),
  ];
  const { result, findings } = await world.verify({
    checkpoint: null,
    journals,
    depth: "content",
    findsOrphans: false,
  });
  deepStrictEqual([findings, result.incomplete], [[], []]);
  strictEqual(result.total.ok, STANDARD_REVISIONS);
});

Deno.test("every truncation of a checkpoint is called incomplete, plain and gzip", async () => {
  await using world = await World.make();
  const whole = await Deno.readFile(world.checkpoint);
  const gz = new Uint8Array(gzipSync(whole));
  for (const bytes of [whole, gz]) {
    await Deno.writeFile(world.checkpoint, bytes);
    strictEqual((await world.verify(EXISTS)).result.truncated, false);
    for (let cut = 0; cut < bytes.length; cut += bytes === whole ? 3 : 1) {
      // Without its last line feed the last record is not known to be whole.
      await Deno.writeFile(world.checkpoint, bytes.subarray(0, cut));
      const { result } = await world.verify(EXISTS);
      strictEqual(result.truncated, true, `cut at ${cut} of ${bytes.length}`);
      strictEqual(result.inventory, null, "no orphans by half a list");
    }
  }
});

Deno.test("orphans are not looked for by records that may lack rows", async () => {
  await using world = await World.make();
  const text = checkpointText({ lines: [] }).replace(/@nx@ 1 [^]*/, "");
  await Deno.writeFile(world.checkpoint, bytesOfText(text));
  const { result, findings } = await world.verify({ depth: "exists" });
  deepStrictEqual([findings, result.orphans], [[], 0]);
  strictEqual(result.inventoryOmitted, "the records may lack rows");
});

Deno.test("a damaged row is refused, and the run incomplete", async () => {
  const lines = REVISIONS.map((it) => revLine(it));
  lines.push(NEW.replace(" 1.101", "").replace(/@1\.\d+@ \d+ \n$/, "\n"));
  await using world = await World.make(standardArchives(), checkpointText({ lines }));
  const { result } = await world.verify(EXISTS);
  match(result.incomplete.join(), /has 12 columns/);
  strictEqual(result.stats.malformed, 1);
});

Deno.test("the .md5 file is believed: LF, CRLF or compressed; another digest is not", async () => {
  await using world = await World.make();
  const text = await Deno.readTextFile(world.checkpoint);
  const md5 = (bytes: string | Uint8Array): string =>
    createHash("md5").update(bytes).digest("hex").toUpperCase();
  const gz = new Uint8Array(gzipSync(text));
  await Deno.writeFile(`${world.checkpoint}.gz`, gz);
  const run = async (digest: string, extra = EXISTS): Promise<boolean> => {
    await Deno.writeTextFile(
      `${world.checkpoint}.md5`,
      `MD5 (checkpoint.1) = ${digest}\n`,
    );
    const checkpoint = `${world.checkpoint}.gz`;
    return (await world.verify({ ...extra, checkpoint })).result.truncated;
  };
  strictEqual(await run(md5(text)), false);
  strictEqual(await run(md5(text.replaceAll("\n", "\r\n"))), false);
  strictEqual(await run(md5(gz)), false);
  strictEqual(await run(md5("other")), true);
  strictEqual(await run(md5("other"), { ...EXISTS, ignoresMd5: true }), false);
});

Deno.test("a parallel checkpoint is a directory of files in any order", async () => {
  await using world = await World.make();
  const directory = `${world.directory}/p4.ckp.7`;
  await Deno.mkdir(directory);
  const end = mark(AS_OF_S);
  const header = `@nx@ 0 ${AS_OF_S} @50@ 1 0 0 0 0 @/p4@ @j@ @@ @@ @@ \n`;
  const trailer = `@nx@ 1 ${AS_OF_S} @50@ 0 0 0 0 0 @@ @@ @@ @@ @@ \n` + end;
  const lines = REVISIONS.map((it) => revLine(it));
  const half = lines.length >> 1;
  const files: Record<string, string> = {
    "db.rev.1": lines.slice(0, half).join("") + end,
    "db.rev.2": lines.slice(half).join("") + end,
    "zz.depot": `@pv@ 1 @db.depot@ @depot@ 0 @@ @depot/...@ \n` + end,
    "db.config": header + trailer,
  };
  for (const [name, text] of Object.entries(files)) {
    const bytes = name === "db.rev.1" ? gzipSync(text) : bytesOfText(text);
    await Deno.writeFile(`${directory}/${name}`, new Uint8Array(bytes));
  }
  await Deno.writeTextFile(`${directory}/db.rev.1.md5`, `MD5 (x) = ${"0".repeat(32)}`);
  const wrongMd5 = await world.verify({ ...EXISTS, checkpoint: directory });
  strictEqual(wrongMd5.result.truncated, true);
  await Deno.remove(`${directory}/db.rev.1.md5`);
  const { result, findings } = await world.verify({ ...EXISTS, checkpoint: directory });
  deepStrictEqual([findings, result.incomplete], [[], []]);
  strictEqual(result.total.ok, STANDARD_REVISIONS);
  await Deno.writeFile(`${directory}/db.rev.2`, bytesOfText(lines.slice(half).join("")));
  const cut = await world.verify({ ...EXISTS, checkpoint: directory });
  match(cut.result.incomplete.join(), /db\.rev\.2 ends inside a table/);
});

Deno.test("a server that ignores case finds folded names, and its keys are folded", async () => {
  const archives = new Map(
    [...standardArchives()].map(([path, bytes]) => [path.toLowerCase(), bytes]),
  );
  const upper = (text: string): string => text.replaceAll("//depot/src", "//Depot/SRC");
  const lines = REVISIONS.map((it) => upper(revLine(it)));
  await using world = await World.make(
    archives,
    checkpointText({ flags: 2, depots: ["@Depot@ 0 @@ @Depot/...@"], lines }),
  );
  const { result, findings } = await world.verify({ depth: "exists" });
  deepStrictEqual([findings, result.incomplete], [[], []]);
  strictEqual(result.total.ok, STANDARD_REVISIONS);
  const journals = [
    await journal(
      world,
      "j",
      revLine(A3, "dv").toUpperCase()
        .replace("@DV@", "@dv@").replace("@DB.REV@", "@db.rev@") + mark(AS_OF_S + 1),
    ),
  ];
  const deleted = await world.verify({ ...EXISTS, journals });
  strictEqual(deleted.result.total.ok, STANDARD_REVISIONS - 1);
});

Deno.test("shelves, spec depots, storage rows and lazy copies are demanded once each", async () => {
  const digest = "0".repeat(32);
  const storage = (file: string, references: number): string =>
    `@pv@ 1 @db.storage@ @${file}@ @1.5@ 3 ${references} ${digest} 0 0 ${digest} 1 \n`;
  const lines = [
    revLine({
      depotFile: "//depot/a",
      rev: 0,
      text: "s",
      table: "db.revsh",
      lbrRev: "1.5",
      lbrType: 3,
    }),
    revLine({
      depotFile: "//spec/group/g.p4s",
      rev: 1,
      text: "g",
      table: "db.revsx",
      lbrFile: "//spec/group/75,d/g.p4s",
      lbrRev: "1.1",
      lbrType: 3,
    }),
    revLine({ depotFile: "//depot/p", rev: 1, text: "p", table: "db.revpx" }),
    revLine({ depotFile: "//depot/dup", rev: 1, text: "p", table: "db.revhx" }),
    revLine({ depotFile: "//far/x", rev: 1, text: "p" }),
    revLine({ depotFile: "//cold/x", rev: 1, text: "p", table: "db.revbx" }),
    storage("//depot/a", 1),
    storage("//depot/only", 2),
    storage("//depot/garbage", 0),
  ];
  await using world = await World.make(
    new Map(),
    checkpointText({
      lines,
      depots: [
        "@depot@ 0 @@ @depot/...@",
        "@spec@ 2 @.p4s@ @spec/...@",
        "@far@ 1 @elsewhere:1666@ @//...@",
        "@cold@ 4 @@ @cold/...@",
      ],
    }),
  );
  const { result, findings } = await world.verify(EXISTS);
  deepStrictEqual(findings.map((it) => it.archive).sort(), [
    "depot/a,d/1.5.gz",
    "depot/only,d/1.5.gz",
    "spec/group/75,d/g.p4s,d/1.1.gz",
  ]);
  strictEqual(result.total.excused, 2);
  strictEqual(result.total.skipped, 2);
  const cold = await world.verify({ ...EXISTS, checksArchiveDepots: true });
  strictEqual(cold.findings.length, 4);
});

Deno.test("names that are not UTF-8, or full of special characters, are found in the records", async () => {
  const name = "//depot/\xe4\x83 b@c%40#1";
  const lines = [revLine({ depotFile: name, rev: 1, text: "x" })];
  await using world = await World.make(new Map(), checkpointText({ lines }));
  const { result } = await world.verify(EXISTS);
  strictEqual(result.stats.revisionRows, 1);
});

Deno.test("a checkpoint without any revision is not taken for a good one", async () => {
  await using world = await World.make(standardArchives(), checkpointText({ lines: [] }));
  const { result, findings } = await world.verify();
  deepStrictEqual([findings, result.inventory], [[], null]);
  match(result.incomplete.join(), /names no revision at all/);
});

Deno.test("a directory of journals is applied in the order of their numbers", async () => {
  await using world = await World.make();
  const directory = `${world.directory}/journals`;
  await Deno.mkdir(directory);
  const path = (number: number): string => `${directory}/p4.jnl.${number}`;
  await Deno.writeFile(path(9), bytesOfText(NEW + mark(AS_OF_S + 1)));
  await Deno.writeFile(
    path(10),
    bytesOfText(
      revLine({ depotFile: "//depot/src/new.c", rev: 1, text: "new" }, "dv") +
        mark(AS_OF_S + 2),
    ),
  );
  const { result, findings } = await world.verify({ ...EXISTS, journals: [directory] });
  deepStrictEqual([findings, result.warnings], [[], []]);
});
