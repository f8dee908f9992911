/**
 * What the daemon wants besides the depot: files that it can do without do not end it; the others,
 * and its helpers, are named before it serves.
 *
 * @module
 */

import { match, ok, strictEqual } from "node:assert/strict";
import { run, Site, until } from "../e2e/site.ts";

const countOf = (text: string, what: string): number => text.split(what).length - 1;

/** Runs until it is refused; what it says on its way is in `stdout`. */
async function refused(site: Site): Promise<{ code: number; stderr: string }> {
  return await site.cli("run", "--config", `${site.directory}/config.json`);
}

Deno.test("a pid_file that cannot be written is warned of, and the daemon serves", async () => {
  await using site = await Site.open();
  await site.configure({ pid_file: `${site.directory}/gone/p4-cache.pid` });
  await site.start();
  match(site.log, / WARN {2}cannot write pid_file; going on without it .*gone/);
  const status = await site.cli("status", "--config", `${site.directory}/config.json`);
  strictEqual(status.code, 0, status.stderr);
  strictEqual(await site.end("SIGTERM"), 0);
});

Deno.test("a log_file that cannot be opened at a start is told on standard output, and awaited", async () => {
  await using site = await Site.open();
  const file = `${site.directory}/gone/daemon.log`;
  await site.configure({ log_file: file });
  const out = `${site.directory}/out`;
  const daemon = new Deno.Command("sh", {
    args: [
      "-c",
      'exec "$0" run --config "$1" > "$2"',
      site.executable,
      `${site.directory}/config.json`,
      out,
    ],
    stdin: "null",
    stderr: "null",
  }).spawn();
  const text = (path: string): string => {
    try {
      return Deno.readTextFileSync(path);
    } catch {
      return "";
    }
  };
  try {
    await until("it is ready", () => / ready /.test(text(out)));
    match(text(out), / ERROR Cannot open log_file .*gone\/daemon\.log .*send SIGHUP/);
    await Deno.mkdir(`${site.directory}/gone`);
    daemon.kill("SIGHUP");
    await until(
      "its file is open",
      () => isFile(file),
    );
  } finally {
    daemon.kill("SIGTERM");
    strictEqual((await daemon.status).code, 0);
  }
  match(text(file), / INFO {2}stopped\n$/);
});

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

Deno.test("a log_file that cannot be opened while it runs is not said to be applied", async () => {
  await using site = await Site.open();
  await site.start();
  await site.configure({
    log_file: `${site.directory}/gone/daemon.log`,
    max_cache_bytes: 1_000_000,
  });
  match(site.log, / ERROR Cannot open the new log file; the old one stays in use /);
  match(site.log, /configuration applied keys="max_cache_bytes low_watermark_bytes"\n/);
  ok(!/applied keys=.*log_file/.test(site.log), site.log);
  strictEqual(await site.end("SIGTERM"), 0);
});

Deno.test("a shim.sock that is no socket is refused with what to do, also in the log, once", async () => {
  await using site = await Site.open();
  await site.start();
  await site.end("SIGTERM");
  const socket = `${site.depot}/.p4cache/shim.sock`;
  await Deno.writeTextFile(socket, "");
  const { code, stderr } = await refused(site);
  strictEqual(code, 78, stderr);
  const why = `Cannot serve the depot: Cannot bind "${socket}": it exists and is no ` +
    "socket, move it away";
  strictEqual(stderr, `p4-cache run: ${why}\n`);
  strictEqual(countOf(site.log, `ERROR cannot run: ${why}`), 1, site.log);
});

Deno.test("a depot that is not mounted is told in the log, too", async () => {
  await using site = await Site.open();
  await Deno.remove(site.depot);
  const { code, stderr } = await refused(site);
  strictEqual(code, 78, stderr);
  match(site.log, / ERROR cannot run: Cannot use depot_path /);
});

Deno.test("a helper that is killed as it starts is 75, and the log says so", async () => {
  await using site = await Site.open();
  for (const name of ["p4-cache-fanotify", "p4-cache-gate"]) {
    const own = await Deno.makeTempDir({ dir: site.directory });
    await Deno.writeTextFile(`${own}/${name}`, "#!/bin/sh\nkill -9 $$\n");
    await Deno.chmod(`${own}/${name}`, 0o755);
    const { code, stderr } = await run(
      [site.executable, "run", "--config", `${site.directory}/config.json`],
      { P4CACHE_LIB: own },
      true,
    );
    strictEqual(code, 75, stderr);
    match(
      site.log,
      new RegExp(`ERROR cannot run: .*${name}" ended by itself: SIGKILL\n`),
    );
  }
});
