import {
  deepStrictEqual,
  match,
  ok,
  rejects,
  strictEqual,
  throws,
} from "node:assert/strict";
import { runCheckManifest } from "../../src/cli/cmd_check_manifest.ts";
import { runExportManifest } from "../../src/cli/cmd_export_manifest.ts";
import {
  type ImportManifestDeps,
  runImportManifest,
} from "../../src/cli/cmd_import_manifest.ts";
import { runManifestBackup } from "../../src/cli/cmd_manifest_backup.ts";
import { runManifestSummary } from "../../src/cli/cmd_manifest_summary.ts";
import {
  type RebuildManifestDeps,
  runRebuildManifest,
} from "../../src/cli/cmd_rebuild_manifest.ts";
import { UsageError } from "../../src/cli/command.ts";
import { depotAround } from "../../src/cli/sources.ts";
import { checkManifest } from "../../src/manifest/check_manifest.ts";
import { copyDirectoryAt } from "../../src/manifest/copies.ts";
import { LmdbKeyValue } from "../../src/manifest/lmdb_key_value.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import { migrate } from "../../src/manifest/migrate.ts";
import type { FileEntry, Manifest, MetaName } from "../../src/manifest/manifest.ts";
import { encodeMoving, MOVING } from "../../src/manifest/moving.ts";
import {
  type DepotPath,
  displayPath,
  objectKeyOf,
  parseDepotPath,
} from "../../src/core/names.ts";
import { type RebuildStoreSide, sayingWhichStore } from "../../src/cli/rebuild_stores.ts";
import type { LocalThing, RebuildObject } from "../../src/manifest/rebuild_sides.ts";
import { StorageError } from "../../src/storage/storage_error.ts";
import { asSchema3, stoppingAfter } from "./older_manifests.ts";
import { makeSample, pathOf } from "./sample_manifest.ts";

const FILES = 40;
const NOW_MS = 2_000_000_000;

interface Output {
  readonly printed: string[];
  readonly errors: string[];
}

function sideOf(
  objects: readonly FileEntry[],
  instanceId: string | null,
): RebuildStoreSide {
  return {
    store: {
      async *list(): AsyncGenerator<RebuildObject> {
        for (const { stored } of objects) {
          yield await Promise.resolve({ ...stored!, storedAtMs: 1, metadata: null });
        }
      },
      head: (key) => {
        const found = objects.find(({ stored }) => stored!.key === key);
        if (found === undefined) return Promise.resolve(null);
        const { stored, local } = found;
        const { mode, uid, gid } = local;
        const metadata = { ...stored!, mode, uid, gid, path: null };
        return Promise.resolve({ ...stored!, storedAtMs: 1, metadata });
      },
    },
    instanceId: () => Promise.resolve(instanceId),
    storeCopies: () => Promise.resolve([]),
    fetchCopy: () => Promise.reject(new Error("the store has no copies")),
  };
}

function depsFor(
  { printed, errors }: Output,
  things: ReadonlyMap<string, LocalThing> = new Map(),
  objects: readonly FileEntry[] = [],
  sides: {
    readonly primary?: RebuildStoreSide;
    readonly secondary?: RebuildStoreSide;
  } = {},
): RebuildManifestDeps & ImportManifestDeps {
  return {
    print: (line) => void printed.push(line),
    printError: (line) => void errors.push(line),
    openManifest,
    checkManifest,
    nowMs: () => NOW_MS,
    signal: new AbortController().signal,
    async *readLines(path): AsyncGenerator<string> {
      yield* (await Deno.readTextFile(path)).split("\n");
    },
    depotAround: () => (path) => things.get(path) ?? null,
    openSides: (_, { noSecondary }) =>
      Promise.resolve({
        owner: { uid: 1, gid: 1 },
        manage: "all",
        primary: sides.primary ?? sideOf(objects, "instance of the store"),
        secondary: noSecondary ? null : sides.secondary ?? null,
        depot: {
          look: (path) => Promise.resolve(things.get(path) ?? null),
          async *walk(): AsyncGenerator<{ path: DepotPath; thing: LocalThing }> {
            for (const [path, thing] of things) {
              yield await Promise.resolve({ path: path as DepotPath, thing });
            }
          },
        },
        place: { device: "2049", identity: "12 1700000000123" },
        close: () => Promise.resolve(),
      }),
  };
}

