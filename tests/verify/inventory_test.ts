/**
 * The other direction, and what bounds a run: orphans, strays, sampling, budgets, resuming.
 */

import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { firstKeyFor, parseDepotPath, versionKeyFor } from "../../src/core/names.ts";
import type { Finding } from "../../src/verify/report_types.ts";
import { archiveStoreOf } from "../../src/verify/archive_store.ts";
import {
  type ArchiveStore,
  type ReadableFile,
  StoreReadError,
} from "../../src/verify/sources.ts";
import { ResumeError } from "../../src/verify/resume_log.ts";
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
import { writeRcs } from "./rcs_writer.ts";

const brief = (findings: readonly Finding[]): string[] =>
  findings.map((it) => `${it.kind} ${it.archive} ${it.wrong.join("+")}`).sort();

const ORPHAN = "depot/src/left.c,v";

Deno.test("a file that no record names is an orphan, unless it is young or no archive", async () => {
  await using world = await World.make();
  await world.write(ORPHAN, bytesOfText("x"));
  await world.write("depot/src/readme", bytesOfText("no archive"));
  await world.write("depot/src/b,d/tmp.12.3", bytesOfText("left by a server that died"));
  await world.write(".p4cache/tmp/x,v", bytesOfText("our own"));
  await world.write("server.locks/clients/88,d/c", bytesOfText("a lock"));
  await world.write("depot/src/young.c,v", bytesOfText("x"));
  await Deno.utime(`${world.root}/depot/src/young.c,v`, AS_OF_S - 60, AS_OF_S - 60);
  for (const depth of ["exists", "content"] as const) {
    const { result, findings } = await world.verify({ depth });
    deepStrictEqual(brief(findings), [`orphan ${ORPHAN} local`]);
    deepStrictEqual([result.orphans, result.inventory?.young], [1, 1]);
  }
  const all = await world.verify({ orphanAgeMs: 0 });
  strictEqual(all.result.orphans, 2);
  const none = await world.verify({ findsOrphans: false });
  deepStrictEqual([none.findings, none.result.inventory], [[], null]);
});

Deno.test("objects and rows without a record are orphans and strays", async () => {
  await using world = await World.make();
  await world.write(ORPHAN, bytesOfText("x"));
  await world.store();
  await Deno.remove(`${world.root}/${ORPHAN}`);
  world.rows.delete(ORPHAN);
  const row = world.rows.get("depot/src/a.c,v")!;
  world.rows.set("depot/src/only-row.c,v", { ...row, stored: null });
  const { result, findings } = await world.verify({ depth: "exists" });
  deepStrictEqual(brief(findings), [
    `orphan ${ORPHAN} store`,
    "stray depot/src/only-row.c,v manifest",
  ]);
  deepStrictEqual([result.orphans, result.strays], [1, 1]);
  deepStrictEqual(result.incomplete, []);
});

Deno.test("an evicted file without a record is an orphan in the store", async () => {
  await using world = await World.make();
  await world.write(ORPHAN, bytesOfText("x"));
  await world.store();
  await world.evict(ORPHAN);
  const { findings } = await world.verify({ depth: "exists" });
  deepStrictEqual(brief(findings), [`orphan ${ORPHAN} store+manifest`]);
});

Deno.test("older versions of a file are orphans only if the manifest does not know them", async () => {
  await using world = await World.make();
  await world.store();
  const path = "depot/src/a.c,v";
  const first = firstKeyFor(parseDepotPath(path), () => "");
  const known = versionKeyFor(first, "a".repeat(64));
  const unknown = versionKeyFor(first, "b".repeat(64));
  await world.putObject(known, path, bytesOfText("old"));
  await world.putObject(unknown, path, bytesOfText("older"));
  world.tombstones.set(path, [known]);
  const { result, findings } = await world.verify({ depth: "exists" });
  deepStrictEqual(brief(findings), [`orphan ${unknown} store`]);
  strictEqual(result.inventory?.tombstones, 1);
});

Deno.test("an object that is gone shows without a request for each file", async () => {
  await using world = await World.make();
  await world.store();
  const paths = await world.paths();
  await world.evict(paths[0]!);
  for (const path of paths) await world.deleteObject(path);
  const { result, findings } = await world.verify({ depth: "exists" });
  strictEqual(findings.length, paths.length);
  strictEqual(result.total.missing, STANDARD_REVISIONS);
  strictEqual(result.total.ok, 0);
  const good = findings.map((it) => it.good.map((copy) => copy.side).join());
  deepStrictEqual(good.sort(), ["", ...paths.slice(1).map(() => "local")]);
});

Deno.test("--subset reads each archive in exactly one of its parts", async () => {
  await using world = await World.make();
  let read = 0;
  for (let part = 0; part < 3; part++) {
    const { result } = await world.verify({ sampling: { part, of: 3 } });
    strictEqual(result.total.ok, STANDARD_REVISIONS);
    read += STANDARD_REVISIONS - result.total.notSampled;
  }
  strictEqual(read, STANDARD_REVISIONS);
});

