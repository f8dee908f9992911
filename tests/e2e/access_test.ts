import { deepStrictEqual, ok } from "node:assert/strict";
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
