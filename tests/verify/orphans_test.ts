/**
 * What is an orphan, and above all what is none: an administrator removes what is called so.
 */

import { deepStrictEqual, strictEqual } from "node:assert/strict";
import {
  firstKeyFor,
  objectKeyOf,
  parseDepotPath,
  versionKeyFor,
} from "../../src/core/names.ts";
import { archiveStoreOf } from "../../src/verify/archive_store.ts";
import type { Finding } from "../../src/verify/report_types.ts";
import type { ArchiveStore, StoredObject } from "../../src/verify/sources.ts";
import {
  AS_OF_S,
  bytesOfText,
  checkpointText,
  type Revision,
  REVISIONS,
  revLine,
  standardArchives,
  World,
} from "./world.ts";

const brief = (findings: readonly Finding[]): string[] =>
  findings.map((it) => `${it.kind} ${it.archive} ${it.wrong.join("+")}`).sort();

/** No record names it, in whatever surroundings. */
const LEFT = "depot/src/left.c,v";
const ORPHAN = `orphan ${LEFT} store`;
const A = "depot/src/a.c,v";
/** The name before. */
const WAS = "depot/was/a.c,v";

/** The standard world, all stored, with further depots, revisions and archives, and an orphan. */
async function makeWorld(
  more: { depots?: string[]; revisions?: Revision[]; archives?: string[] } = {},
): Promise<World> {
  const archives = standardArchives();
  for (const path of more.archives ?? []) archives.set(path, bytesOfText("more"));
  const world = await World.make(
    archives,
    checkpointText({
      lines: [...REVISIONS, ...more.revisions ?? []].map((it) => revLine(it)),
      depots: ["@depot@ 0 @@ @depot/...@", ...more.depots ?? []],
    }),
  );
  await world.store();
  await world.putObject(LEFT, LEFT, bytesOfText("no record names it"));
  return world;
}

/** The object of A gets the key of the name that the file had before it was renamed. */
async function rename(world: World): Promise<void> {
  const bytes = await Deno.readFile(`${world.root}/${A}`);
  await world.deleteObject(A);
  await world.putObject(WAS, WAS, bytes);
  const row = world.rows.get(A)!;
  world.rows.set(A, { ...row, stored: { ...row.stored!, key: WAS } });
}

/** Changes the world when the store's list has been read. */
function afterList(world: World, change: () => Promise<void> | void): ArchiveStore {
  const store = archiveStoreOf(world.backend);
  return {
    ...store,
    async *list(): AsyncGenerator<StoredObject> {
      yield* store.list();
      await change();
    },
  };
}

const OLD: Revision = {
  depotFile: "//attic/old.dat",
  rev: 1,
  text: "more",
  type: 0x10001,
};

for (
  const { what, depot, revisions } of [
    { what: "of type archive", depot: "@attic@ 4 @@ @attic/...@", revisions: [OLD] },
    {
      what: "with an address",
      depot: "@attic@ 0 @@ @attic/...@ @s3,x@",
      revisions: [OLD],
    },
    { what: "of type remote", depot: "@attic@ 1 @@ @//there/...@", revisions: [OLD] },
    { what: "of type graph", depot: "@attic@ 7 @@ @attic/...@", revisions: [] },
    { what: "of a type that is not known", depot: "@attic@ 42 @@ @attic/...@" },
    { what: "that leads out", depot: "@attic@ 0 @@ @/elsewhere/attic/...@" },
    { what: "that leads above", depot: "@attic@ 4 @@ @../attic/...@", revisions: [OLD] },
  ]
) {
  Deno.test(`nothing in a depot ${what} is an orphan, and others are`, async () => {
    const archives = ["attic/old.dat,d/1.101", "attic/repo/pack-0.pack", "attic/rest,v"];
    const depots = [depot];
    await using world = await makeWorld({ depots, revisions: revisions ?? [], archives });
    await world.evict("attic/old.dat,d/1.101");
    await world.evict("attic/repo/pack-0.pack");
    await world.putObject("attic/none,v", "attic/none,v", bytesOfText("no row"));
    const { result, findings } = await world.verify({ depth: "size" });
    deepStrictEqual(brief(findings), [ORPHAN]);
    deepStrictEqual([result.orphans, result.strays, result.incomplete], [1, 0, []]);
  });
}

