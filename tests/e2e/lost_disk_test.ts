import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { Site, until } from "./site.ts";

const QUICK = { P4CACHE_RESTART_GRACE_MS: "300" };

/** How the NFS store marks the file of an object. */
const OBJECT_FILE = "^f";

function storeCopies(site: Site): string[] {
  try {
    return [...Deno.readDirSync(`${site.store}/.p4cache-meta/manifest`)]
      .map(({ name }) => name.replace(OBJECT_FILE, "")).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** As `p4d` does it: what was there, also a marker, is replaced. */
async function write(site: Site, name: string, content: string): Promise<void> {
  const path = `${site.depot}/${name}`;
  const directory = path.replace(/\/[^/]*$/, "");
  await Deno.mkdir(directory, { recursive: true });
  await Deno.writeTextFile(`${directory}/tmp.new`, content);
  await Deno.rename(`${directory}/tmp.new`, path);
}

/** Each file's content, read as a program reads it. */
async function contents(site: Site): Promise<Record<string, string>> {
  const script = "import os, sys\n" +
    "for d, _, names in os.walk(sys.argv[1]):\n" +
    "  if '.p4cache' in d: continue\n" +
    "  for n in names: print(os.path.relpath(os.path.join(d, n), sys.argv[1]), " +
    "open(os.path.join(d, n)).read(), sep='=', end='\\0')\n";
  const { code, stdout, stderr } = await site.program(
    ["python3", "-c", script, site.depot],
    { shim: true, env: QUICK },
  );
  deepStrictEqual([code, stderr], [0, ""]);
  const found = stdout.split("\0").slice(0, -1).map((line) => {
    const [name, content] = line.split("=");
    return [name!, content!] as const;
  });
  return Object.fromEntries(found.sort());
}

async function eventsTakenIn(site: Site): Promise<void> {
  const { code } = await site.cli("drain", "--wait", "--config", configOf(site));
  strictEqual(code, 0);
}

/** The daily copy, made now: as on the first start after the copies were taken away. */
async function copyAgain(site: Site): Promise<void> {
  strictEqual(await site.end("SIGTERM"), 0);
  await Deno.remove(`${site.depot}/.p4cache/manifest-copies`, { recursive: true });
  const before = new Set(storeCopies(site));
  const secondOf = (ms: number): number => Math.floor(ms / 1000);
  const stopped = secondOf(Date.now());
  await until("the name is another one", () => secondOf(Date.now()) > stopped);
  await site.start();
  await until(
    "a new copy is in the store",
    () => storeCopies(site).some((name) => !before.has(name)),
  );
}

async function changeAndUpload(
  site: Site,
  files: Map<string, string>,
  changes: Record<string, string>,
): Promise<void> {
  for (const [name, content] of Object.entries(changes)) {
    await write(site, name, content);
    files.set(name, content);
  }
  const { code, stderr } = await site.cli("drain", "--wait", "--config", configOf(site));
  deepStrictEqual([code, stderr], [0, ""]);
}

/** Archives of files that clients gave names like those of the server's own files. */
const LIKE_THE_SERVERS = [
  "db.sql,v",
  "d/journal,v",
  "d/journal.c,v",
  "d/checkpoint.py,v",
  "d/tmp.txt,v",
  "d/x.jnl.y,v",
  "d/x.ckp.y,v",
  "d/server.locks/a.c,v",
  "d/server.locks/b.bin,d/1.2.gz",
];

function configOf(site: Site): string {
  return `${site.directory}/config.json`;
}

Deno.test("a depot whose whole disk is lost comes back from the store alone", async () => {
  await using site = await Site.open();
  const files = new Map<string, string>();
  await site.start();
  const first = Object.fromEntries(
    Array.from({ length: 40 }, (_, i) => [`d/${i}.c,v`, `first of ${i}\n`]),
  );
  for (const name of LIKE_THE_SERVERS) first[name] = `history of ${name}\n`;
  await changeAndUpload(site, files, first);
  await changeAndUpload(site, files, {
    "d/1.c,v": "second\n",
    "d/2.c,v": "second, too\n",
  });
  await site.evictAll();
  // Of a renamed file only the manifest knows the name.
  await Deno.rename(`${site.depot}/d/3.c,v`, `${site.depot}/d/renamed.c,v`);
  files.set("d/renamed.c,v", files.get("d/3.c,v")!);
  files.delete("d/3.c,v");
  await eventsTakenIn(site);
  await copyAgain(site);
  // After the copy: what the store's objects tell by themselves.
  await changeAndUpload(site, files, { "d/1.c,v": "third\n", "d/new.c,v": "new\n" });
  await changeAndUpload(site, files, { "d/1.c,v": "second\n" });
  await site.end("SIGKILL");

  await Deno.remove(site.depot, { recursive: true });
  await Deno.mkdir(site.depot);
  const rebuilt = await site.cli(
    "rebuild-manifest",
    "--config",
    configOf(site),
  );
  match(rebuilt.stderr, /starting from the copy .* of the store/);
  deepStrictEqual([rebuilt.code, /CHOSEN|LOST|NO OBJECT/.test(rebuilt.stdout)], [
    0,
    false,
  ]);
  await site.start();
  await until("all markers are back", () => site.log.includes("scanned the depot"));
  await until("every name is there", () => {
    try {
      return [...files.keys()].every((name) => Deno.lstatSync(`${site.depot}/${name}`));
    } catch {
      return false;
    }
  });
  deepStrictEqual(await contents(site), Object.fromEntries([...files].sort()));
});

Deno.test("without any copy each file still has the content that was uploaded last", async () => {
  await using site = await Site.open();
  const files = new Map<string, string>();
  await site.start();
  for (const round of ["one\n", "two\n", "one\n", "two, again\n", "two\n"]) {
    await changeAndUpload(site, files, { "a,v": round, "b,v": `b ${round}` });
  }
  await site.end("SIGKILL");
  await Deno.rename(site.depot, `${site.directory}/elsewhere`);
  const rebuild = (...args: string[]): ReturnType<Site["cli"]> =>
    site.cli("rebuild-manifest", "--no-copy", "--config", configOf(site), ...args);
  // As if it were not mounted: without a mount point, and with one.
  strictEqual((await rebuild()).code, 78);
  strictEqual(await Deno.stat(site.depot).catch(() => null), null);
  await Deno.mkdir(site.depot);
  const refused = await rebuild();
  strictEqual(refused.code, 78);
  match(refused.stderr, /if its disk is not mounted, mount it; .* give --new-disk\n$/);
  const { code, stderr } = await rebuild("--new-disk");
  deepStrictEqual([code, stderr], [0, ""]);
  await site.start();
  await until("both are back", () => {
    try {
      return [...files.keys()].every((name) =>
        Deno.lstatSync(`${site.depot}/${name}`).isSocket
      );
    } catch {
      return false;
    }
  });
  deepStrictEqual(await contents(site), Object.fromEntries([...files].sort()));
});

/** Every object of a store, by path, without the instance's own. */
function objectsIn(store: string, below = ""): string[] {
  return [...Deno.readDirSync(`${store}/${below}`)].flatMap(({ name, isDirectory }) => {
    if (name.startsWith(".p4cache")) return [];
    return isDirectory ? objectsIn(store, `${below}${name}/`) : [`${below}${name}`];
  }).sort();
}

for (const primary of ["is an empty one", "lacks the newest versions"]) {
  Deno.test(`a manifest that is lost comes back from the secondary where the primary ${primary}`, async () => {
    await using site = await Site.open();
    const config = ["--config", configOf(site)];
    const files = new Map<string, string>();
    await site.start();
    const names = Array.from({ length: 6 }, (_, i) => `d/${i}.c,v`);
    await changeAndUpload(
      site,
      files,
      Object.fromEntries(names.map((name) => [name, `1.1 of ${name}\n`])),
    );
    await site.evictAll();
    const old = `${site.directory}/before`;
    strictEqual(
      (await site.program(["cp", "-a", site.store, old], { shim: false })).code,
      0,
    );
    const grown = names.slice(0, 3);
    await changeAndUpload(
      site,
      files,
      Object.fromEntries(grown.map((name) => [name, `1.1 of ${name}\n1.2\n`])),
    );
    await changeAndUpload(site, files, { "d/new,v": "1.1\n" });
    const evicted = (): Promise<void> =>
      until("all is evicted again", () => site.residents() === 0);
    await evicted();
    strictEqual(await site.end("SIGTERM"), 0);

    // What was written last is in the other store alone.
    const other = `${site.directory}/other`;
    await Deno.rename(site.store, other);
    if (primary === "is an empty one") await Deno.mkdir(site.store);
    else await Deno.rename(old, site.store);
    await Deno.remove(`${site.depot}/.p4cache`, { recursive: true });
    await site.configure({ secondary: { type: "nfs", path: other } });
    const kept = objectsIn(other);

    // Alone, the primary has nothing for a marker, or something too old: neither is served.
    // Its state directory went, too: nothing else tells that it is no empty mount point.
    const rebuild = (...more: string[]): ReturnType<Site["cli"]> =>
      site.cli("rebuild-manifest", "--no-copy", "--new-disk", ...more, ...config);
    const alone = await rebuild("--no-secondary");
    strictEqual(alone.code, 1, alone.stderr);
    const found = (kind: string): number =>
      alone.stdout.split("\n").filter((line) => line.startsWith(kind)).length;
    deepStrictEqual(
      [found("NO OBJECT "), found("NOT ITS ")],
      primary === "is an empty one" ? [7, 0] : [1, 3],
    );

    const rebuilt = await rebuild();
    deepStrictEqual([rebuilt.code, rebuilt.stderr], [0, ""], rebuilt.stdout);
    const inSecondaryOnly = primary === "is an empty one" ? 7 : 4;
    match(
      rebuilt.stdout,
      new RegExp(`version of ${inSecondaryOnly} files is in the secondary store only`),
    );

    await site.start();
    await until("the scan is done", () => site.log.includes("scanned the depot"));
    deepStrictEqual(await contents(site), Object.fromEntries([...files].sort()));
    const { code, stdout } = await site.cli("drain", "--wait", ...config);
    strictEqual(code, 0, stdout);
    // Each has a copy in the primary now, without which nothing may be evicted again.
    await evicted();
    deepStrictEqual(objectsIn(other), kept);
    strictEqual(await site.end("SIGTERM"), 0);
    await site.configure({ secondary: null });
    await Deno.remove(other, { recursive: true });
    await site.start();
    deepStrictEqual(await contents(site), Object.fromEntries([...files].sort()));
  });
}

/** What a backup tool keeps of each file, and puts back. */
type Backup = Map<string, { readonly content: string; readonly mtime: Date }>;

async function backUp(site: Site, names: Iterable<string>): Promise<Backup> {
  const backup: Backup = new Map();
  for (const name of names) {
    const path = `${site.depot}/${name}`;
    const { mtime } = await Deno.stat(path);
    backup.set(name, { content: await Deno.readTextFile(path), mtime: mtime! });
  }
  return backup;
}

async function restoreBackup(site: Site, backup: Backup): Promise<void> {
  for (const [name, { content, mtime }] of backup) {
    await write(site, name, content);
    await Deno.utime(`${site.depot}/${name}`, mtime, mtime);
  }
}

/** The objects themselves, without the instance's own. */
function objectsOf(site: Site): string[] {
  return [...Deno.readDirSync(`${site.store}/d`)].map(({ name }) => name).sort();
}

for (const copy of ["with the daily copy", "without a copy"]) {
  Deno.test(`a backup that was restored before a rebuild ${copy} covers no newer version`, async () => {
    await using site = await Site.open();
    const config = ["--config", configOf(site)];
    const files = new Map<string, string>();
    await site.start();
    const names = ["d/a,v", "d/b,v", "d/c,v", "d/same,v"];
    await changeAndUpload(
      site,
      files,
      Object.fromEntries(names.map((name) => [name, `1.1 of ${name}\n`])),
    );
    const backup = await backUp(site, names);
    const grown = (name: string): string => `1.1 of ${name}\n1.2\n1.3\n`;
    await changeAndUpload(site, files, { "d/a,v": grown("d/a,v") });
    if (copy === "with the daily copy") await copyAgain(site);
    // One before the copy, the other two after it.
    await changeAndUpload(site, files, {
      "d/b,v": grown("d/b,v"),
      "d/c,v": "1.1\n1.2\n",
    });
    await site.end("SIGKILL");
    const stored = objectsOf(site);

    await Deno.remove(site.depot, { recursive: true });
    await Deno.mkdir(site.depot);
    await restoreBackup(site, backup);
    // And one whose time the restore did not keep.
    const later = new Date(Date.now() + 10_000);
    await Deno.utime(`${site.depot}/d/b,v`, later, later);
    const how = copy === "without a copy" ? ["--no-copy", "--new-disk"] : [];
    const rebuilt = await site.cli("rebuild-manifest", ...how, ...config);
    strictEqual(rebuilt.code, 1, rebuilt.stderr);
    deepStrictEqual(
      rebuilt.stdout.split("\n").filter((line) => /^[A-Z ]+ {2}/.test(line)).sort(),
      ["d/a,v", "d/b,v", "d/c,v"].map((name) =>
        `CONFLICT   ${name}: the store has another version`
      ),
    );
    match(rebuilt.stdout, /^In conflict: 3 files, .*conflicts restore --all/m);

    await site.start();
    await until("the scan is done", () => site.log.includes("scanned the depot"));
    const drained = await site.cli("drain", "--wait", ...config);
    strictEqual(drained.code, 1);
    match(
      drained.stdout,
      /^3 files, .* not uploaded; 0 files wait for a retry, 3 files for a decision$/m,
    );
    deepStrictEqual(objectsOf(site), stored);
    const listed = await site.cli("conflicts", "list", ...config);
    strictEqual(listed.code, 1);
    strictEqual(listed.stdout.match(/^conflict {2}local /gm)!.length, 3);
    // What one directory has, and what there is else.
    const none = await site.cli("conflicts", "restore", "elsewhere/", ...config);
    deepStrictEqual([none.code, none.stdout], [1, ""]);
    match(none.stderr, /^elsewhere\/: nothing below it is listed$/m);
    const settled = await site.cli("conflicts", "restore", "d/...", ...config);
    deepStrictEqual([settled.code, settled.stderr], [0, ""]);
    strictEqual(settled.stdout.match(/the stored version is back, evicted/g)!.length, 3);
    const all = await site.cli("conflicts", "list", ...config);
    deepStrictEqual([all.code, all.stdout], [0, "no conflicts\n"]);
    deepStrictEqual(await contents(site), Object.fromEntries([...files].sort()));
  });
}

Deno.test("a backup that was moved away again before the start leaves every file to the store", async () => {
  await using site = await Site.open();
  const config = ["--config", configOf(site)];
  const files = new Map<string, string>();
  await site.start();
  await changeAndUpload(site, files, { "d/a,v": "1.1\n", "d/b,v": "1.1\n" });
  const backup = await backUp(site, ["d/a,v", "d/b,v"]);
  await changeAndUpload(site, files, { "d/a,v": "1.1\n1.2\n" });
  await site.end("SIGKILL");
  await Deno.remove(site.depot, { recursive: true });
  await Deno.mkdir(site.depot);
  await restoreBackup(site, backup);
  const first = await site.cli("rebuild-manifest", ...config);
  match(first.stdout, /^In conflict: 1 file, /m);

  await Deno.rename(`${site.depot}/d`, `${site.directory}/from-backup`);
  const second = await site.cli("rebuild-manifest", ...config);
  deepStrictEqual([second.code, /CONFLICT|LOST/.test(second.stdout)], [0, false]);
  await site.start();
  await until("both are back", () => {
    try {
      return [...files.keys()].every((name) => Deno.lstatSync(`${site.depot}/${name}`));
    } catch {
      return false;
    }
  });
  deepStrictEqual(await contents(site), Object.fromEntries([...files].sort()));
});

Deno.test("copies in the store are pruned by age, never the newest, and nothing else there", async () => {
  await using site = await Site.open();
  const meta = `${site.store}/.p4cache-meta/manifest`;
  await site.start();
  await until("a copy is in the store", () => storeCopies(site).length === 1);
  const old = ["2001-01-01T00-00-00Z", "2002-01-01T00-00-00Z", "2003-01-01T00-00-00Z"];
  for (const name of [...old, "notes.txt"]) {
    await Deno.writeTextFile(`${meta}/${name}${OBJECT_FILE}`, "x");
  }
  const [newest] = storeCopies(site).filter((name) =>
    name.startsWith("20") && name > "2004"
  );
  await copyAgain(site);
  const kept = (): string[] => storeCopies(site);
  await until(
    "old ones are gone",
    () => !kept().includes(old[0]!) && !kept().includes(old[1]!),
  );
  const names = kept();
  ok(names.includes(newest!));
  deepStrictEqual(names.length, 4);
  ok(names.includes(old[2]!) && names.includes("notes.txt"));
});

Deno.test("a daemon that starts beside a rebuild that was stopped says so", async () => {
  await using site = await Site.open();
  const begun = `${site.depot}/.p4cache/manifest.rebuilt`;
  await site.start();
  strictEqual(await site.end("SIGTERM"), 0);
  ok(!site.log.includes("a rebuild of the manifest was stopped"));
  await Deno.mkdir(begun);
  await site.start();
  match(site.log, new RegExp(`a rebuild of the manifest was stopped .*${begun}`));
});

Deno.test("what a copy of the whole server root left in the store becomes no file, and db.* stays", async () => {
  await using site = await Site.open();
  await site.start();
  await changeAndUpload(site, new Map(), { "d/a,v": "1.1\n" });
  strictEqual(await site.end("SIGTERM"), 0);
  const foreign = ["checkpoint.7", "db.config", "journal"];
  for (const name of foreign) {
    await Deno.writeTextFile(`${site.store}/${name}${OBJECT_FILE}`, "old");
  }
  await Deno.writeTextFile(`${site.depot}/db.config`, "live");
  const rebuild = ["rebuild-manifest", "--no-copy", "--config", configOf(site)];
  const { code, stdout } = await site.cli(...rebuild);
  strictEqual(code, 1);
  deepStrictEqual(
    stdout.split("\n").filter((line) => line.startsWith("STRAY")).sort(),
    foreign.map((key) => `STRAY      ${key}: belongs to no file that is managed`),
  );
  await site.configure({ max_cache_bytes: 1, low_watermark_bytes: 0 });
  await site.start();
  await until(
    "the archive is evicted",
    () => Deno.lstatSync(`${site.depot}/d/a,v`).isSocket === true,
  );
  await until("the scan is done", () => site.log.includes("scanned the depot"));
  for (const name of ["checkpoint.7", "journal"]) {
    strictEqual(await Deno.lstat(`${site.depot}/${name}`).catch(() => null), null);
  }
  strictEqual(await Deno.readTextFile(`${site.depot}/db.config`), "live");
});
