/**
 * A daemon, as it is installed, on a manifest that is not what it was: it refuses, names what
 * recovers it, and touches nothing. And one whose manifest is taken away while it runs.
 *
 * @module
 */

import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { decodeLedger, decodeMeta, encodeLedger } from "../../src/manifest/ledger.ts";
import { LmdbKeyValue } from "../../src/manifest/lmdb_key_value.ts";
import { metaWrite, SCHEMA_VERSION } from "../../src/manifest/schema.ts";
import { Site, until } from "../e2e/site.ts";
import { dropTable } from "../manifest/older_manifests.ts";

const EXECUTABLE = Deno.env.get("P4CACHE") ??
  new URL("../../build/p4-cache", import.meta.url).pathname;
const META_PAGES_BYTES = 16_384;
const FILES = { "d/a,v": "first", "d/b,v": "second" };

function open(): Promise<Site> {
  return Site.open({ executable: EXECUTABLE });
}

async function write(site: Site, files: Record<string, string>): Promise<void> {
  await Deno.mkdir(`${site.depot}/d`, { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    await Deno.writeTextFile(`${site.depot}/${name}`, text);
  }
}

/** As a program with the shim reads them. */
async function contentsOf(
  site: Site,
  names: readonly string[],
): Promise<Record<string, string>> {
  const contents: Record<string, string> = {};
  for (const name of names) {
    const path = `${site.depot}/${name}`;
    const { stdout, stderr } = await site.program(["cat", path], { shim: true });
    strictEqual(stderr, "");
    contents[name] = stdout;
  }
  return contents;
}

interface Damage {
  readonly what: string;
  /** What the refusal says of it. */
  readonly told: RegExp;
  readonly damage: (directory: string, good: Uint8Array) => Promise<void>;
}

const put = (directory: string, bytes: Uint8Array): Promise<void> =>
  Deno.writeFile(`${directory}/data.mdb`, bytes);

/** While no daemon has it. */
async function inStore(
  directory: string,
  change: (store: LmdbKeyValue) => Promise<void>,
): Promise<void> {
  const store = await LmdbKeyValue.open(directory, { readOnly: false, create: false });
  await change(store);
  await store.close();
}

function makeNewer(directory: string): Promise<void> {
  const version = metaWrite("schema_version", `${SCHEMA_VERSION + 1}`);
  return inStore(directory, (store) => store.commit([version]));
}

const NEWER: Damage = {
  what: "of a newer schema",
  told: /its schema is 5, .*install the p4-cache that wrote it/,
  damage: makeNewer,
};

const DAMAGES: readonly Damage[] = [
  {
    what: "with other bytes in its meta pages",
    told: /meta page 0 is not one/,
    damage: (directory, good) =>
      put(directory, good.slice().fill(0x5a, 0, META_PAGES_BYTES)),
  },
  {
    what: "without one of its tables",
    told: /the table conflicts is missing/,
    damage: (directory) => dropTable(directory, "conflicts"),
  },
  {
    what: "that is cut short",
    told: /is outside the file/,
    damage: (directory, good) => put(directory, good.slice(0, good.length / 2)),
  },
  {
    what: "that is empty",
    told: /data\.mdb is empty/,
    damage: (directory) => put(directory, new Uint8Array()),
  },
  {
    what: "that another file has replaced",
    told: /meta page 0 is not one/,
    damage: (directory) => Deno.copyFile("/bin/sh", `${directory}/data.mdb`),
  },
  NEWER,
];

/** The daemon and the command that an operator runs first both refuse it, and change nothing. */
async function assertRefused(site: Site, told: RegExp): Promise<void> {
  const data = `${site.depot}/.p4cache/manifest/data.mdb`;
  const config = ["--config", `${site.directory}/config.json`];
  const damaged = await Deno.readFile(data);
  for (const command of ["run", "manifest-summary"]) {
    const { code, stderr } = await site.cli(command, ...config);
    strictEqual(code, 74, `${command}: ${stderr}`);
    match(stderr, told);
    if (command === "run") match(stderr, /p4-cache rebuild-manifest/);
  }
  deepStrictEqual(await Deno.readFile(data), damaged);
}

Deno.test("a daemon refuses a damaged manifest with 74, and names what recovers it", async (t) => {
  await using site = await open();
  await site.start();
  await write(site, FILES);
  await site.uploaded(2);
  strictEqual(await site.end("SIGTERM"), 0);
  const directory = `${site.depot}/.p4cache/manifest`;
  const good = await Deno.readFile(`${directory}/data.mdb`);
  for (const { what, told, damage } of DAMAGES) {
    await t.step(`a manifest ${what}`, async () => {
      await Deno.remove(directory, { recursive: true });
      await Deno.mkdir(directory);
      await put(directory, good);
      await damage(directory, good);
      await assertRefused(site, told);
    });
  }
  await t.step("and is started with the good one again", async () => {
    await put(directory, good);
    await site.start();
    deepStrictEqual(await contentsOf(site, Object.keys(FILES)), FILES);
  });
});

Deno.test("where the p4-cache of a newer manifest cannot be had, one is made from nothing", async () => {
  await using site = await open();
  await site.start();
  await write(site, FILES);
  await site.uploaded(2);
  await site.evictAll();
  strictEqual(await site.end("SIGTERM"), 0);
  await makeNewer(`${site.depot}/.p4cache/manifest`);
  await assertRefused(site, NEWER.told);
  const copies = `${site.depot}/.p4cache/manifest-copies`;
  await Deno.remove(copies, { recursive: true });
  const config = ["--config", `${site.directory}/config.json`];
  const rebuilt = await site.cli("rebuild-manifest", "--no-copy", ...config);
  strictEqual(rebuilt.code, 0, rebuilt.stderr);
  await site.start();
  deepStrictEqual(await contentsOf(site, Object.keys(FILES)), FILES);
});

Deno.test("a manifest that is replaced while a daemon has it open loses nothing", async () => {
  await using site = await open();
  await site.start();
  await write(site, FILES);
  await site.uploaded(2);
  await site.evictAll();
  const data = `${site.depot}/.p4cache/manifest/data.mdb`;
  await Deno.copyFile("/bin/sh", `${site.directory}/other`);
  await Deno.rename(`${site.directory}/other`, data);

  // Neither is acknowledged in a file that nobody will find again: it stays where it is.
  await write(site, { "d/c,v": "third" });
  const config = ["--config", `${site.directory}/config.json`];
  await until("the log tells of it", () => /data\.mdb is another file/.test(site.log));
  const { stdout } = await site.cli("status", "--json", ...config);
  match(JSON.parse(stdout).manifestTrouble, /another file.*`p4-cache rebuild-manifest`/);
  strictEqual(await Deno.readTextFile(`${site.depot}/d/c,v`), "third");

  await site.end("SIGTERM");
  await assertRefused(site, /meta page 0 is not one/);
  const rebuilt = await site.cli("rebuild-manifest", ...config);
  strictEqual(rebuilt.code, 0, rebuilt.stderr);
  await site.start();
  const all = { ...FILES, "d/c,v": "third" };
  deepStrictEqual(await contentsOf(site, Object.keys(all)), all);
  await site.uploaded(3);
});

Deno.test("a daemon counts and tells of counters that a recount does not give", async () => {
  await using site = await open();
  await site.start();
  await write(site, FILES);
  await site.uploaded(2);
  strictEqual(await site.end("SIGTERM"), 0);
  const directory = `${site.depot}/.p4cache/manifest`;
  await inStore(directory, (store) => {
    const kept = decodeLedger(decodeMeta("counters", store.get("meta", "counters")!));
    const drifted = { ...kept, totalBytes: kept.totalBytes + 1, conflicts: 1 };
    return store.commit([metaWrite("counters", encodeLedger(drifted))]);
  });
  await site.start();
  const name = "p4cache_manifest_counter_drift_total";
  await until("it is counted", () => site.metric(name) === 2);
  match(site.log, /ERROR .*counters are not what a recount gives.*totalBytes conflicts/);
  const config = ["--config", `${site.directory}/config.json`];
  const { code, stdout } = await site.cli("check-manifest", ...config);
  strictEqual(code, 74);
  match(stdout, /totalBytes/);
});