Deno.test("in an archive depot that is asked for, orphans are found", async () => {
  await using world = await makeWorld({
    depots: ["@attic@ 4 @@ @attic/...@"],
    revisions: [OLD],
    archives: ["attic/old.dat,d/1.101"],
  });
  await world.evict("attic/old.dat,d/1.101");
  await world.putObject("attic/none,v", "attic/none,v", bytesOfText("no row"));
  const { findings } = await world.verify({ depth: "size", checksArchiveDepots: true });
  deepStrictEqual(brief(findings), ["orphan attic/none,v store", ORPHAN]);
});

Deno.test("a depot is left out in whatever case its names are written", async () => {
  const lines = REVISIONS.map((it) => revLine(it));
  const depots = ["@depot@ 0 @@ @depot/...@", "@Attic@ 4 @@ @Attic/...@"];
  const archives = standardArchives().set("attic/a,v", bytesOfText("more"));
  await using world = await World.make(
    archives,
    checkpointText({ flags: 2, lines, depots }),
  );
  await world.store();
  await world.putObject("attic/none,v", "attic/none,v", bytesOfText("no row"));
  await world.putObject(LEFT, LEFT, bytesOfText("no record names it"));
  const { findings } = await world.verify({ depth: "size" });
  deepStrictEqual(brief(findings), [ORPHAN]);
});

Deno.test("what is no archive by its name is no orphan in the store either", async () => {
  const archives = ["depot/readme", "depot/b,d/tmp.1.2", "server.locks/clients/8,d/c"];
  await using world = await makeWorld({ archives });
  await world.evict("depot/readme");
  const { result, findings } = await world.verify({ depth: "size" });
  deepStrictEqual([brief(findings), result.strays], [[ORPHAN], 0]);
});

Deno.test("an archive of a form that is not known is no orphan under any name", async () => {
  const revisions = [
    { depotFile: "//depot/new", rev: 1, text: "more", type: 9 },
    { depotFile: "//depot/trigger", rev: 1, text: "more", type: 8 },
    { depotFile: "//depot/tiny", rev: 1, text: "more", type: 2 },
  ];
  const archives = ["depot/new,d/1.101", "depot/trigger,d/1.101.gz", "depot/tiny,v"];
  await using world = await makeWorld({ revisions, archives });
  const { findings } = await world.verify({ depth: "size" });
  deepStrictEqual(brief(findings), [ORPHAN]);
});

Deno.test("a renamed file's object is no orphan, clean, dirty or evicted", async () => {
  await using world = await makeWorld();
  await rename(world);
  const row = world.rows.get(A)!;
  for (const isClean of [true, false]) {
    world.rows.set(A, { ...row, isClean });
    for (const depth of ["exists", "content"] as const) {
      const { findings } = await world.verify({ depth });
      deepStrictEqual(brief(findings), [ORPHAN], `clean: ${isClean}`);
    }
  }
  world.rows.set(A, row);
  await world.evict(A);
  const { findings } = await world.verify({ depth: "content" });
  deepStrictEqual(brief(findings), [ORPHAN]);
});

Deno.test("the object of a renamed and deleted file is an orphan only when its grace is over", async () => {
  await using world = await makeWorld();
  await world.putObject(WAS, WAS, bytesOfText("deleted, in its grace"));
  world.tombstones.set("depot/src/z.c,v", [WAS]);
  const inGrace = await world.verify({ depth: "size" });
  deepStrictEqual(brief(inGrace.findings), [ORPHAN]);
  strictEqual(inGrace.result.inventory?.tombstones, 1);
  world.tombstones.clear();
  const { findings } = await world.verify({ depth: "size" });
  deepStrictEqual(brief(findings), [ORPHAN, `orphan ${WAS} store`]);
});

