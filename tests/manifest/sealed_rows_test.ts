import { deepStrictEqual, ok, strictEqual, throws } from "node:assert/strict";
import { SYSTEM_CLOCK } from "../../src/core/clock.ts";
import {
  bytePathOf,
  type DepotPath,
  objectKeyOf,
  parseDepotPath,
  textOfBytes,
} from "../../src/core/names.ts";
import { crc32cOf } from "../../src/manifest/crc32c.ts";
import { LmdbKeyValue } from "../../src/manifest/lmdb_key_value.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import { ManifestStore } from "../../src/manifest/manifest_store.ts";
import type { NativeReads } from "../../src/manifest/page_file.ts";
import { ManifestReader } from "../../src/manifest/reader.ts";
import { nativeFile } from "../../src/posix/native_files.ts";
import { openPosix } from "../../src/posix/posix.ts";
import type { SealedRows } from "../../src/posix/sealed_rows.ts";
import { damage, type Random, randomFrom } from "./corrupt_child.ts";
import { makeSample, pathOf, statOf } from "./sample_manifest.ts";

const SAMPLE = 600;
const STEPS = 400;
const PAGE = 8_192;
const DAMAGED_FILES = 400;

async function inDirectory(run: (root: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-rows-" });
  try {
    await run(root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

function seededRandom(): Random {
  const seed = Number(Deno.env.get("P4CACHE_SEED") ?? Math.random() * 2 ** 31 | 0);
  // deno-lint-ignore no-console -- a seed that is not told cannot be run again
  console.log(`seed: ${seed} (P4CACHE_SEED)`);
  return randomFrom(seed);
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
    for (const stat of [expected?.row.local ?? statOf(-2), statOf(-1)]) {
      for (const isMarker of [false, true]) {
        const glance = plain.glance(path, stat, isMarker);
        strictEqual(manifest.glance(path, stat, isMarker), glance, path);
      }
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
  inDirectory(async (root) => {
    const random = seededRandom();
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

/** A data file, open for lookups in C. */
class DataFile implements Disposable {
  readonly rows: SealedRows;
  readonly #native: NativeReads;
  readonly #fd: number;

  constructor(native: NativeReads, path: string) {
    this.#native = native;
    this.#fd = native.openRead(bytePathOf(path));
    this.rows = native.sealedRows(this.#fd);
  }

  [Symbol.dispose](): void {
    this.rows.close();
    this.#native.close(this.#fd);
  }
}

/** The bytes of each row that C finds. */
function rowsOf(
  native: NativeReads,
  path: string,
  paths: readonly DepotPath[],
): (string | null)[] {
  using file = new DataFile(native, path);
  const isSound = file.rows.renew();
  return paths.map((one) => {
    const row = isSound ? file.rows.find(one) : null;
    return row === null ? null : row.bytes.subarray(0, row.length).toHex();
  });
}

Deno.test("of a damaged file, C tells what was written, or nothing", () =>
  inDirectory(async (root) => {
    const random = seededRandom();
    using posix = openPosix(nativeFile("libp4posix.so"));
    await makeSample(`${root}/m`, SAMPLE);
    const file = `${root}/m/data.mdb`;
    const good = await Deno.readFile(file);
    const paths = Array.from({ length: SAMPLE }, (_, seed) => pathOf(seed));
    const expected = rowsOf(posix, file, paths);
    ok(expected.filter((row) => row !== null).length > SAMPLE / 2);
    let damaged = 0;
    for (let i = 0; i < DAMAGED_FILES; i++) {
      const bytes = damage(good, good, random);
      // Which transaction is the newest is looked at before any row is asked for.
      bytes.set(good.subarray(0, Math.min(2 * PAGE, bytes.length)));
      await Deno.writeFile(`${root}/damaged`, bytes);
      const found = rowsOf(posix, `${root}/damaged`, paths);
      for (const [at, row] of found.entries()) {
        if (row !== null) strictEqual(row, expected[at], `file ${i}: ${paths[at]}`);
      }
      if (found.some((row, at) => row !== expected[at])) damaged++;
    }
    ok(damaged > DAMAGED_FILES / 10, `only ${damaged} files lacked a row`);
  }));

/** What the meta pages of a data file say. */
const TABLES_ROOT_AT = 136;
const TRANSACTION_AT = 152;

/** A manifest's file, and the place of its newer meta page. */
async function sampleFile(root: string): Promise<{ path: string; newest: number }> {
  await makeSample(`${root}/m`, SAMPLE);
  const path = `${root}/m/data.mdb`;
  const view = new DataView((await Deno.readFile(path)).buffer);
  const [even, odd] = [0, PAGE].map((at) => view.getBigUint64(at + TRANSACTION_AT, true));
  return { path, newest: even! > odd! ? 0 : PAGE };
}

async function writeAt(path: string, at: number, bytes: Uint8Array): Promise<void> {
  using file = await Deno.open(path, { write: true });
  await file.seek(at, Deno.SeekMode.Start);
  await file.write(bytes);
}

function u64(value: bigint): Uint8Array {
  return new Uint8Array(new BigUint64Array([value]).buffer);
}

Deno.test("once somebody has committed, C tells nothing until it is told so", () =>
  inDirectory(async (root) => {
    using posix = openPosix(nativeFile("libp4posix.so"));
    const { path, newest } = await sampleFile(root);
    using file = new DataFile(posix, path);
    ok(file.rows.renew());
    const known = pathOf(2);
    ok(file.rows.find(known) !== null);
    const before = await Deno.readFile(path);
    const older = PAGE - newest;
    const view = new DataView(before.buffer);
    const next = view.getBigUint64(newest + TRANSACTION_AT, true) + 1n;
    await writeAt(path, older + TRANSACTION_AT, u64(next));
    strictEqual(file.rows.find(known), null);
    await writeAt(
      path,
      older + TRANSACTION_AT,
      before.subarray(older + TRANSACTION_AT, older + TRANSACTION_AT + 8),
    );
    ok(file.rows.find(known) !== null);
  }));

Deno.test("rows are found in a file that has outgrown its map", () =>
  inDirectory(async (root) => {
    using posix = openPosix(nativeFile("libp4posix.so"));
    const { path, newest } = await sampleFile(root);
    using file = new DataFile(posix, path);
    ok(file.rows.renew());
    ok(file.rows.find(pathOf(2)) !== null);
    const bytes = await Deno.readFile(path);
    const tables = new DataView(bytes.buffer).getBigUint64(newest + TABLES_ROOT_AT, true);
    // The root of all tables, 3 GiB further on; what is between takes no room.
    const far = 3n * 2n ** 30n / BigInt(PAGE);
    const page = bytes.slice(Number(tables) * PAGE, (Number(tables) + 1) * PAGE);
    page.set(u64(far));
    await writeAt(path, Number(far) * PAGE, page);
    await writeAt(path, newest + TABLES_ROOT_AT, u64(far));
    ok(file.rows.renew());
    ok(file.rows.find(pathOf(2)) !== null);
  }));

Deno.test("a row of a newer version is LMDB's to refuse", () =>
  inDirectory(async (root) => {
    using posix = openPosix(nativeFile("libp4posix.so"));
    await makeSample(`${root}/m`, SAMPLE);
    const store = await LmdbKeyValue.open(`${root}/m`, {
      readOnly: false,
      create: false,
      native: posix,
    });
    try {
      const path = pathOf(2);
      const sealed = store.sealedRow(path)!;
      const key = textOfBytes(sealed.id);
      const newer = sealed.bytes.slice(0, sealed.length);
      newer[4] = 3;
      const content = newer.length - 4;
      new DataView(newer.buffer).setUint32(
        content,
        crc32cOf(path, newer, content),
        true,
      );
      await store.commit([{ table: "rows_by_id", key, value: newer }]);
      const reader = new ManifestReader(store);
      for (const read of [() => reader.row(path), () => reader.knownRow(path)]) {
        throws(read, { fault: "newer" });
      }
    } finally {
      await store.close();
    }
  }));

/** The maps and descriptors of this process that are of `path`. */
function holdersOf(path: string): string[] {
  const maps = Deno.readTextFileSync("/proc/self/maps").split("\n");
  const fds = [...Deno.readDirSync("/proc/self/fd")].map(({ name }) => {
    try {
      return Deno.readLinkSync(`/proc/self/fd/${name}`);
    } catch {
      return ""; // the list's own descriptor
    }
  });
  return [...maps, ...fds].filter((line) => line.includes(path));
}

Deno.test("nothing of the file stays open or mapped after a close", () =>
  inDirectory(async (root) => {
    using posix = openPosix(nativeFile("libp4posix.so"));
    await makeSample(`${root}/m`, SAMPLE);
    const manifest = await openManifest({ directory: `${root}/m`, native: posix });
    ok(manifest.get(pathOf(2)) !== null);
    ok(
      holdersOf(`${root}/m/data.mdb`).length >= 4,
      "it is mapped and open, by LMDB and for lookups",
    );
    await manifest.close();
    deepStrictEqual(holdersOf(`${root}/m/data.mdb`), []);
  }));
