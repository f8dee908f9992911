import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { SYSTEM_CLOCK } from "../../src/core/clock.ts";
import {
  bytePathOf,
  type DepotPath,
  objectKeyOf,
  parseDepotPath,
} from "../../src/core/names.ts";
import { LmdbKeyValue } from "../../src/manifest/lmdb_key_value.ts";
import { ManifestStore } from "../../src/manifest/manifest_store.ts";
import { ManifestReader } from "../../src/manifest/reader.ts";
import { nativeFile } from "../../src/posix/native_files.ts";
import { openPosix } from "../../src/posix/posix.ts";
import { damage, type Random, randomFrom } from "./corrupt_child.ts";
import { makeSample, pathOf, statOf } from "./sample_manifest.ts";

const SAMPLE = 600;
const STEPS = 400;
const DAMAGED_FILES = 400;

async function inDirectory(
  run: (root: string, random: Random) => Promise<void>,
): Promise<void> {
  const seed = Number(Deno.env.get("P4CACHE_SEED") ?? Math.random() * 2 ** 31 | 0);
  // deno-lint-ignore no-console -- a seed that is not told cannot be run again
  console.log(`seed: ${seed} (P4CACHE_SEED)`);
  const root = await Deno.makeTempDir({ prefix: "p4-cache-rows-" });
  try {
    await run(root, randomFrom(seed));
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

const LETTERS = ["a", "b", "c", "\x01", "\x7f", "\x80", "\xff", ",v", "main"];

/** Of any bytes and any length: of eight, as ids are, and of the longest that may be. */
function randomPath(random: Random): DepotPath {
  const length = [1, 8, 8, 20, 70, 300, 3_900][random(7)]!;
  let text = "";
  while (text.length < length) {
    text += text !== "" && !text.endsWith("/") && random(8) === 0
      ? "/"
      : LETTERS[random(LETTERS.length)]!;
  }
  return parseDepotPath(`${text.slice(0, length - 1)}x`);
}

interface Opened {
  readonly store: LmdbKeyValue;
  readonly manifest: ManifestStore;
  /** The same rows, by LMDB. */
  readonly plain: ManifestReader;
}

/** One change of one row, or of a few at once. */
async function change(
  { manifest }: Opened,
  { random, paths, step }: { random: Random; paths: DepotPath[]; step: number },
): Promise<void> {
  const path = paths[random(paths.length)]!;
  switch (random(6)) {
    case 0: {
      const made = Array.from({ length: 1 + random(60) }, () => randomPath(random));
      paths.push(...made);
      await Promise.all(made.map((one) => write(manifest, one, step)));
      return;
    }
    case 1:
      await manifest.apply(path, "any", {
        kind: "deleted",
        nowMs: step,
        whiteout: false,
      });
      return;
    case 2: {
      const to = randomPath(random);
      paths.push(to);
      if (manifest.get(path) !== null) {
        await manifest.move(path, to, step * 1000);
      }
      return;
    }
    default:
      await write(manifest, path, step);
  }
}

async function write(
  manifest: ManifestStore,
  path: DepotPath,
  step: number,
): Promise<void> {
  await manifest.apply(path, "any", {
    kind: "written",
    stat: statOf(step),
    nowS: step,
  });
}

/** How many of the rows were found in C; each is LMDB's. */
function compareAll(
  { store, manifest, plain }: Opened,
  paths: readonly DepotPath[],
): number {
  let found = 0;
  const reader = new ManifestReader(store);
  for (const path of paths) {
    const sealed = store.sealedRow(path) !== null;
    const expected = plain.knownRow(path);
    deepStrictEqual(reader.knownRow(path), expected, path);
    deepStrictEqual(reader.row(path), expected?.row ?? null, path);
    strictEqual(sealed, expected !== null, `only LMDB has ${path}`);
    if (expected !== null) {
      strictEqual(
        manifest.isLocal(path, expected.row.local),
        plain.isLocal(path, expected.row.local),
      );
    }
    if (sealed) found++;
  }
  return found;
}

/** What LMDB keeps on pages of its own. */
async function leaveLongRowToLmdb({ store, manifest }: Opened): Promise<void> {
  const path = parseDepotPath("depot/long,v");
  const { sizeBytes, mtimeNs } = statOf(1);
  const versionId = "v".repeat(6_000);
  await manifest.apply(path, "absent", {
    kind: "adopted",
    stored: { key: objectKeyOf(path), hash: null, sizeBytes, mtimeNs, versionId },
    stat: statOf(1),
    resident: false,
    flags: {},
    nowS: 1,
  });
  strictEqual(store.sealedRow(path), null);
  strictEqual(manifest.get(path)?.stored?.versionId, versionId);
}

Deno.test("rows that are found in C are those of LMDB, after each commit", () =>
  inDirectory(async (root, random) => {
    using posix = openPosix(nativeFile("libp4posix.so"));
    await makeSample(`${root}/m`, SAMPLE);
    const options = { readOnly: false, create: false, native: posix };
    const store = await LmdbKeyValue.open(`${root}/m`, options);
    const manifest = new ManifestStore({
      store,
      clock: SYSTEM_CLOCK,
      readOnly: false,
      backup: (directory) => store.copyTo(directory),
    });
    const plain = new ManifestReader({
      get: (table, key) => store.get(table, key),
      read: (table, key, decode) => store.read(table, key, decode),
      sealedRow: () => null,
      keys: (table, range) => store.keys(table, range),
      range: (table, range) => store.range(table, range),
    });
    const opened = { store, manifest, plain };
    const paths = Array.from({ length: SAMPLE }, (_, seed) => pathOf(seed));
    ok(compareAll(opened, paths) > SAMPLE / 2);
    for (let step = 1; step <= STEPS; step++) {
      await change(opened, { random, paths, step });
      compareAll(opened, [paths[random(paths.length)]!, ...paths.slice(-70)]);
    }
    ok(compareAll(opened, paths) > SAMPLE);
    await leaveLongRowToLmdb(opened);
    await manifest.close();
  }));

Deno.test("of a damaged file, C tells what was written, or nothing", () =>
  inDirectory(async (root, random) => {
    using posix = openPosix(nativeFile("libp4posix.so"));
    await makeSample(`${root}/m`, SAMPLE);
    const file = `${root}/m/data.mdb`;
    const good = await Deno.readFile(file);
    const paths = Array.from({ length: SAMPLE }, (_, seed) => pathOf(seed));
    const rowsOf = (path: string): (string | null)[] => {
      const fd = posix.openRead(bytePathOf(path));
      const rows = posix.sealedRows(fd);
      const isSound = rows.renew();
      const found = paths.map((one) => {
        const row = isSound ? rows.find(one) : null;
        return row === null ? null : row.bytes.subarray(0, row.length).toHex();
      });
      rows.close();
      posix.close(fd);
      return found;
    };
    const expected = rowsOf(file);
    ok(expected.filter((row) => row !== null).length > SAMPLE / 2);
    let damaged = 0;
    for (let i = 0; i < DAMAGED_FILES; i++) {
      await Deno.writeFile(`${root}/damaged`, damage(good, good, random));
      const found = rowsOf(`${root}/damaged`);
      for (const [at, row] of found.entries()) {
        if (row !== null) strictEqual(row, expected[at], `file ${i}: ${paths[at]}`);
      }
      if (found.some((row, at) => row !== expected[at])) damaged++;
    }
    ok(damaged > DAMAGED_FILES / 10, `only ${damaged} files lacked a row`);
  }));