Deno.test("a row without a record is an orphan with the object of its name before", async () => {
  await using world = await makeWorld();
  const row = world.rows.get(A)!;
  const path = "depot/src/late.c,v";
  const stored = { ...row.stored!, key: WAS };
  await world.putObject(WAS, WAS, bytesOfText("stored before it was renamed"));
  world.rows.set(path, { ...row, isResident: false, stored });
  const held = await world.verify({ depth: "size" });
  deepStrictEqual(brief(held.findings), [ORPHAN, `orphan ${WAS} store+manifest`]);
  await world.deleteObject(WAS);
  const gone = await world.verify({ depth: "size" });
  deepStrictEqual(brief(gone.findings), [ORPHAN, `stray ${path} manifest`]);
});

Deno.test("a file that was renamed after the records were written is no orphan", async () => {
  await using world = await makeWorld();
  const path = "depot/src/late.c,v";
  await Deno.rename(`${world.root}/${A}`, `${world.root}/${path}`);
  world.rows.set(path, world.rows.get(A)!);
  world.rows.delete(A);
  for (const isEvicted of [false, true]) {
    if (isEvicted) await world.evict(path);
    const { result, findings } = await world.verify({ depth: "size" });
    const rest = findings.filter((it) => it.kind !== "missing");
    deepStrictEqual([brief(rest), result.strays], [[ORPHAN], 0]);
    strictEqual((result.inventory?.doubtful ?? 0) > 0, true);
  }
});

Deno.test("a rename, an upload and a delete after the list was read make no orphan", async () => {
  await using world = await makeWorld();
  const row = world.rows.get(A)!;
  const path = "depot/src/late.c,v";
  const version = versionKeyFor(firstKeyFor(parseDepotPath(A), () => ""), "a".repeat(64));
  await world.putObject("depot/src/b.c,v", "depot/src/b.c,v", bytesOfText("deleted"));
  await world.putObject(version, A, bytesOfText("uploaded before"));
  const store = afterList(world, () => {
    world.rows.set(path, row);
    world.rows.set(A, { ...row, stored: { ...row.stored!, key: version } });
    world.tombstones.set("depot/src/c.c,v", ["depot/src/b.c,v"]);
  });
  const { findings } = await world.verify({ depth: "exists" }, { store });
  deepStrictEqual(brief(findings), [ORPHAN]);
});

Deno.test("an object that was stored again after the list was read is no orphan", async () => {
  await using world = await makeWorld();
  const store = archiveStoreOf(world.backend);
  const head = async (key: string): Promise<StoredObject | null> => {
    const object = await store.head(key);
    return object === null ? null : { ...object, storedAtMs: AS_OF_S * 1000 };
  };
  const { result, findings } = await world.verify({ depth: "exists" }, {
    store: { ...store, head },
  });
  deepStrictEqual([findings, result.inventory?.young], [[], 1]);
});

Deno.test("an old object that a younger file was given is no orphan, by file or row", async () => {
  await using world = await makeWorld();
  const row = world.rows.get(A)!;
  world.rows.set(LEFT, {
    ...row,
    isResident: false,
    createdAtMs: AS_OF_S * 1000,
    stored: { ...row.stored!, key: LEFT },
  });
  const byRow = await world.verify({ depth: "exists" });
  deepStrictEqual([byRow.findings, byRow.result.inventory?.young], [[], 1]);
  world.rows.set(LEFT, { ...world.rows.get(LEFT)!, createdAtMs: row.createdAtMs });
  const old = await world.verify({ depth: "exists" });
  deepStrictEqual(brief(old.findings), [`${ORPHAN}+manifest`]);
  await world.write(LEFT, bytesOfText("no record names it"));
  await Deno.utime(`${world.root}/${LEFT}`, AS_OF_S, AS_OF_S);
  const byFile = await world.verify({ depth: "exists" });
  deepStrictEqual([byFile.findings, byFile.result.inventory?.young], [[], 1]);
});

