import { deepStrictEqual, strictEqual } from "node:assert/strict";
import {
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import { bytePathOf, type DepotPath } from "../core/names.ts";
import { Engine } from "./engine.ts";
import { evict } from "./evict.ts";
import { observe, REPORTED } from "./observe.ts";
import { upload } from "./upload.ts";

interface Depot {
  readonly fixture: EngineFixture;
  readonly engine: Engine;
}

/** Stores what is at each name: the name itself. */
async function store(
  { fixture }: Depot,
  isEvicted: boolean,
  ...names: string[]
): Promise<void> {
  for (const name of names) {
    await fixture.write(name, name);
    await observe(fixture.context, fixture.path(name), REPORTED);
    strictEqual(await upload(fixture.context, fixture.path(name)), "uploaded");
    if (isEvicted) {
      strictEqual(await evict(fixture.context, fixture.path(name)), "evicted");
    }
  }
}

function inodeOf({ fixture: { posix, root } }: Depot, name: string): bigint {
  return posix.lstat(bytePathOf(`${root}/${name}`))!.ino;
}

/** As the kernel tells it: `at` has what was renamed, when that is told. */
async function told(depot: Depot, from: string, to: string, ino: bigint): Promise<void> {
  const { fixture: { path }, engine } = depot;
  const names = { from: path(from), to: path(to) };
  await engine.renamed({ ...names, what: "directory", ino, writerUid: 0 });
}

async function exchange(depot: Depot, a: string, b: string): Promise<void> {
  const { posix, root } = depot.fixture;
  const [inoA, inoB] = [inodeOf(depot, a), inodeOf(depot, b)];
  posix.exchange(bytePathOf(`${root}/${a}`), bytePathOf(`${root}/${b}`));
  await told(depot, a, b, inoA);
  await told(depot, b, a, inoB);
}

async function contents(
  { fixture }: Depot,
  ...names: string[]
): Promise<(string | undefined)[]> {
  for (const name of names) await fixture.restorer.restore(fixture.path(name));
  const found = await Promise.all(names.map((name) => fixture.read(name)));
  deepStrictEqual(
    names.map((name) => String(fixture.manifest.get(fixture.path(name))?.stored?.key)),
    found,
    "the row is that of the file",
  );
  return found;
}

async function opened(fixture: EngineFixture): Promise<Depot> {
  await Deno.mkdir(`${fixture.root}/e`, { recursive: true });
  return { fixture, engine: new Engine(fixture.context) };
}

for (const isEvicted of [true, false]) {
  Deno.test(`two directories that trade places keep their objects, however often (evicted: ${isEvicted})`, async () => {
    await using fixture = await openEngineFixture();
    const depot = await opened(fixture);
    await store(depot, isEvicted, "d/a,v", "d/only/d,v", "e/a,v", "e/only,v");
    await exchange(depot, "d", "e");
    deepStrictEqual(fixture.manifest.paths(null, 10), [
      "d/a,v",
      "d/only,v",
      "e/a,v",
      "e/only/d,v",
    ]);
    await exchange(depot, "e", "d");
    await exchange(depot, "d", "e");
    const names = ["d/a,v", "d/only,v", "e/a,v", "e/only/d,v"];
    deepStrictEqual(await contents(depot, ...names), [
      "e/a,v",
      "e/only,v",
      "d/a,v",
      "d/only/d,v",
    ]);
    strictEqual(fixture.manifest.counters().tombstones, 0);
  });

  Deno.test(`a directory that trades places with an empty one keeps its rows (evicted: ${isEvicted})`, async () => {
    await using fixture = await openEngineFixture();
    const depot = await opened(fixture);
    await store(depot, isEvicted, "d/a,v");
    await exchange(depot, "d", "e");
    deepStrictEqual(await contents(depot, "e/a,v"), ["d/a,v"]);
    await exchange(depot, "d", "e");
    deepStrictEqual(await contents(depot, "d/a,v"), ["d/a,v"]);
    deepStrictEqual(fixture.manifest.paths(null, 10), ["d/a,v"]);
  });
}

Deno.test("a directory that is made anew under the old name is no exchange, and may be renamed in its turn", async () => {
  await using fixture = await openEngineFixture();
  const depot = await opened(fixture);
  const { root, posix } = fixture;
  const rename = (from: string, to: string): bigint => {
    posix.rename(bytePathOf(`${root}/${from}`), bytePathOf(`${root}/${to}`));
    return inodeOf(depot, to);
  };
  await store(depot, true, "d/a,v");
  const first = rename("d", "e");
  await Deno.mkdir(`${root}/d`);
  await told(depot, "d", "e", first);
  await store(depot, true, "d/b,v");
  await told(depot, "e", "x", rename("e", "x"));
  const second = rename("d", "e");
  await told(depot, "d", "e", second);
  await told(depot, "e", "d", rename("e", "d"));
  deepStrictEqual(await contents(depot, "d/b,v", "x/a,v"), ["d/b,v", "d/a,v"]);
});

Deno.test("more rows than fit one step trade places", async () => {
  await using fixture = await openEngineFixture();
  const depot = await opened(fixture);
  const { manifest, context } = fixture;
  await store(depot, true, "d/z,v", "e/z,v");
  const { local } = manifest.get(fixture.path("d/z,v"))!;
  const add = (path: DepotPath, sizeBytes: number): Promise<unknown> =>
    manifest.apply(path, "absent", {
      kind: "written",
      stat: { ...local, ino: 1n, sizeBytes },
      nowS: 1,
      flags: {},
    });
  const size = (name: string): number | undefined =>
    manifest.get(fixture.path(name))?.local.sizeBytes;
  const rows = Array.from({ length: 1_300 }, (_, i) => `${i}`.padStart(4, "0"));
  await Promise.all(rows.flatMap((name, i) => [
    ...i % 2 === 0 ? [add(fixture.path(`d/${name},v`), 4)] : [],
    ...i % 3 === 0 ? [add(fixture.path(`e/${name},v`), 5)] : [],
  ]));
  await exchange(depot, "d", "e");
  for (const [i, name] of rows.entries()) {
    strictEqual(size(`e/${name},v`), i % 2 === 0 ? 4 : undefined);
    strictEqual(size(`d/${name},v`), i % 3 === 0 ? 5 : undefined);
  }
  deepStrictEqual(await contents(depot, "d/z,v", "e/z,v"), ["e/z,v", "d/z,v"]);
  // What the first key of each name may hold of a row that was never stored, and of no other.
  const added = rows.filter((_, i) => i % 2 === 0).length +
    rows.filter((_, i) => i % 3 === 0).length;
  strictEqual(context.manifest.counters().tombstones, added);
});
