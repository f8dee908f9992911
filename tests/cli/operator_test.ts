// deno-lint-ignore-file no-sync-fn-in-async-fn -- a test looks at files
/**
 * The operator's commands, typed against a real daemon: exact output, exit status, effect.
 *
 * @module
 */

import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { type Finished, Site, until } from "../e2e/site.ts";

const P4D_UID = 12_345;

type Typed = (...args: string[]) => Promise<[code: number, stdout: string]>;

/** Types a command with the site's configuration; standard error is part of the output. */
function typist(site: Site): Typed {
  return async (...args) => {
    const { code, stdout, stderr }: Finished = await site.cli(
      ...args,
      "--config",
      `${site.directory}/config.json`,
    );
    return [code, stdout + stderr];
  };
}

async function write(site: Site, path: string, text: string): Promise<void> {
  const name = `${site.depot}/${path}`;
  await Deno.mkdir(name.replace(/\/[^/]*$/, ""), { recursive: true });
  await Deno.writeTextFile(`${name.replace(/[^/]*$/, "")}tmp.1`, text);
  await Deno.rename(`${name.replace(/[^/]*$/, "")}tmp.1`, name);
}

function readAs(site: Site, path: string): Promise<Finished> {
  return site.program(["cat", `${site.depot}/${path}`], { shim: true });
}

/** Waits until age keeps nothing: 5 s, whoever wants it. */
async function olderThanTheFloor(type: Typed): Promise<void> {
  let [, says] = await type("evict", "--all", "--dry-run");
  while (says.includes("younger")) [, says] = await type("evict", "--all", "--dry-run");
}

Deno.test("drain, evict, pin, rehydrate and status do and say what they promise", async () => {
  await using site = await Site.open();
  const type = typist(site);
  deepStrictEqual(await type("status"), [
    3,
    `p4-cache status: No daemon listens on ${site.depot}/.p4cache/shim.sock: start it, or ` +
    "correct --config\n",
  ]);
  await site.start();
  await write(site, "d/a,v", "aaaa");
  await write(site, "d/b,v", "bbbb");
  await write(site, "e/c\xe9,v", "cccc");
  deepStrictEqual(await type("drain", "--wait"), [0, "drained\n"]);
  strictEqual(site.log.includes("an operator's command"), true);
  deepStrictEqual(await type("pin", "d/b,v"), [
    0,
    "1 file, 4 B pinned (1 changed)\n",
  ]);
  const versions = site.objectsInStore() + 2;
  await write(site, "d/a,v", "AAAA");
  await write(site, "e/c\xe9,v", "CCCC");
  await until("both are stored", () => site.objectsInStore() === versions);
  deepStrictEqual(await type("evict", "--all"), [
    1,
    "evicted 0 files, 0 B\nkept 1 file: pinned\nkept 2 files: younger than 5 s\n",
  ]);
  await olderThanTheFloor(type);
  deepStrictEqual(await type("evict", "d", "--dry-run"), [
    1,
    "would evict 1 file, 4 B\nkept 1 file: pinned\n",
  ]);
  strictEqual(site.residents(), 3);
  deepStrictEqual(await type("evict", `${site.depot}/d/...`, "e/c\xe9,v", "nowhere"), [
    1,
    "evicted 2 files, 8 B\nkept 1 file: pinned\nnowhere: no such file\n",
  ]);
  strictEqual(site.residents(), 1);
  const [code, json] = await type("status", "--json");
  strictEqual(code, 0);
  const status = JSON.parse(json);
  deepStrictEqual(
    [status.files, status.residentFiles, status.evictedFiles, status.dirtyFiles],
    [3, 1, 2, 0],
  );
  const page = Deno.readTextFileSync(new URL("../../docs/cli.md", import.meta.url));
  for (const name of Object.keys(status)) ok(page.includes(`\`${name}\``), name);
  match((await type("status"))[1], /^evicted {3}2 files$/m);

  deepStrictEqual(await type("rehydrate", "--dry-run"), [
    0,
    "would restore 2 files, 8 B\n",
  ]);
  deepStrictEqual(await type("rehydrate", "--prefix", "d", "--quiet"), [
    0,
    "restored 1 file, 4 B\n",
  ]);
  deepStrictEqual(await type("rehydrate", "--json"), [
    0,
    '{"dryRun":false,"evictedFiles":1,"evictedBytes":4,"restoredFiles":1,' +
    '"restoredBytes":4,"failedFiles":0}\n',
  ]);
  deepStrictEqual(await type("rehydrate", "--prefix", "dd"), [
    1,
    "restored 0 files, 0 B\ndd: no such file\n",
  ]);
  strictEqual(site.residents(), 3);
  strictEqual(Deno.readTextFileSync(`${site.depot}/e/c\xe9,v`), "CCCC");
  deepStrictEqual(await type("unpin", "d"), [0, "2 files, 8 B unpinned (1 changed)\n"]);
  deepStrictEqual(await type("evict"), [2, (await type("evict"))[1]]);
});