Deno.test("a run never recalls more than its budget, and says what it left", async () => {
  await using world = await World.make();
  await world.store();
  for (const path of await world.paths()) await world.evict(path);
  const whole = (await world.verify()).result.total.bytesRecalled;
  for (const recallBytesMax of [0, 100, whole - 1, whole]) {
    const { result, findings } = await world.verify({ recallBytesMax });
    deepStrictEqual(findings, []);
    strictEqual(result.total.bytesRecalled <= recallBytesMax, true);
    strictEqual(result.total.deferred > 0, recallBytesMax < whole);
    strictEqual(result.total.ok, STANDARD_REVISIONS);
  }
});

Deno.test("a run with a resume file stops at its budget and goes on, until all is done", async () => {
  await using world = await World.make();
  await world.store();
  for (const path of await world.paths()) await world.evict(path);
  await world.putObject("depot/bin/plain,d/1.101", "x", bytesOfText("not the content"));
  const largest = Math.max(...[...world.rows.values()].map((row) => row.sizeBytes));
  const resumePath = `${world.directory}/resume`;
  let runs = 0;
  for (;;) {
    const { result, findings } = await world.verify({
      recallBytesMax: largest,
      resumePath,
    });
    runs++;
    strictEqual(runs < 10, true);
    if (result.incomplete.length > 0) {
      match(result.incomplete.join(), /run again with the same resume file/);
      continue;
    }
    strictEqual(result.total.checked, STANDARD_REVISIONS);
    strictEqual(result.total.bad, 1);
    strictEqual(result.total.deferred, 0);
    deepStrictEqual(brief(findings), ["bad depot/bin/plain,d/1.101 store"]);
    break;
  }
  strictEqual(runs > 1, true);
});

Deno.test("what a run could not read is read by the next one with its resume file, and nothing twice", async () => {
  await using world = await World.make();
  await world.store();
  const paths = await world.paths();
  for (const path of paths) await world.evict(path);
  const plain = "depot/bin/plain,d/1.101";
  const { sizeBytes } = world.rows.get(plain)!;
  await world.putObject(plain, plain, bytesOfText("x".repeat(sizeBytes)));
  const good = archiveStoreOf(world.backend);
  const down: ArchiveStore = {
    ...good,
    fetch: () => Promise.reject(new StoreReadError("failed", "503 Slow Down")),
  };
  const resumePath = `${world.directory}/resume`;
  for (let time = 1; time <= 2; time++) {
    const { result, findings } = await world.verify({ resumePath }, { store: down });
    deepStrictEqual([findings, result.incomplete], [[], ["503 Slow Down"]]);
    const { checked, unverifiable } = result.total;
    deepStrictEqual([checked, unverifiable], [STANDARD_REVISIONS, STANDARD_REVISIONS]);
  }
  let fetches = 0;
  const counted: ArchiveStore = {
    ...good,
    fetch: (...args) => {
      fetches++;
      return good.fetch(...args);
    },
  };
  for (let time = 1; time <= 2; time++) {
    const { result, findings } = await world.verify({ resumePath }, { store: counted });
    deepStrictEqual(result.incomplete, []);
    deepStrictEqual(brief(findings), [`bad ${plain} store`]);
    deepStrictEqual([...result.reasons], []);
    const { checked, ok, bad, unverifiable } = result.total;
    deepStrictEqual([checked, ok, bad, unverifiable], [6, 5, 1, 0]);
    strictEqual(fetches, paths.length);
  }
});

Deno.test("a resume file that a crash has torn is read up to its last mark", async () => {
  await using world = await World.make();
  const resumePath = `${world.directory}/resume`;
  await world.verify({ resumePath });
  const whole = await Deno.readFile(resumePath);
  for (let cut = whole.length; cut >= 0; cut -= 97) {
    await Deno.writeFile(resumePath, whole.subarray(0, cut));
    const { result, findings } = await world.verify({ resumePath });
    deepStrictEqual([findings, result.incomplete], [[], []], `cut at ${cut}`);
    strictEqual(result.total.ok, STANDARD_REVISIONS, `cut at ${cut}`);
  }
});

Deno.test("a resume file of another run is refused, and so is any other file", async () => {
  await using world = await World.make();
  const resumePath = `${world.directory}/resume`;
  await world.verify({ resumePath });
  await rejects(world.verify({ resumePath, depth: "exists" }), ResumeError);
  await Deno.writeTextFile(resumePath, "something else\n");
  await rejects(world.verify({ resumePath }), ResumeError);
});

Deno.test("a resume file is one run's at a time", async () => {
  await using world = await World.make();
  const resumePath = `${world.directory}/resume`;
  let second: Promise<void> | null = null;
  const { result } = await world.verify({ resumePath }, {
    files: (files) => ({
      ...files,
      async open(name): Promise<ReadableFile> {
        second ??= rejects(world.verify({ resumePath }), (error) => {
          ok(error instanceof ResumeError, String(error));
          match(error.message, /is in use: another run writes to it now$/);
          return true;
        });
        // The first is under way until the second has ended.
        await second;
        return await files.open(name);
      },
    }),
  });
  ok(second !== null, "no file was opened");
  deepStrictEqual([result.incomplete, result.total.ok], [[], STANDARD_REVISIONS]);
  // Ended, it is free for the next.
  strictEqual((await world.verify({ resumePath })).result.total.ok, STANDARD_REVISIONS);
});

