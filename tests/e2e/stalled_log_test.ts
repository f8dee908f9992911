/**
 * The log on standard output: a reader that stalls stops nothing, one that reads gets everything.
 *
 * @module
 */

import { match, strictEqual } from "node:assert/strict";
import { Site, until } from "./site.ts";

const PIPE_BYTES = 65_536;

/** A daemon whose standard output is `path`. */
function startInto(site: Site, path: string): Deno.ChildProcess {
  const config = `${site.directory}/config.json`;
  return new Deno.Command("sh", {
    args: ["-c", 'exec "$0" run --config "$1" > "$2"', site.executable, config, path],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
}

async function pipeOf(site: Site): Promise<string> {
  const path = `${site.directory}/log.pipe`;
  strictEqual((await new Deno.Command("mkfifo", { args: [path] }).output()).code, 0);
  return path;
}

/** Asks until somebody answers. */
async function statusOf(site: Site): Promise<number> {
  for (;;) {
    const args = ["status", "--config", `${site.directory}/config.json`];
    const { code, stderr } = await site.cli(...args);
    if (!/No daemon listens/.test(stderr)) return code;
  }
}

const isThere = (path: string): boolean => {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
};

Deno.test("a daemon whose log nobody reads serves, and ends on SIGTERM", async () => {
  await using site = await Site.open({ config: { log_file: null, log_level: "debug" } });
  const path = await pipeOf(site);
  // Open for reading, too, by somebody who never does.
  using pipe = await Deno.open(path, { read: true, write: true });
  await pipe.write(new Uint8Array(PIPE_BYTES));
  const daemon = startInto(site, path);
  try {
    await until("it listens", () => isThere(`${site.depot}/.p4cache/shim.sock`));
    strictEqual(await statusOf(site), 0);
    await Deno.writeTextFile(`${site.depot}/a,v`, "text");
    await site.uploaded(1);
    strictEqual(await statusOf(site), 0);
    daemon.kill("SIGTERM");
    strictEqual((await daemon.status).code, 0);
  } catch (error) {
    daemon.kill("SIGKILL");
    await daemon.status;
    throw error;
  }
});

Deno.test("a reader that reads gets the last lines of a stop, and why a start was refused", async () => {
  await using site = await Site.open({ config: { log_file: null } });
  const path = `${site.directory}/out`;
  const daemon = startInto(site, path);
  await until("it is ready", () => isThere(path) && / ready /.test(readText(path)));
  const second = `${site.directory}/second`;
  strictEqual((await startInto(site, second).status).code, 78);
  match(readText(second), / ERROR cannot run: Another p4-cache [^\n]*\n$/);
  daemon.kill("SIGTERM");
  strictEqual((await daemon.status).code, 0);
  match(readText(path), / INFO {2}stopped\n$/);
});

function readText(path: string): string {
  return Deno.readTextFileSync(path);
}