Deno.test("an object whose age the store does not tell is no orphan", async () => {
  await using world = await makeWorld();
  const store = archiveStoreOf(world.backend);
  const timeless = <T extends StoredObject | null>(object: T): T =>
    object === null ? object : { ...object, storedAtMs: null };
  const { result, findings } = await world.verify({ depth: "exists" }, {
    store: {
      ...store,
      head: async (key) => timeless(await store.head(key)),
      async *list(): AsyncGenerator<StoredObject> {
        for await (const object of store.list()) yield timeless(object);
      },
    },
  });
  deepStrictEqual([findings, result.inventory?.doubtful], [[], 1]);
});

Deno.test("an object that is newer than all that the manifest knows is no orphan", async () => {
  await using world = await makeWorld();
  const store = archiveStoreOf(world.backend);
  const { result, findings } = await world.verify({ depth: "exists" }, {
    store: {
      ...store,
      async *list(): AsyncGenerator<StoredObject> {
        for await (const object of store.list()) {
          const later = object.key === LEFT ? 1 : 0;
          yield { ...object, storedAtMs: object.storedAtMs! + later };
        }
      },
    },
  });
  deepStrictEqual([findings, result.inventory?.doubtful], [[], 1]);
});

Deno.test("without a manifest no object is an orphan, and files are", async () => {
  await using world = await makeWorld();
  const path = "depot/src/file.c,v";
  await world.write(path, bytesOfText("no record names it"));
  world.hasStore = false;
  const store = archiveStoreOf(world.backend);
  const { result, findings } = await world.verify({ depth: "exists" }, { store });
  deepStrictEqual(brief(findings), [`orphan ${path} local`]);
  strictEqual((result.inventory?.doubtful ?? 0) > 0, true);
});

Deno.test("the last object of an archive that the manifest lost is no orphan", async () => {
  await using world = await makeWorld();
  world.rows.delete(A);
  await Deno.remove(`${world.root}/${A}`);
  const { findings } = await world.verify({ depth: "exists" });
  deepStrictEqual(brief(findings), [
    ...Array(3).fill(`missing ${A} local+manifest`),
    ORPHAN,
  ]);
});

Deno.test("no version of an archive that is dirty or not good is an orphan", async () => {
  await using world = await makeWorld();
  const first = firstKeyFor(parseDepotPath(A), () => "");
  const version = versionKeyFor(first, "b".repeat(64));
  await world.putObject(version, A, bytesOfText("unknown"));
  const before = await world.verify({ depth: "exists" });
  deepStrictEqual(brief(before.findings), [
    `orphan ${version} store`,
    ORPHAN,
  ]);
  const row = world.rows.get(A)!;
  world.rows.set(A, { ...row, isClean: false });
  const dirty = await world.verify({ depth: "exists" });
  deepStrictEqual(brief(dirty.findings), [ORPHAN]);
  world.rows.set(A, row);
  await world.evict(A);
  await world.deleteObject(A);
  const missing = await world.verify({ depth: "exists" });
  deepStrictEqual(brief(missing.findings), [`missing ${A} store`, ORPHAN]);
  await Deno.remove(`${world.root}/${A}`);
  await world.write(A, bytesOfText("damaged"));
  const resumePath = `${world.directory}/resume`;
  // The second run takes what the first one found from its resume file.
  for (let run = 1; run <= 2; run++) {
    const bad = await world.verify({ depth: "content", resumePath });
    const versions = bad.findings.filter((it) => it.archive === version);
    deepStrictEqual([versions, bad.result.orphans], [[], 1]);
  }
});

Deno.test("an orphan is shown by the bytes of its key", async () => {
  await using world = await makeWorld();
  const key = "depot/\u00e4\u65e5,v";
  const path = "depot/\xc3\xa4\xe6\x97\xa5,v";
  await world.putObject(objectKeyOf(key), path, bytesOfText("no record names it"));
  const { findings } = await world.verify({ depth: "exists" });
  deepStrictEqual(brief(findings), [ORPHAN, `orphan ${path} store`].sort());
});