Deno.test("--path compares names as the server does", async () => {
  const lines = REVISIONS.map((it) => revLine(it));
  const archives = standardArchives();
  archives.delete("depot/bin/plain,d/1.101");
  const depotPrefix = "//Depot/BIN/";
  for (const flags of [1, 2]) {
    await using world = await World.make(archives, checkpointText({ flags, lines }));
    const { result, findings } = await world.verify({ depotPrefix });
    if (flags === 2) {
      deepStrictEqual(brief(findings), ["missing depot/bin/plain,d/1.101 local"]);
      deepStrictEqual([result.total.checked, result.incomplete], [2, []]);
    } else {
      deepStrictEqual([findings, result.total.checked], [[], 0]);
      deepStrictEqual(result.incomplete, [
        "no revision with content lies below //Depot/BIN/... (compared in exact case): " +
        "nothing was checked",
      ]);
    }
  }
});

Deno.test("an interrupted run says that it is not complete", async () => {
  await using world = await World.make();
  const { result } = await world.verify({}, { signal: AbortSignal.abort() });
  strictEqual(result.incomplete.at(-1), "the run was interrupted");
  strictEqual(result.inventory, null);
});

Deno.test("a run that is interrupted anywhere goes on by its resume file, and misses nothing", async () => {
  await using world = await World.make();
  await world.change("depot/bin/plain,d/1.101", () => bytesOfText("damaged"));
  for (const path of await world.paths()) {
    const resumePath = `${world.directory}/resume`;
    await Deno.remove(resumePath).catch(() => {});
    const interruption = new AbortController();
    const first = await world.verify({ resumePath }, {
      signal: interruption.signal,
      files: (files) => ({
        ...files,
        open(name): Promise<ReadableFile> {
          if (name === path) interruption.abort();
          return files.open(name);
        },
      }),
    });
    strictEqual(first.result.incomplete.at(-1), "the run was interrupted");
    const { result, findings } = await world.verify({ resumePath });
    deepStrictEqual(result.incomplete, []);
    deepStrictEqual([result.total.checked, result.total.bad], [STANDARD_REVISIONS, 1]);
    deepStrictEqual(brief(findings), ["bad depot/bin/plain,d/1.101 local"]);
  }
});

Deno.test("--path checks what a file below it uses, and looks for no orphans", async () => {
  await using world = await World.make();
  await world.write(ORPHAN, bytesOfText("x"));
  await Deno.remove(`${world.root}/depot/src/ko.txt,v`);
  const { result, findings } = await world.verify({ depotPrefix: "//depot/copy/" });
  deepStrictEqual(findings, []);
  // The lazy copy rests upon an archive with three revisions.
  deepStrictEqual([result.total.checked, result.total.skipped], [3, 3]);
  strictEqual(result.inventoryOmitted, "only part of the depot was asked for");
});

Deno.test("what cannot be read for reasons of our own is no finding, and never complete", async () => {
  // Longer than any name that the kernel takes.
  const name = `//depot/${"x".repeat(300)}`;
  const lines = [
    ...REVISIONS.map((it) => revLine(it)),
    revLine({
      depotFile: name,
      rev: 1,
      text: "a name that this tree cannot be asked for",
    }),
  ];
  await using world = await World.make(standardArchives(), checkpointText({ lines }));
  const { result, findings } = await world.verify({ findsOrphans: false });
  deepStrictEqual(findings, []);
  strictEqual(result.total.unverifiable, 1);
  match(result.incomplete.join(), /ENAMETOOLONG/);
});

Deno.test("names of any bytes are checked, found missing, and found as orphans", async () => {
  const depotFile = "//depot/\xe4\x83\xff b@c%40#1";
  const path = "depot/\xe4\x83\xff b@c%40#1,v";
  const text = "a\n";
  const lines = [revLine({ depotFile, rev: 1, text })];
  await using world = await World.make(new Map(), checkpointText({ lines }));
  deepStrictEqual(brief((await world.verify()).findings), [`missing ${path} local`]);
  await Deno.writeFile(
    `${world.root}/file`,
    bytesOfText(writeRcs([{ number: "1.101", text }])),
  );
  await world.renameToBytes("file", path);
  const { result, findings } = await world.verify();
  deepStrictEqual([findings, result.total.ok], [[], 1]);
  const other = revLine({ depotFile: "//depot/purged", rev: 1, text, action: 6 });
  await Deno.writeFile(world.checkpoint, bytesOfText(checkpointText({ lines: [other] })));
  const orphan = await world.verify({ orphanAgeMs: -1e12 });
  deepStrictEqual(brief(orphan.findings), [`orphan ${path} local`]);
});
