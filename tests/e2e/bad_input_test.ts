import { match, strictEqual } from "node:assert/strict";
import { run, Site } from "./site.ts";

const COMPILED = new URL("../../build/p4-cache", import.meta.url).pathname;

/** Each way in which a start can fail: the status, and the one line that says why. */
async function refused(site: Site, status: number, why: RegExp): Promise<void> {
  const { code, stdout, stderr } = await site.cli(
    "run",
    "--config",
    `${site.directory}/config.json`,
  );
  strictEqual(code, status, stderr);
  strictEqual(stdout, "");
  match(stderr, why);
}

Deno.test("a depot that is missing: 78, and it is not created", async () => {
  await using site = await Site.open();
  await Deno.remove(site.depot);
  await refused(site, 78, /depot_path .*depot.*create it or mount it/);
  strictEqual(await Deno.stat(site.depot).then(() => true, () => false), false);
});

Deno.test("a store that is missing: 69", async () => {
  await using site = await Site.open();
  await Deno.remove(site.store);
  await refused(site, 69, /primary store.*does not exist; mount the export/);
});

Deno.test("a store that is empty and not mounted, without initialize: 69", async () => {
  await using site = await Site.open();
  await site.configure({ primary: { type: "nfs", path: site.store } });
  await refused(site, 69, /it is empty and nothing is mounted there/);
});

Deno.test("a store in the depot, by a symbolic link: 78, before anything is in it", async () => {
  await using site = await Site.open();
  await Deno.symlink(site.depot, `${site.directory}/link`);
  const path = `${site.depot}/store`;
  await Deno.mkdir(path);
  const primary = { type: "nfs", path, initialize: true };
  await site.configure({ "depot_path": `${site.directory}/link`, primary });
  const why = /\/store" as a store: it is .*, in the depot .*\/link, which is /;
  await refused(site, 78, why);
  const config = ["--config", `${site.directory}/config.json`];
  for (const command of [["prestage"], ["rebuild-manifest"], ["config", "check"]]) {
    const { code, stderr } = await site.cli(...command, ...config);
    strictEqual(code, 78, stderr);
    match(stderr, why);
  }
  strictEqual((await Array.fromAsync(Deno.readDir(path))).length, 0);
});

Deno.test("bad JSON: 78, with line and column", async () => {
  await using site = await Site.open();
  await Deno.writeTextFile(`${site.directory}/config.json`, '{\n "depot_path": "/x",\n}');
  await refused(site, 78, /line 3, column 1/);
});

Deno.test("an unknown key: 78, with the nearest known one", async () => {
  await using site = await Site.open();
  await site.configure({ max_cache_byte: 1 });
  await refused(site, 78, /"max_cache_byte".*such as "max_cache_bytes"/s);
});

Deno.test("a second daemon: 78, and the first one goes on", async () => {
  await using site = await Site.open();
  await site.start();
  await refused(site, 78, /Another p4-cache \(process \d+\) has this depot/);
  await Deno.writeTextFile(`${site.depot}/a,v`, "x");
  await site.uploaded(1);
});

Deno.test("an empty manifest over a store that is in use: 78, naming what may help", async () => {
  await using site = await Site.open();
  await site.start();
  await Deno.writeTextFile(`${site.depot}/a,v`, "x");
  await site.uploaded(1);
  await site.end("SIGTERM");
  await Deno.remove(`${site.depot}/.p4cache`, { recursive: true });
  await refused(site, 78, /manifest is empty, but the store is not.*rebuild-manifest/);
});

Deno.test("a state directory that cannot be written: 78", async () => {
  await using site = await Site.open();
  await run(["chown", "4321", site.directory, `${site.directory}/config.json`]);
  await Deno.chmod(site.directory, 0o755);
  const executable = await site.copyIn(COMPILED);
  const { code, stderr } = await run(
    [
      "setpriv",
      "--reuid",
      "4321",
      "--clear-groups",
      "--",
      executable,
      "run",
      "--config",
      `${site.directory}/config.json`,
    ],
    { TMPDIR: site.directory },
    true,
  );
  strictEqual(code, 78, stderr);
  match(stderr, /\.p4cache.*must be writable for UID 4321/);
});

Deno.test("no CAP_SYS_ADMIN: 77, naming the capability", async () => {
  await using site = await Site.open();
  await run(["chown", "-R", "4321", site.directory]);
  await Deno.chmod(site.directory, 0o755);
  const executable = await site.copyIn(COMPILED);
  const { code, stderr } = await run(
    [
      "setpriv",
      "--reuid",
      "4321",
      "--clear-groups",
      "--",
      executable,
      "run",
      "--config",
      `${site.directory}/config.json`,
    ],
    { TMPDIR: site.directory },
    true,
  );
  strictEqual(code, 77, stderr);
  match(stderr, /CAP_SYS_ADMIN/);
});