Deno.test("the user that the daemon runs as may give commands too", async () => {
  await using site = await Site.open({ uid: P4D_UID });
  await site.start();
  const client = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\n" +
    "s.connect(sys.argv[1])\n" +
    's.sendall(b\'P4CACHE/1 CONTROL {"op":"retry","dryRun":true}\\n\')\n' +
    "print(s.makefile().read(), end='')\n";
  const socket = `${site.depot}/.p4cache/shim.sock`;
  const { stdout } = await site.program(["python3", "-c", client, socket], {
    shim: false,
    asUser: true,
  });
  strictEqual(stdout, 'OK {"files":0}\n');
  match(site.log, /an operator's command.*uid=12345/);
});

Deno.test("rehydrate refuses what would not fit, before it restores anything", async () => {
  await using site = await Site.open();
  const type = typist(site);
  await site.start();
  await write(site, "d/a,v", "a".repeat(1_000));
  await type("drain", "--wait");
  await site.evictAll();
  deepStrictEqual(await type("rehydrate"), [
    3,
    "p4-cache rehydrate: 1 file, 0.977 KiB to restore would be evicted again: with the 0 B " +
    "that are here they exceed max_cache_bytes (1 B); raise it first, the daemon takes it " +
    "over while it runs\n",
  ]);
  await site.configure({ max_cache_bytes: 2 ** 40, min_free_bytes: 2 ** 50 });
  const [code, why] = await type("rehydrate");
  strictEqual(code, 3);
  match(
    why,
    /0\.977 KiB to restore do not fit: 0 B are free above min_free_bytes; add space/,
  );
  strictEqual(site.residents(), 0);
});

Deno.test("undelete brings a deleted file back, and a failed delete of the shim is taken over", async () => {
  await using site = await Site.open();
  const type = typist(site);
  await site.start();
  await write(site, "d/a,v", "precious");
  await write(site, "d/b,v", "unreported");
  await type("drain", "--wait");
  const remove = (path: string): Promise<Finished> =>
    site.program(["rm", `${site.depot}/${path}`], {
      shim: true,
      env: { P4CACHE_RESTART_GRACE_MS: "100" },
    });
  strictEqual((await remove("d/a,v")).code, 0);
  deepStrictEqual(await type("undelete", "d/a,v", "--dry-run"), [
    0,
    "d/a,v: would be back\n",
  ]);
  deepStrictEqual(await type("undelete", "d/a,v", "d/none,v"), [
    1,
    "d/a,v: back, evicted\n" +
    "d/none,v: nothing is kept of it: it never was here, or its grace is over\n",
  ]);
  strictEqual((await readAs(site, "d/a,v")).stdout, "precious");

  strictEqual(await site.end("SIGTERM"), 0);
  // A row of the same second as the record would be kept: it may be the newer one.
  const second = Math.floor(Date.now() / 1000);
  await until("it is the next second", () => Math.floor(Date.now() / 1000) > second);
  strictEqual((await remove("d/b,v")).code, 0);
  const log = `${site.depot}/.p4cache/shim-failed-deletes.log`;
  match(Deno.readTextFileSync(log), /"path":"d\/b,v","why":"unreachable"/);
  await site.start();
  await until("the records are taken over", () => site.log.includes("took over deletes"));
  const [code, list] = await type("failed-ops", "list");
  strictEqual(code, 0);
  match(
    list,
    /^\S+Z {2}delete {2}d\/b,v: the shim could not report a delete: unreachable\n$/,
  );
  // A moment later, for a shim that still had one open.
  await until("their files are gone", () => {
    const names = [...Deno.readDirSync(`${site.depot}/.p4cache`)].map(({ name }) => name);
    return !names.some((name) => name.startsWith("shim-failed"));
  });
  ok(!await exists(`${site.depot}/d/b,v`));
  deepStrictEqual(await type("undelete", "d/b,v"), [0, "d/b,v: back, evicted\n"]);
  strictEqual((await readAs(site, "d/b,v")).stdout, "unreported");
  deepStrictEqual(await type("failed-ops", "retry"), [
    0,
    "0 files are tried again now\n",
  ]);
});

Deno.test("conflicts are listed, and either version is made the file with the other one kept", async () => {
  await using site = await Site.open();
  const type = typist(site);
  await site.start();
  for (const path of ["d/a,v", "d/b,v"]) await write(site, path, "stored");
  deepStrictEqual(await type("conflicts", "list"), [0, "no conflicts\n"]);
  await type("drain", "--wait");
  strictEqual(await site.end("SIGTERM"), 0);
  // Other bytes under an older time, while nobody watched: no write would look like this.
  for (const path of ["d/a,v", "d/b,v"]) {
    await Deno.writeTextFile(`${site.depot}/${path}`, "local one");
    await Deno.utime(`${site.depot}/${path}`, 1, 1);
  }
  await site.start();
  await until("the scan is done", () => site.log.includes("scanned the depot"));
  await until(
    "both are seen",
    () => site.log.split("both versions are kept").length === 3,
  );
  const line = (path: string): string => `conflict  local 9 B, stored 6 B  ${path}\n`;
  const [findings, listed] = await type("conflicts", "list");
  strictEqual(findings, 1);
  // In the order in which the daemon met the files first.
  deepStrictEqual(listed.split(/^/m).sort(), [line("d/a,v"), line("d/b,v")]);
  match((await type("status"))[1], /^ATTENTION 2 files wait for a decision/m);
  // Their local bytes are in no store.
  deepStrictEqual(await type("drain", "--wait"), [
    1,
    "0 files, 0 B not uploaded; 0 files wait for a retry, 2 files for a decision\n",
  ]);
  deepStrictEqual(await type("conflicts", "accept", "d/a,v"), [
    0,
    "d/a,v: accepted, to be uploaded\n",
  ]);
  const [code, restored] = await type("conflicts", "restore", "--all");
  strictEqual(code, 0);
  const kept =
    /^d\/b,v: the stored version is back, evicted; the local version is (.*)\n$/
      .exec(restored)!;
  strictEqual(Deno.readTextFileSync(`${site.depot}/${kept[1]}`), "local one");
  strictEqual((await readAs(site, "d/b,v")).stdout, "stored");
  deepStrictEqual(await type("drain", "--wait"), [0, "drained\n"]);
  deepStrictEqual(await type("conflicts", "list", "--json"), [0, ""]);
  deepStrictEqual(await type("conflicts", "accept", "nosuch/..."), [
    1,
    "nosuch/: nothing below it is listed\n",
  ]);
  const versions = [...Deno.readDirSync(`${site.store}/d`)].map(({ name }) => name);
  strictEqual(versions.filter((name) => name.startsWith("a,v")).length, 2);
});

Deno.test("prestage uploads everything, only while no daemon runs, and again finds nothing to do", async () => {
  await using site = await Site.open();
  const type = typist(site);
  await write(site, "d/a,v", "aaaa");
  await write(site, "d/b.bin,d/1.1.gz", "bbbb");
  deepStrictEqual(await type("prestage", "--dry-run"), [
    1,
    "2 files, 8 B; uploaded 0 B; left 2 files, 8 B\n",
  ]);
  const done = [0, "2 files, 8 B; uploaded 8 B; left 0 files, 0 B\n"];
  deepStrictEqual(await type("prestage"), done);
  strictEqual(Deno.readTextFileSync(`${site.store}/d/a,v`), "aaaa");
  deepStrictEqual(await type("prestage", "--json"), [
    0,
    '{"dryRun":false,"files":2,"totalBytes":8,"uploadedBytes":0,"dirtyFiles":0,' +
    '"dirtyBytes":0,"undecidedFiles":0,"unprovenFiles":0,"lateFiles":0}\n',
  ]);
  await Deno.chmod(`${site.depot}/d/a,v`, 0o640);
  deepStrictEqual(await type("prestage", "--dry-run"), [
    1,
    "2 files, 8 B; uploaded 0 B; left 0 files, 0 B\n" +
    "1 file may have changed without a newer mtime: not hashed in a dry run\n",
  ]);
  deepStrictEqual(await type("prestage"), [
    0,
    "2 files, 8 B; uploaded 0 B; left 0 files, 0 B\n",
  ]);
  await site.start();
  const [code, why] = await type("prestage");
  strictEqual(code, 78);
  match(why, /^p4-cache prestage: Another p4-cache \(process \d+\) has this depot: /);
  strictEqual(await site.end("SIGTERM"), 0);
  await Deno.writeTextFile(`${site.depot}/d/a,v`, "local one");
  await Deno.utime(`${site.depot}/d/a,v`, 1, 1);
  deepStrictEqual(await type("prestage"), [
    1,
    "2 files, 8 B; uploaded 0 B; left 0 files, 0 B\n" +
    "1 file waits for a decision: see p4-cache conflicts list\n",
  ]);
});

async function exists(path: string): Promise<boolean> {
  return await Deno.lstat(path).then(() => true, () => false);
}
