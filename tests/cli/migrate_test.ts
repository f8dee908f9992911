// deno-lint-ignore-file no-sync-fn-in-async-fn -- a test looks at files
/**
 * `p4-cache migrate`, typed: a depot moves to a new store, with the daemon and without.
 *
 * @module
 */

import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { type Finished, run, Site, until } from "../e2e/site.ts";

type Typed = (...args: string[]) => Promise<[code: number, output: string]>;

function typist(site: Site): Typed {
  const config = ["--config", `${site.directory}/config.json`];
  return async (...args) => {
    const { code, stdout, stderr }: Finished = await site.cli(...args, ...config);
    return [code, stdout + stderr];
  };
}

/** Uploads and evicts `files`, stops the daemon, and names a new store as the primary. */
async function evictedAndMoved(site: Site, files: Record<string, string>): Promise<void> {
  await site.start();
  for (const [path, text] of Object.entries(files)) {
    const name = `${site.depot}/${path}`;
    await Deno.mkdir(name.replace(/\/[^/]*$/, ""), { recursive: true });
    await Deno.writeTextFile(name, text);
  }
  await site.uploaded(Object.keys(files).length);
  await site.evictAll();
  strictEqual(await site.end("SIGTERM"), 0);
  await Deno.mkdir(newStore(site));
  await site.configure({
    primary: { type: "nfs", path: newStore(site), initialize: true },
    secondary: { type: "nfs", path: site.store },
  });
}

function newStore(site: Site): string {
  return `${site.directory}/new-store`;
}

/** Names of files; a later version stands for its file. */
async function objectsIn(store: string): Promise<string[]> {
  const { stdout } = await run([
    "find",
    store,
    "-type",
    "f",
    "-not",
    "-path",
    "*/.p4cache*",
  ]);
  return stdout.split("\n").filter((line) => line !== "").map((line) =>
    line.slice(store.length + 1).replace(/\.p4cv-.*/, "")
  ).toSorted();
}

Deno.test("a depot moves to a new store while the daemon serves it, and does without the old one then", async () => {
  await using site = await Site.open();
  const type = typist(site);
  const files = { "d/a,v": "aaaa", "d/b,v": "bbbbb", "e/c,v": "cc", "f/d,v": "dddddd" };
  await evictedAndMoved(site, files);
  await site.start();
  const read = async (path: string): Promise<string> =>
    (await site.program(["cat", `${site.depot}/${path}`], { shim: true })).stdout;
  strictEqual(await read("f/d,v"), "dddddd", "from the old store, as long as it must be");
  // What was read from there comes to the new store by itself.
  await until("it is uploaded", () => countNow(`${newStore(site)}/f`) === 1);
  await type("drain", "--wait");
  deepStrictEqual(await objectsIn(newStore(site)), ["f/d,v"]);
  deepStrictEqual(await type("migrate"), [2, (await type("migrate"))[1]]);
  deepStrictEqual(await type("migrate", "--all", "--dry-run"), [
    1,
    "would copy 3 objects, 11 B; the primary had 1\n",
  ]);
  deepStrictEqual(await objectsIn(newStore(site)), ["f/d,v"]);
  deepStrictEqual(await type("migrate", "d/a,v", "d/none,v"), [
    1,
    "copied 1 object, 4 B; the primary had 0\nd/none,v: no such file in the store\n",
  ]);
  const list = `${site.directory}/list`;
  await Deno.writeTextFile(list, `d/a,v\n\n${site.depot}/e/...\n`);
  deepStrictEqual(await type("migrate", "--list", list), [
    0,
    "copied 1 object, 2 B; the primary had 1\n",
  ]);
  deepStrictEqual(await type("migrate", "--all", "--json", "--quiet"), [
    0,
    '{"dryRun":false,"presentObjects":3,"copiedObjects":1,"copiedBytes":5,' +
    '"missingObjects":0,"differingObjects":0,"archivedObjects":0,"failedObjects":0,' +
    '"borrowedObjects":0,"unknownPaths":0}\n',
  ]);
  const all = ["d/a,v", "d/b,v", "e/c,v", "f/d,v"];
  deepStrictEqual(await objectsIn(newStore(site)), all);
  deepStrictEqual(await objectsIn(site.store), all, "the secondary keeps everything");
  strictEqual(await site.end("SIGTERM"), 0);
  await Deno.remove(site.store, { recursive: true });
  await site.configure({ secondary: null });
  await site.start();
  deepStrictEqual(
    [await read("d/a,v"), await read("d/b,v"), await read("e/c,v")],
    ["aaaa", "bbbbb", "cc"],
  );
  deepStrictEqual(await type("migrate", "--all"), [
    78,
    "p4-cache migrate: the configuration has no secondary store\n",
  ]);
});

Deno.test("without a daemon migrate takes its place, and goes on after it was killed", async () => {
  await using site = await Site.open();
  const type = typist(site);
  const names = Array.from({ length: 200 }, (_, i) => `d/${i},v`);
  const files = Object.fromEntries(names.map((name) => [name, `content of ${name}\n`]));
  await evictedAndMoved(site, files);
  const killed = site.spawn(["migrate", "--all", "--config", configOf(site)]);
  await until("some are copied", () => countNow(`${newStore(site)}/d`) >= 3);
  killed.kill("SIGSTOP");
  const [code, why] = await type("migrate", "--all");
  strictEqual(code, 78, "one at a time");
  match(why, /Another p4-cache \(process \d+\) has this depot/);
  killed.kill("SIGKILL");
  await killed.status;
  const before = (await objectsIn(newStore(site))).length;
  const [done, json] = await type("migrate", "--all", "--json", "--quiet");
  strictEqual(done, 0, json);
  const { presentObjects, copiedObjects } = JSON.parse(json);
  strictEqual(presentObjects + copiedObjects, 200);
  ok(presentObjects >= before && copiedObjects >= 1, json);
  deepStrictEqual([...Deno.readDirSync(`${site.depot}/.p4cache/tmp`)], []);
  await Deno.rename(site.store, `${site.store}-away`);
  await site.configure({ secondary: null });
  await site.start();
  const { stdout } = await site.program(
    ["cat", ...names.map((name) => `${site.depot}/${name}`)],
    { shim: true },
  );
  strictEqual(stdout, Object.values(files).join(""));
});

function configOf(site: Site): string {
  return `${site.directory}/config.json`;
}

function countNow(directory: string): number {
  try {
    return [...Deno.readDirSync(directory)].length;
  } catch {
    return 0;
  }
}

Deno.test("migrate names what it cannot copy, and leaves it as it is", async () => {
  await using site = await Site.open();
  const type = typist(site);
  await evictedAndMoved(site, { "d/a,v": "aaaa", "d/b,v": "bbbb", "d/c,v": "cccc" });
  await Deno.writeTextFile(`${site.store}/d/a,v`, "AAAA");
  await Deno.remove(`${site.store}/d/b,v`);
  await site.start();
  deepStrictEqual(await type("migrate", "--all"), [
    1,
    "copied 1 object, 4 B; the primary had 0\nleft 1 object: in neither store\n" +
    "left 1 object: could not be copied\n",
  ]);
  const [, failures] = await type("failed-ops", "list");
  match(failures, /migrate {2}d\/a,v: .*its bytes hash to/);
  match(failures, /migrate {2}d\/b,v: neither store has the object/);
  deepStrictEqual(await objectsIn(newStore(site)), ["d/c,v"]);
});
