/** A backup that is not sound is not left looking like one, and says whose damage it is. */

import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import {
  type ManifestBackupDeps,
  runManifestBackup,
} from "../../src/cli/cmd_manifest_backup.ts";
import { checkManifest } from "../../src/manifest/check_manifest.ts";
import { LmdbKeyValue } from "../../src/manifest/lmdb_key_value.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import { PAGE_BYTES } from "../../src/manifest/page_file.ts";
import { ManifestReader } from "../../src/manifest/reader.ts";
import { metaWrite } from "../../src/manifest/schema.ts";
import type { BackupOutcome } from "./backup_child.ts";
import { makeSample, writeFile } from "./sample_manifest.ts";

const FILES = 40;

interface Output {
  readonly printed: string[];
  readonly errors: string[];
}

async function inDirectory(
  run: (root: string, output: Output) => Promise<void>,
): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-backup-" });
  try {
    await makeSample(`${root}/manifest`, FILES);
    await Deno.mkdir(`${root}/copies`);
    await run(root, { printed: [], errors: [] });
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

function depsFor({ printed, errors }: Output): ManifestBackupDeps {
  return {
    print: (line) => void printed.push(line),
    printError: (line) => void errors.push(line),
    openManifest,
    checkManifest,
    nowMs: () => 1,
  };
}

function argsFor(root: string): string[] {
  return ["--manifest", `${root}/manifest`, `${root}/copies/one`];
}

function copiesIn(root: string): string[] {
  return [...Deno.readDirSync(`${root}/copies`)].map(({ name }) => name).toSorted();
}

/** What a backup says with each page put back; a child that dies says nothing of its page. */
async function outcomesIn(root: string, older: string): Promise<BackupOutcome[]> {
  const script = new URL("backup_child.ts", import.meta.url).pathname;
  const outcomes: BackupOutcome[] = [];
  await Deno.mkdir(`${root}/work`);
  for (let first = 0;;) {
    const files = [`${root}/manifest/data.mdb`, older, `${root}/work`, String(first)];
    const { stdout, stderr, success, signal } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", script, ...files],
    }).output();
    const lines = new TextDecoder().decode(stdout).trim().split("\n");
    const said: BackupOutcome[] = lines.map((line) => JSON.parse(line));
    outcomes.push(...said.filter(({ status }) => status !== null));
    if (success) return outcomes;
    ok(signal !== null, `the child failed: ${new TextDecoder().decode(stderr)}`);
    first = said.at(-1)!.page + 1;
  }
}

Deno.test("manifest-backup takes no manifest for sound of which a write was lost", () =>
  inDirectory(async (root) => {
    const older = `${root}/older.mdb`;
    await Deno.copyFile(`${root}/manifest/data.mdb`, older);
    const manifest = await openManifest({ directory: `${root}/manifest` });
    for (let seed = 0; seed < 10; seed++) await writeFile(manifest, seed * 4);
    await manifest.close();

    const outcomes = await outcomesIn(root, older);
    const taken = outcomes.filter(({ status }) => status === 0);
    const refused = outcomes.filter(({ status }) => status !== 0);
    for (const { page, faults, left } of taken) {
      deepStrictEqual(faults, [], `page ${page}`);
      deepStrictEqual(left, ["one"], `page ${page}`);
    }
    for (const { page, status, errors, left } of refused) {
      strictEqual(status, 74, `page ${page}`);
      match(errors.join("\n"), /check-manifest/, `page ${page}`);
      deepStrictEqual(left, [], `page ${page}`);
    }
    ok(taken.length > 0 && refused.length > 0, JSON.stringify(outcomes));
  }));

Deno.test("manifest-backup says it of the copy where the manifest is sound and its copy is not", () =>
  inDirectory(async (root, output) => {
    const deps: ManifestBackupDeps = {
      ...depsFor(output),
      openManifest: async (options) => {
        const manifest = await openManifest(options);
        const backup = manifest.backup.bind(manifest);
        manifest.backup = async (directory) => {
          await backup(directory);
          using file = await Deno.open(`${directory}/data.mdb`, { write: true });
          // Both metas, as a disk that gives back nothing.
          await file.write(new Uint8Array(2 * PAGE_BYTES));
        };
        return manifest;
      },
    };
    strictEqual(await runManifestBackup(argsFor(root), deps), 74);
    match(output.errors[0]!, /No copy was made: .*\/copies\/one .*the manifest is sound/);
    deepStrictEqual(copiesIn(root), []);
  }));

Deno.test("manifest-backup leaves no copy whose counters are not those of its rows", () =>
  inDirectory(async (root, output) => {
    const store = await LmdbKeyValue.open(`${root}/manifest`, {
      readOnly: false,
      create: false,
    });
    const ledger = JSON.parse(new ManifestReader(store).meta("counters")!);
    ledger.cleanFiles += 1;
    await store.commit([metaWrite("counters", JSON.stringify(ledger))]);
    await store.close();
    strictEqual(await runManifestBackup(argsFor(root), depsFor(output)), 74);
    match(output.errors[0]!, /No copy was made: .*counters.*check-manifest/);
    deepStrictEqual(copiesIn(root), []);
    deepStrictEqual(output.printed, []);
  }));

Deno.test("manifest-backup leaves what another run has left, and says what it is", () =>
  inDirectory(async (root, output) => {
    await Deno.mkdir(`${root}/copies/one.unchecked`);
    strictEqual(await runManifestBackup(argsFor(root), depsFor(output)), 3);
    match(output.errors[0]!, /one\.unchecked/);
    deepStrictEqual(copiesIn(root), ["one.unchecked"]);
    await Deno.remove(`${root}/copies/one.unchecked`);
    strictEqual(await runManifestBackup(argsFor(root), depsFor(output)), 0);
    deepStrictEqual(output.printed, [
      `${root}/copies/one: ${FILES - 5} files, 10 tombstones`,
    ]);
    deepStrictEqual(copiesIn(root), ["one"]);
  }));
