// deno-lint-ignore-file no-sync-fn-in-async-fn -- a test looks at files
import { deepStrictEqual, match, ok } from "node:assert/strict";
import { Site, until } from "./site.ts";

/** By path, the last access that the manifest has, in seconds. */
async function lastAccesses(site: Site): Promise<Map<string, number>> {
  const { stdout } = await site.cli(
    "export-manifest",
    "--config",
    `${site.directory}/config.json`,
  );
  const rows = stdout.trim().split("\n").map((line) => JSON.parse(line));
  return new Map(
    rows.filter(({ type }) => type === "file")
      .map(({ path, last_access }) => [path, last_access]),
  );
}

Deno.test("an open of a resident file through the shim moves its last access, with the access log off", async () => {
  await using site = await Site.open();
  await site.start();
  // A name beyond ASCII goes through the event, the gate and the export as bytes.
  const names = ["a,v", "b\xe9,v"];
  for (const name of names) await Deno.writeTextFile(`${site.depot}/${name}`, name);
  await site.uploaded(2);
  const before = await lastAccesses(site);
  deepStrictEqual([...before.keys()], ["a,v", "b\xc3\xa9,v"]);
  const writtenS = Math.max(...before.values());
  // Accesses are kept in whole seconds.
  await until("the next second has come", () => Date.now() / 1000 >= writtenS + 1);
  const { code } = await site.program(["cat", `${site.depot}/b\xe9,v`], { shim: true });
  deepStrictEqual(code, 0);
  let after = before;
  while (after.get("b\xc3\xa9,v") === before.get("b\xc3\xa9,v")) {
    after = await lastAccesses(site);
  }
  ok(after.get("b\xc3\xa9,v")! > writtenS);
  deepStrictEqual(after.get("a,v"), before.get("a,v"));
});

/** Sends one datagram to the access socket, as any process of an allowed user may. */
async function send(site: Site, text: string): Promise<void> {
  const program = "import socket,sys\n" +
    "s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\n" +
    "s.sendto(sys.argv[2].encode(),sys.argv[1])";
  const { code } = await new Deno.Command("python3", {
    args: ["-c", program, `${site.depot}/.p4cache/access.sock`, text],
  }).output();
  deepStrictEqual(code, 0);
}

Deno.test("an access event with an impossible time is dropped, and one of the far future counts as now", async () => {
  await using site = await Site.open();
  await site.start();
  for (const name of ["a,v", "b,v"]) {
    await Deno.writeTextFile(`${site.depot}/${name}`, name);
  }
  await site.uploaded(2);
  const before = await lastAccesses(site);
  const writtenS = Math.max(...before.values());
  await until("the next second has come", () => Date.now() / 1000 >= writtenS + 1);
  const event = (ts: string, name: string): string =>
    `{"ts":${ts},"pid":1,"uid":0,"op":"open","path":"${name}","result":"hot"}\n`;
  await send(site, event("1e400", "a,v") + event("-1e400", "a,v"));
  await send(site, event("9007199254740991", "b,v"));
  let after = before;
  while (after.get("b,v") === before.get("b,v")) {
    ok(!site.log.includes("stopping, because"), "the daemon goes on");
    after = await lastAccesses(site);
  }
  ok(after.get("b,v")! <= Date.now() / 1000);
  deepStrictEqual(after.get("a,v"), before.get("a,v"));
});

const OTHER_UID = 12_346;

Deno.test("a user of shim_allowed_uids opens an evicted file, and is denied once he is taken off the list", async () => {
  await using site = await Site.open({
    config: { shim_allowed_uids: [OTHER_UID], shim_socket_mode: "0666" },
  });
  await Deno.chmod(site.directory, 0o755);
  const lib = await site.copyIn(
    new URL("../../build/libp4shim.so", import.meta.url).pathname,
  );
  await site.start();
  for (const name of ["a,v", "b,v"]) {
    await Deno.writeTextFile(`${site.depot}/${name}`, name);
  }
  await site.uploaded(2);
  await site.evictAll();
  const open = async (name: string): Promise<string> => {
    const env = ["env", `LD_PRELOAD=${lib}`, `P4CACHE_DEPOT=${site.depot}`];
    const { stdout, stderr } = await new Deno.Command("setpriv", {
      args: ["--reuid", `${OTHER_UID}`, "--clear-groups", "--", ...env, "cat"]
        .concat(`${site.depot}/${name}`),
    }).output();
    return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  };
  deepStrictEqual(await open("a,v"), "a,v");
  await site.configure({ shim_allowed_uids: [] });
  match(await open("b,v"), /Permission denied|Input\/output error/);
  ok(Deno.lstatSync(`${site.depot}/b,v`).isSocket);
});
