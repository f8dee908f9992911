/**
 * Who may delete: not everybody who may ask for files, and everybody who could unlink them.
 *
 * @module
 */

import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { Site, until } from "./site.ts";

const OWN_UID = 12_346;
const OTHER_UID = 12_347;
const OTHER_GID = 12_348;

const ASK = `
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b"P4CACHE/1 DELETE " + sys.argv[2].encode() + b"\\n")
sys.stdout.write(s.makefile().read())
`;

async function asOther(command: readonly string[]): Promise<string> {
  const user = ["--reuid", `${OTHER_UID}`, "--regid", `${OTHER_UID}`];
  const { stdout, stderr } = await new Deno.Command("setpriv", {
    args: [...user, "--groups", `${OTHER_GID}`, "--", ...command],
  }).output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

async function evictedSite(names: readonly string[]): Promise<Site> {
  const site = await Site.open({
    config: { shim_allowed_uids: [OTHER_UID], shim_socket_mode: "0666" },
  });
  await Deno.chmod(site.directory, 0o755);
  await site.start();
  await Deno.mkdir(`${site.depot}/d`, { mode: 0o755 });
  for (const name of names) await Deno.writeTextFile(`${site.depot}/d/${name}`, name);
  await site.uploaded(names.length);
  await site.evictAll();
  return site;
}

Deno.test("a user of shim_allowed_uids cannot delete what was lost, and root can", async () => {
  await using site = await evictedSite(["a,v", "b,v"]);
  const ask = (path: string): string[] => [
    ...["/usr/bin/python3", "-c", ASK, `${site.depot}/.p4cache/shim.sock`, path],
  ];
  // Nobody sees it go: the next daemon takes it to be lost, and puts its marker back.
  await site.end("SIGTERM");
  for (const name of ["a,v", "b,v"]) await Deno.remove(`${site.depot}/d/${name}`);
  await site.start();
  match(await asOther(ask("d/a,v")), /^ERR DENIED .*directory\n$/);
  const { stdout } = await site.program(["cat", `${site.depot}/d/a,v`], { shim: true });
  strictEqual(stdout, "a,v");
  const [program, ...args] = ask("d/b,v");
  const { stdout: reply } = await site.program([program!, ...args], { shim: false });
  strictEqual(reply, "OK 0\n");
});

Deno.test("what a user may unlink by a right that only the kernel knows is deleted", async () => {
  await using site = await evictedSite(["a,v", "b,v"]);
  const lib = await site.copyIn(
    new URL("../../build/libp4shim.so", import.meta.url).pathname,
  );
  const preload = ["env", `LD_PRELOAD=${lib}`, `P4CACHE_DEPOT=${site.depot}`];
  const remove = [...preload, "python3", "-c", "import os, sys; os.unlink(sys.argv[1])"];
  match(await asOther([...remove, `${site.depot}/d/a,v`]), /PermissionError/);
  await Deno.chown(`${site.depot}/d`, 0, OTHER_GID);
  await Deno.chmod(`${site.depot}/d`, 0o775);
  deepStrictEqual(await asOther([...remove, `${site.depot}/d/a,v`]), "");
  deepStrictEqual(await filesOf(site), ["d/b,v"]);
});

for (const [mode, left] of [[0o640, ["d/b,v"]], [0o660, ["d/a,v", "d/b,v"]]] as const) {
  Deno.test(`what was deleted while no daemon ran is ${left.length === 1 ? "deleted" : "back"} by a log of mode ${mode.toString(8)}, where its group may not write the depot`, async () => {
    await using site = await evictedSite(["a,v", "b,v"]);
    await site.end("SIGTERM");
    const unlink = ["python3", "-c", "import os, sys; os.unlink(sys.argv[1])"];
    const deleted = await site.program([...unlink, `${site.depot}/d/a,v`], {
      shim: true,
    });
    strictEqual(deleted.code, 0, deleted.stderr);
    const log = `${site.depot}/.p4cache/shim-failed-deletes.log`;
    strictEqual((await Deno.stat(log)).mode! & 0o777, 0o640);
    await Deno.chmod(log, mode);
    await site.start();
    await until("it is taken over", () => !exists(log));
    await until(
      "the depot is scanned",
      () => site.log.split("scanned the depot").length > 2,
    );
    deepStrictEqual(await filesOf(site), left);
  });
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

async function filesOf(site: Site): Promise<string[]> {
  const rows = await site.cli(
    ...["export-manifest", "--config", `${site.directory}/config.json`],
  );
  return rows.stdout.trim().split("\n").map((line) => JSON.parse(line))
    .filter(({ type }) => type === "file").map(({ path }) => path);
}

Deno.test("what the depot's user deletes while no daemon runs stays deleted, whatever the modes", async () => {
  await using site = await Site.open({ uid: OWN_UID });
  await site.start();
  const asUser = async (script: string, shim: boolean): Promise<void> => {
    const { code, stderr } = await site.program(
      ["sh", "-c", `cd "$1" && umask 0 && ${script}`, "sh", site.depot],
      { shim, asUser: true, env: { P4CACHE_RESTART_GRACE_MS: "100" } },
    );
    deepStrictEqual([code, stderr], [0, ""]);
  };
  await asUser("mkdir -m 700 d && echo a >d/a,v && echo b >d/b,v", false);
  await site.uploaded(2);
  await site.evictAll();
  await site.end("SIGTERM");
  await asUser("rm -f d/a,v", true);
  await site.start();
  await site.uploaded(1);
  const names = await Array.fromAsync(Deno.readDir(`${site.depot}/d`));
  deepStrictEqual(names.map(({ name }) => name), ["b,v"]);
});