async function inDirectory(
  run: (root: string, output: Output) => Promise<void>,
): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-manifest-cli-" });
  try {
    await makeSample(`${root}/manifest`, FILES);
    await run(root, { printed: [], errors: [] });
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

async function allOf(directory: string): Promise<ReturnType<Manifest["entries"]>> {
  const manifest = await openManifest({ directory, readOnly: true });
  try {
    return manifest.entries("", null, 10_000);
  } finally {
    await manifest.close();
  }
}

async function damageFile(directory: string): Promise<void> {
  const file = await Deno.open(`${directory}/data.mdb`, { write: true });
  await file.write(new Uint8Array(16_384).fill(0x5a));
  file.close();
}

Deno.test("manifest-summary counts what is there, as text and as JSON", () =>
  inDirectory(async (root, output) => {
    const args = ["--manifest", `${root}/manifest`];
    strictEqual(await runManifestSummary([...args, "--json"], depsFor(output)), 0);
    const summary = JSON.parse(output.printed[0]!);
    deepStrictEqual(
      [summary.format, summary.version, summary.schemaVersion, summary.rowVersion],
      ["p4-cache-manifest-summary", 1, 4, "v2"],
    );
    strictEqual(summary.instanceId, "sample");
    strictEqual(summary.total.files, FILES - 5);
    strictEqual(summary.dirtyQueue.files, 10);
    strictEqual(summary.dirtyQueue.oldestAgeSecs, NOW_MS / 1000 - 1000);
    strictEqual(summary.retries.waiting, 5);
    strictEqual(summary.countersAgree, true);
    strictEqual(summary.directories.length, 1);
    const lruFiles = summary.lru.map(({ files }: { files: number }) => files);
    strictEqual(lruFiles.reduce((a: number, b: number) => a + b, 0), 20);

    output.printed.length = 0;
    strictEqual(
      await runManifestSummary([...args, "--depth", "3", "--top", "2"], depsFor(output)),
      0,
    );
    const text = output.printed.join("\n");
    match(text, /^Manifest: schema 4, rows v2, instance sample$/m);
    match(text, /^total +35 /m);
    match(text, /^ {2}depot\/main\/[0-6] +\d+ /m);
    strictEqual(text.match(/^ {2}depot/gm)!.length, 2);
  }));

Deno.test("the commands refuse a wrong command line", () => {
  const deps = depsFor({ printed: [], errors: [] });
  throws(() => runManifestSummary(["--top", "0"], deps), UsageError);
  throws(() => runManifestBackup([], deps), UsageError);
  throws(() => runImportManifest(["a", "b"], deps), UsageError);
  throws(() => runExportManifest(["--what"], deps));
});

Deno.test("check-manifest is content with a sound manifest and names faults of another", () =>
  inDirectory(async (root, output) => {
    const args = ["--manifest", `${root}/manifest`];
    strictEqual(await runCheckManifest(args, depsFor(output)), 0);
    await damageFile(`${root}/manifest`);
    strictEqual(await runCheckManifest(args, depsFor(output)), 74);
    match(output.printed.at(-1)!, /^pages: /);
    match(output.errors.at(-1)!, /rebuild-manifest/);
    await rejects(openManifest({ directory: `${root}/manifest` }), {
      fault: "damaged",
      message: /p4-cache rebuild-manifest/,
    });
  }));

Deno.test("the commands that look say of a damaged manifest what recovers it, and end with 74", () =>
  inDirectory(async (root, output) => {
    const args = ["--manifest", `${root}/manifest`];
    const data = `${root}/manifest/data.mdb`;
    const good = await Deno.readFile(data);
    const rows = new TextDecoder("latin1").decode(good).lastIndexOf(pathOf(1));
    const page = rows - rows % 8192;
    const torn = good.slice().fill(0, page, page + 8192);
    const turned = good.slice().fill(0xff, page + 24, page + 64);
    for (const bytes of [torn, turned, good.slice(0, good.length / 2)]) {
      await Deno.writeFile(data, bytes);
      const commands = [
        () => runManifestSummary(args, depsFor(output)),
        () => runExportManifest(args, depsFor(output)),
        () => runManifestBackup([...args, `${root}/copy`], depsFor(output)),
      ];
      for (const run of commands) {
        strictEqual(await run(), 74);
        match(output.errors.at(-1)!, /is damaged; .* `p4-cache rebuild-manifest`/);
      }
      deepStrictEqual(output.printed, []);
      deepStrictEqual(namesIn(root), ["manifest"]);
      deepStrictEqual(await Deno.readFile(data), bytes);
    }
  }));

Deno.test("check-manifest says that there is none, and does not take that for damage", () =>
  inDirectory(async (root, output) => {
    const args = ["--manifest", `${root}/manifset`];
    strictEqual(await runCheckManifest(args, depsFor(output)), 3);
    deepStrictEqual(output, {
      printed: [],
      errors: [`p4-cache check-manifest: There is no manifest in ${root}/manifset`],
    });
  }));

Deno.test("a missing, an emptied and a table-less manifest are refused, not made anew", () =>
  inDirectory(async (root) => {
    const directory = `${root}/manifest`;
    const data = `${directory}/data.mdb`;
    const bytes = await Deno.readFile(data);
    for (const harm of [new Uint8Array(), bytes.slice(0, 8192), bytes.slice(0, 16_384)]) {
      await Deno.writeFile(data, harm);
      await rejects(openManifest({ directory }), { fault: "damaged" });
      deepStrictEqual((await Deno.readFile(data)).length, harm.length);
    }
    await Deno.remove(data);
    await rejects(openManifest({ directory }), { fault: "damaged" });
    await rejects(openManifest({ directory: `${root}/none`, readOnly: true }), {
      fault: "unavailable",
    });
  }));

Deno.test("manifest-backup copies beside a writer, and the copy is sound", () =>
  inDirectory(async (root, output) => {
    const manifest = await openManifest({ directory: `${root}/manifest` });
    const args = ["--manifest", `${root}/manifest`, `${root}/copy`];
    try {
      strictEqual(await runManifestBackup(args, depsFor(output)), 0);
      strictEqual(await runManifestBackup(args, depsFor(output)), 3);
      match(output.errors.at(-1)!, /it exists/);
    } finally {
      await manifest.close();
    }
    deepStrictEqual(await allOf(`${root}/copy`), await allOf(`${root}/manifest`));
    strictEqual(
      await runCheckManifest(["--manifest", `${root}/copy`], depsFor(output)),
      0,
    );
  }));

Deno.test("what export-manifest prints, import-manifest takes", () =>
  inDirectory(async (root, output) => {
    // The same machine: everything lies where it lay.
    const rows = await allOf(`${root}/manifest`);
    const things = new Map<string, LocalThing>(rows.map(({ path, entry }) => {
      const isFile = entry.resident || entry.state !== "clean";
      return [path, { kind: isFile ? "file" : "marker", stat: entry.local }];
    }));
    const deps = depsFor(output, things);
    strictEqual(await runExportManifest(["--manifest", `${root}/manifest`], deps), 0);
    const lines = output.printed.join("\n");
    // deno-lint-ignore no-control-regex -- the lines are ASCII
    ok(!/[^\x0a\x20-\x7e]/.test(lines));
    await Deno.writeTextFile(`${root}/rows`, lines);
    const args = ["--manifest", `${root}/other`, `${root}/rows`];
    strictEqual(await runImportManifest(args, deps), 0);
    match(output.printed.at(-1)!, /35 rows imported, 0 paths/);
    const facts = ({ entry }: { entry: FileEntry }) => ({
      state: entry.state === "uploading" ? "dirty" : entry.state,
      resident: entry.resident,
      local: entry.local,
      stored: entry.stored,
      flags: entry.flags,
      lastAccessS: entry.lastAccessS,
      createdAtS: entry.createdAtS,
    });
    deepStrictEqual(
      (await allOf(`${root}/other`)).map(facts),
      (await allOf(`${root}/manifest`)).map(facts),
    );
    strictEqual(await runImportManifest(args, deps), 0);
    match(output.printed.at(-1)!, /0 rows imported, 35 paths have a row already/);
  }));

Deno.test("export-manifest refuses what a rename has half done", () =>
  inDirectory(async (root, output) => {
    const directory = `${root}/manifest`;
    const manifest = await openManifest({ directory });
    await manifest.setMeta("moving", "{}");
    await manifest.close();
    strictEqual(await runExportManifest(["--manifest", directory], depsFor(output)), 3);
    match(output.errors.at(-1)!, /start the daemon once/);
    deepStrictEqual(output.printed, []);
  }));

Deno.test("import-manifest on another machine takes no inode for one of its own", () =>
  inDirectory(async (root, output) => {
    const before = await allOf(`${root}/manifest`);
    const [first, second] = before.filter(({ entry }) =>
      entry.state === "clean" && !entry.resident
    );
    // One marker came along, under another number; one number is another file's here.
    const marker = { ...first!.entry.local, ino: 4_711n, dev: 9n, ctimeNs: 5n };
    const other = { ...second!.entry.local, sizeBytes: 1, dev: 9n };
    const deps = depsFor(
      output,
      new Map<string, LocalThing>([
        [first!.path, { kind: "marker", stat: marker }],
        [second!.path, { kind: "file", stat: other }],
      ]),
    );
    strictEqual(await runExportManifest(["--manifest", `${root}/manifest`], deps), 0);
    await Deno.writeTextFile(`${root}/rows`, output.printed.join("\n"));
    const args = ["--manifest", `${root}/other`, `${root}/rows`];
    strictEqual(await runImportManifest(args, deps), 0);
    const after = await allOf(`${root}/other`);
    strictEqual(after.length, before.length);
    for (const { path, entry } of after) {
      if (path === first!.path) deepStrictEqual(entry.local, marker);
      else strictEqual(entry.local.ino, 0n, path);
      ok(!entry.resident || entry.state === "dirty", path);
    }
  }));

Deno.test("import-manifest takes the fields of older systems, and evicts what it cannot know", () =>
  inDirectory(async (root, output) => {
    const row = {
      path: "d/old,v",
      size: 5,
      state: 0,
      "storage_key": "d/old,v",
      "content_hash": "ab".repeat(32),
      "last_access": 77,
      "created_at": 70,
      resident: true,
    };
    await Deno.writeTextFile(`${root}/rows`, JSON.stringify(row));
    const args = ["--manifest", `${root}/other`, `${root}/rows`];
    strictEqual(await runImportManifest(args, depsFor(output)), 0);
    const [found] = await allOf(`${root}/other`);
    deepStrictEqual([found!.entry.state, found!.entry.resident], ["clean", false]);
    deepStrictEqual([found!.entry.lastAccessS, found!.entry.createdAtS], [77, 70]);
  }));

Deno.test("import-manifest adds no row to the rename of a directory that was cut short", () =>
  inDirectory(async (root, output) => {
    const args = ["--manifest", `${root}/other`, `${root}/rows`];
    const importRow = async (path: string): Promise<void> => {
      const row = { path, size: 1, "storage_key": path };
      await Deno.writeTextFile(`${root}/rows`, `${JSON.stringify(row)}\n`);
      strictEqual(await runImportManifest(args, depsFor(output)), 0);
    };
    await importRow("d/a,v");
    const manifest = await openManifest({ directory: `${root}/other` });
    const [from, to] = ["d" as DepotPath, "e" as DepotPath];
    const moving = {
      kind: "move",
      from,
      to,
      toldMs: 1,
      whiteout: false,
      after: "",
    } as const;
    await manifest.setMeta(MOVING as MetaName, encodeMoving(moving));
    await manifest.close();
    await importRow("d/b,v");
    deepStrictEqual((await allOf(`${root}/other`)).map(({ path }) => path), [
      "d/b,v",
      "e/a,v",
    ]);
  }));

Deno.test("import-manifest names the line that it cannot take, and changes nothing dry", () =>
  inDirectory(async (root, output) => {
    const good = '{"path":"a,v","size":1,"storage_key":"a,v"}';
    const bad: [string, RegExp][] = [
      ["{", /line 2: it is no JSON/],
      ['{"path":"../x","size":1}', /line 2: field "path"/],
      ['{"path":"b,v","size":-1}', /line 2: field "size"/],
      ['{"path":"b,v","size":1}', /line 2: field "storage_key"/],
      [
        '{"path":"b,v","size":1,"storage_key":"k","generation":9007199254740991}',
        /line 2: .*"generation"/,
      ],
      ['{"type":"end","files":3}', /says 3 files, there were 1/],
      [
        '{"path":"d/db.rev","size":1,"storage_key":"k"}',
        /1 lines left out, the first is 2:/,
      ],
    ];
    for (const [line, complaint] of bad) {
      await Deno.writeTextFile(`${root}/rows`, `${good}\n${line}\n`);
      const args = ["--dry-run", "--manifest", `${root}/other`, `${root}/rows`];
      strictEqual(await runImportManifest(args, depsFor(output)), 1);
      match(output.errors.at(-1)!, complaint);
    }
    strictEqual((await allOf(`${root}/other`)).length, 0);
    const args = ["--manifest", `${root}/other`, `${root}/absent`];
    strictEqual(await runImportManifest(args, depsFor(output)), 3);
  }));

Deno.test("commands that write are refused while a daemon has the lock", () =>
  inDirectory(async (root, output) => {
    const lock = await Deno.open(`${root}/daemon.lock`, { create: true, write: true });
    ok(await lock.tryLock(true));
    const args = ["--manifest", `${root}/manifest`];
    strictEqual(await runRebuildManifest(args, depsFor(output)), 3);
    match(output.errors.at(-1)!, /locked by a running daemon/);
    lock.close();
  }));

Deno.test("rebuild-manifest starts from the newest sound copy and keeps the old files", () =>
  inDirectory(async (root, output) => {
    const directory = `${root}/manifest`;
    const before = await allOf(directory);
    const clean = before.filter(({ entry }) => entry.state === "clean");
    const manifest = await openManifest({ directory });
    await Deno.mkdir(`${root}/manifest-copies`);
    // The last one by a clock that was wrong.
    for (const atMs of [1_000, 90_000_000, 9_000_000_000_000]) {
      await manifest.backup(copyDirectoryAt(directory, atMs));
    }
    await manifest.close();
    await damageFile(copyDirectoryAt(directory, 90_000_000));
    await damageFile(directory);
    const things = new Map<string, LocalThing>(before.map(({ path, entry }) => [path, {
      kind: entry.resident ? "file" : "marker",
      stat: entry.local,
    }]));
    const deps = depsFor(output, things, clean.map(({ entry }) => entry));
    // Those that waited for a decision before still do.
    const undecided = before.filter(({ entry }) => entry.flags.conflict);
    strictEqual(await runRebuildManifest(["--manifest", directory], deps), 1);
    deepStrictEqual(
      output.printed.filter((line) => /^[A-Z ]+ {2}/.test(line)).sort(),
      undecided.map(({ path }) =>
        `CONFLICT   ${displayPath(path)}: the store has another version`
      ).sort(),
    );
    match(
      output.printed.join("\n"),
      new RegExp(` ${undecided.length} findings\nIn conflict: ${undecided.length} files`),
    );
    match(output.errors.join("\n"), /T01-00-00Z is damaged, too\nstarting from the copy/);
    match(output.printed.join("\n"), /the old manifest is .*manifest\.damaged-1970/);
    const after = await allOf(directory);
    deepStrictEqual(after.map(({ path }) => path), before.map(({ path }) => path));
    deepStrictEqual(
      after.map(({ entry }) => entry.stored),
      before.map(({ entry }) => entry.stored),
    );
    deepStrictEqual(
      after.filter(({ entry }) => entry.state === "clean").length,
      clean.length,
    );
    strictEqual(await runCheckManifest(["--manifest", directory], deps), 0);
  }));

const OLDER_COPIES = [
  [
    "before the upgrade, of an older schema",
    asSchema3,
    /its schema is 3, .*start it first/,
  ],
  [
    "an upgrade that was stopped",
    asHalfOfSchema3,
    /on its way from schema 3 .*start the da/,
  ],
] as const;

async function asHalfOfSchema3(directory: string): Promise<void> {
  await asSchema3(directory);
  const store = await LmdbKeyValue.open(directory, { readOnly: false, create: true });
  await rejects(migrate(stoppingAfter(store, 2), 3), /stopped/);
  await store.close();
}

for (const [when, leave, told] of OLDER_COPIES) {
  Deno.test(`rebuild-manifest starts from a copy of ${when}`, () =>
    inDirectory(async (root, output) => {
      const directory = `${root}/manifest`;
      const before = await allOf(directory);
      const clean = before.filter(({ entry }) => entry.state === "clean");
      const copy = copyDirectoryAt(directory, 1_000);
      const manifest = await openManifest({ directory });
      await Deno.mkdir(`${root}/manifest-copies`);
      await manifest.backup(copy);
      await manifest.close();
      await leave(copy);
      await damageFile(directory);
      const things = new Map<string, LocalThing>(before.map(({ path, entry }) => [path, {
        kind: entry.resident ? "file" : "marker",
        stat: entry.local,
      }]));
      const deps = depsFor(output, things, clean.map(({ entry }) => entry));
      strictEqual(await runRebuildManifest(["--manifest", directory], deps), 1);
      match(output.errors[0]!, /^starting from the copy /);
      const after = await allOf(directory);
      deepStrictEqual(
        after.map(({ path, entry }) => [path, entry.stored]),
        before.map(({ path, entry }) => [path, entry.stored]),
      );
      strictEqual(await runCheckManifest(["--manifest", directory], deps), 0);
      // The copy is as it was.
      strictEqual(await runCheckManifest(["--manifest", copy], deps), 3);
      match(output.errors.at(-1)!, told);
    }));
}

Deno.test("rebuild-manifest takes a manifest that an upgrade has left half-way for one that was in use", () =>
  inDirectory(async (root, output) => {
    const directory = `${root}/manifest`;
    await asHalfOfSchema3(directory);
    const status = await runRebuildManifest(
      ["--manifest", directory, "--no-copy"],
      depsFor(output),
    );
    strictEqual(status, 0);
  }));

Deno.test("a copy that cannot be taken whole leaves nothing of itself", () =>
  inDirectory(async (root, output) => {
    const directory = `${root}/manifest`;
    await damageFile(directory);
    const deps = depsFor(output);
    // As where the disk is full: what was found sound cannot be copied.
    deps.checkManifest = async function* (): AsyncGenerator<never> {};
    const args = ["--manifest", directory, "--copy", `${root}/gone`];
    await rejects(runRebuildManifest(args, deps), Deno.errors.NotFound);
    const names = (await Array.fromAsync(Deno.readDir(root))).map(({ name }) => name);
    deepStrictEqual(names.filter((name) => name.startsWith("manifest.rebuilt")), []);
  }));

Deno.test("rebuild-manifest without a copy finds every stored file again", () =>
  inDirectory(async (root, output) => {
    const directory = `${root}/manifest`;
    const before = await allOf(directory);
    const stored = before.filter(({ entry }) => entry.stored !== null);
    await damageFile(directory);
    const things = new Map<string, LocalThing>(before.map(({ path, entry }) => [path, {
      kind: "marker",
      stat: entry.local,
    }]));
    const deps = depsFor(output, things, stored.map(({ entry }) => entry));
    strictEqual(await runRebuildManifest(["--manifest", directory, "--json"], deps), 1);
    const { findings } = JSON.parse(output.printed.at(-1)!);
    const kinds = findings.map(({ kind }: { kind: string }) => kind).sort();
    // Five whose objects have other names, ten that were never stored.
    deepStrictEqual(
      kinds,
      [...Array(5).fill("moved"), ...Array(10).fill("no-object")]
        .sort(),
    );
    const after = await allOf(directory);
    deepStrictEqual(
      after.map(({ path, entry }) => [path, entry.stored!.key, entry.stored!.hash]),
      stored.map(({ path, entry }) => [path, entry.stored!.key, entry.stored!.hash]),
    );
    ok(after.some(({ path }) => path === pathOf(2)));
    // Without these the daemon would not start on it.
    const rebuilt = await openManifest({ directory, readOnly: true });
    strictEqual(rebuilt.meta("instance_id"), "instance of the store");
    strictEqual(rebuilt.meta("depot_device"), "2049");
    strictEqual(rebuilt.meta("depot_identity"), "12 1700000000123");
    await rebuilt.close();
  }));

Deno.test("rebuild-manifest starts from a copy that is newer than the rebuild that was stopped", () =>
  inDirectory(async (root, output) => {
    const directory = `${root}/manifest`;
    const manifest = await openManifest({ directory });
    await manifest.backup(`${directory}.rebuilt`);
    const stoppedS = 1_000;
    await Deno.utime(`${directory}.rebuilt/data.mdb`, stoppedS, stoppedS);
    const deps = depsFor(output);
    for (const start of [["--no-copy"], ["--copy", `${root}/copy`]]) {
      strictEqual(await runRebuildManifest(["--manifest", directory, ...start], deps), 3);
      match(output.errors.pop()!, /an unfinished rebuild/);
    }
    // The daemon went on with the manifest of before, and made its copy.
    const { entry } = manifest.entries("", null, 100)
      .find(({ entry }) => entry.state === "clean" && !entry.resident)!;
    const path = "d/later,v" as DepotPath;
    await manifest.apply(path, "absent", {
      kind: "adopted",
      stored: { ...entry.stored!, key: objectKeyOf(path) },
      resident: false,
      stat: entry.local,
      flags: {},
      nowS: 1,
    });
    await Deno.mkdir(`${root}/manifest-copies`);
    await manifest.backup(copyDirectoryAt(directory, 90_000_000));
    await manifest.close();
    await runRebuildManifest(["--manifest", directory], deps);
    match(output.errors.join("\n"), /is newer than the unfinished .*\nstarting from/);
    ok((await allOf(directory)).some((row) => row.path === path));
    ok(namesIn(root).some((name) => name.startsWith("manifest.unfinished-1970")));
  }));

Deno.test("rebuild-manifest makes no depot, and takes an empty one for a new disk only if it is told", () =>
  inDirectory(async (root, output) => {
    const deps = depsFor(output);
    const missing = ["--manifest", `${root}/depot/.p4cache/manifest`];
    const unmounted = {
      name: "StartError",
      status: 78,
      message: /not a directory: create/,
    };
    await rejects(runRebuildManifest(missing, deps), unmounted);
    deepStrictEqual(namesIn(root), ["manifest"]);

    await Deno.mkdir(`${root}/depot`);
    const nothing = { name: "StartError", status: 78, message: /--new-disk/ };
    await rejects(runRebuildManifest(missing, deps), nothing);
    // What a daemon leaves that refuses to start there is no manifest of before.
    await (await openManifest({ directory: missing[1]! })).close();
    await rejects(runRebuildManifest([...missing, "--no-copy"], deps), nothing);
    deepStrictEqual(namesIn(`${root}/depot/.p4cache`), ["daemon.lock", "manifest"]);
    strictEqual(await runRebuildManifest([...missing, "--new-disk"], deps), 0);

    const moved = await openManifest({ directory: missing[1]! });
    await moved.setMeta("depot_device", "9");
    await moved.close();
    await Deno.rename(missing[1]!, `${root}/copy`);
    const from = [...missing, "--copy", `${root}/copy`];
    // The same disk with another number.
    strictEqual(await runRebuildManifest(from, deps), 0);
    const copy = await openManifest({ directory: `${root}/copy` });
    await copy.setMeta("depot_identity", "12 1600000000000");
    await copy.close();
    await Deno.remove(missing[1]!, { recursive: true });
    await rejects(runRebuildManifest(from, deps), {
      ...nothing,
      message: /is on another device \(2049\) than before \(9\): .* --new-disk$/,
    });
    strictEqual(await runRebuildManifest([...from, "--new-disk"], deps), 0);
  }));

function namesIn(directory: string): string[] {
  return [...Deno.readDirSync(directory)].map(({ name }) => name).sort();
}

/** Each stored row of the sample, evicted, and the objects of them. */
async function evictedSample(directory: string): Promise<{
  readonly stored: readonly FileEntry[];
  readonly things: Map<string, LocalThing>;
}> {
  const rows = (await allOf(directory)).filter(({ path, entry }) =>
    entry.stored !== null && entry.stored.key === objectKeyOf(path)
  );
  return {
    stored: rows.map(({ entry }) => entry),
    things: new Map(rows.map(({ path, entry }) => {
      const { sizeBytes, mtimeNs } = entry.stored!;
      const stat = { ...entry.local, sizeBytes, mtimeNs };
      return [path, { kind: "marker", stat }];
    })),
  };
}

Deno.test("rebuild-manifest with an empty primary finds all in the secondary, and says so", () =>
  inDirectory(async (root, output) => {
    const directory = `${root}/manifest`;
    const { stored, things } = await evictedSample(directory);
    ok(stored.length > 5);
    await damageFile(directory);
    const deps = depsFor(output, things, [], {
      primary: sideOf([], null),
      secondary: sideOf(stored, "of the one before"),
    });
    strictEqual(await runRebuildManifest(["--manifest", directory], deps), 0);
    match(
      output.printed.join("\n"),
      new RegExp(
        `: 0 objects, ${stored.length} of the secondary store, ${stored.length} rows, .*` +
          `, 0 findings\nThe version of ${stored.length} files is in the secondary store only`,
      ),
    );
    const after = await allOf(directory);
    deepStrictEqual(
      after.map((
        { entry: { stored, flags, resident } },
      ) => [stored!.key, flags.secondaryOnly, resident]),
      stored.map(({ stored }) => [stored!.key, true, false]),
    );
    const rebuilt = await openManifest({ directory, readOnly: true });
    // So the daemon puts this instance's mark into the empty primary.
    strictEqual(rebuilt.meta("instance_id"), "of the one before");
    await rebuilt.close();
  }));

Deno.test("rebuild-manifest whose secondary fails says how to go on, changes nothing, and goes on", () =>
  inDirectory(async (root, output) => {
    const directory = `${root}/manifest`;
    const { stored, things } = await evictedSample(directory);
    const before = await allOf(directory);
    const [first, ...others] = stored;
    const whole = sideOf(others, "instance of the store");
    const secondary = sayingWhichStore({
      ...whole,
      store: {
        ...whole.store,
        async *list(): AsyncGenerator<RebuildObject> {
          yield* whole.store.list("");
          const detail = "no answer within 30 s";
          throw new StorageError("unavailable", { operation: "list", key: "", detail });
        },
      },
    });
    const deps = depsFor(output, things, [first!], { secondary });
    const args = ["--manifest", directory];
    await rejects(runRebuildManifest(args, deps), {
      name: "StartError",
      status: 69,
      message:
        /^The secondary store cannot be read: .*no answer within 30 s.*--no-secondary/,
    });
    deepStrictEqual(await allOf(directory), before);

    const mended = depsFor(output, things, [first!], { secondary: whole });
    strictEqual(await runRebuildManifest(args, mended), 0);
    match(output.errors.join("\n"), /going on with .*manifest\.rebuilt/);
    const after = await allOf(directory);
    deepStrictEqual(
      after.map(({ entry }) => [entry.stored!.key, entry.flags.secondaryOnly]),
      stored.map((entry) => [entry.stored!.key, entry !== first]),
    );
  }));

Deno.test("rebuild-manifest --no-secondary reports what only the secondary has", () =>
  inDirectory(async (root, output) => {
    const directory = `${root}/manifest`;
    const { stored, things } = await evictedSample(directory);
    await damageFile(directory);
    const [first, ...others] = stored;
    const secondary = sideOf(others, "instance of the store");
    const deps = depsFor(output, things, [first!], { secondary });
    const args = ["--manifest", directory, "--no-secondary"];
    strictEqual(await runRebuildManifest(args, deps), 1);
    strictEqual(
      output.printed.filter((line) => line.startsWith("NO OBJECT")).length,
      others.length,
    );
    strictEqual((await allOf(directory)).length, 1);
  }));

for (const [of, status] of [["instance of the store", "sound"], ["another", "left"]]) {
  Deno.test(`rebuild-manifest with no copy in the primary: that in the secondary of ${of} is ${status}`, () =>
    inDirectory(async (root, output) => {
      const directory = `${root}/manifest`;
      const manifest = await openManifest({ directory });
      await manifest.backup(`${root}/kept`);
      await manifest.close();
      await damageFile(directory);
      const fetched: string[] = [];
      const secondary: RebuildStoreSide = {
        ...sideOf([], of!),
        storeCopies: () => Promise.resolve(["2033-01-01T00-00-00Z"]),
        fetchCopy: async (name, target) => {
          fetched.push(name);
          await Deno.copyFile(`${root}/kept/data.mdb`, target);
        },
      };
      const deps = depsFor(output, new Map(), [], { secondary });
      await runRebuildManifest(["--manifest", directory], deps);
      const isTaken = status === "sound";
      deepStrictEqual(fetched, isTaken ? ["2033-01-01T00-00-00Z"] : []);
      const said = output.errors.join("\n");
      strictEqual(/starting from the copy .* of the secondary store/.test(said), isTaken);
      strictEqual(/belongs to instance another, this depot to/.test(said), !isTaken);
    }));
}

Deno.test("rebuild-manifest shows the first conflicts, counts all, and says what to do", () =>
  inDirectory(async (root, output) => {
    const directory = `${root}/manifest`;
    const [sample] = (await allOf(directory)).filter(({ entry }) =>
      entry.stored !== null
    );
    const objects: FileEntry[] = [];
    const things = new Map<string, LocalThing>();
    for (let i = 0; i < 25; i++) {
      const path = parseDepotPath(`t/${i},v`);
      const { entry } = sample!;
      const stored = {
        ...entry.stored!,
        key: objectKeyOf(path),
        sizeBytes: 9,
        mtimeNs: 9n,
      };
      objects.push({ ...entry, stored });
      const stat = { ...entry.local, sizeBytes: 5, mtimeNs: 5n };
      things.set(path, { kind: "file", stat });
    }
    await Deno.remove(directory, { recursive: true });
    const deps = depsFor(output, things, objects);
    const args = ["--manifest", directory, "--new-disk"];
    strictEqual(await runRebuildManifest(args, deps), 1);
    const shown = output.printed.filter((line) => line.startsWith("CONFLICT"));
    strictEqual(shown.length, 20);
    const [more, sum, what] = output.printed.slice(20);
    strictEqual(more, "... and 5 more like this: conflict");
    match(sum!, / 25 findings$/);
    match(
      what!,
      /^In conflict: 25 files, .*p4-cache conflicts restore --all .*operations\.md$/,
    );
  }));

Deno.test("an unfinished rebuild is not covered by an empty manifest", () =>
  inDirectory(async (root) => {
    await Deno.rename(`${root}/manifest`, `${root}/manifest.rebuilt`);
    await rejects(openManifest({ directory: `${root}/manifest` }), {
      fault: "unavailable",
      message: /rebuild-manifest/,
    });
  }));

Deno.test("depotAround() looks into the depot whose manifest it is, and nowhere else", () =>
  inDirectory(async (root) => {
    await Deno.mkdir(`${root}/.p4cache/manifest`, { recursive: true });
    await Deno.writeTextFile(`${root}/a,v`, "1.1");
    const look = depotAround(`${root}/.p4cache/manifest`);
    const { ino } = await Deno.lstat(`${root}/a,v`);
    const thing = look(parseDepotPath("a,v"))!;
    deepStrictEqual([thing.kind, thing.stat.ino, thing.stat.sizeBytes], [
      "file",
      BigInt(ino!),
      3,
    ]);
    strictEqual(look(parseDepotPath("b,v")), null);
    strictEqual(depotAround(`${root}/manifest`)(parseDepotPath("a,v")), null);
  }));
