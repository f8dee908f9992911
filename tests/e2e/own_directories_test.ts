/**
 * Nobody can have a daemon or a command that runs as root make, write or chmod anything outside of
 * `.p4cache` by what he puts in its place, or in it.
 *
 * @module
 */

import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { type Finished, run, Site } from "./site.ts";

const P4D_UID = 12_345;

/** The commands that write in `.p4cache`. */
const WRITERS = {
  "run": ["run"],
  "prestage": ["prestage"],
  "migrate": ["migrate", "--all"],
  "rebuild-manifest": ["rebuild-manifest"],
  "import-manifest": ["import-manifest", "/dev/null"],
} as const;

/** What is where somebody would like to have something written. */
interface Elsewhere {
  readonly directory: string;
  /** Names, modes, owners and contents of all that is there. */
  look(): string[];
}

async function openElsewhere(site: Site): Promise<Elsewhere> {
  const directory = `${site.directory}/elsewhere`;
  await Deno.mkdir(directory, { mode: 0o755 });
  await Deno.writeTextFile(`${directory}/passwd`, "root:x:0:0\n", { mode: 0o644 });
  return {
    directory,
    look: () => {
      const names = [...Deno.readDirSync(directory)].map(({ name }) => name).sort();
      return [".", ...names].map((name) => {
        const { mode, uid, isFile } = Deno.statSync(`${directory}/${name}`);
        const text = isFile ? Deno.readTextFileSync(`${directory}/${name}`) : "";
        return `${name} ${mode!.toString(8)} ${uid} ${text}`;
      });
    },
  };
}

/** As it is typed; a daemon that starts nevertheless is ended, and so fails the test. */
async function typed(site: Site, args: readonly string[]): Promise<Finished> {
  const config = ["--config", `${site.directory}/config.json`];
  const command = [site.executable, args[0]!, ...config, ...args.slice(1)];
  return await run(["timeout", "-k", "5", "20", ...command], {}, true);
}

async function refused(
  site: Site,
  args: readonly string[],
  why: RegExp,
): Promise<void> {
  const { code, stderr } = await typed(site, args);
  match(stderr, why);
  strictEqual(code, 78, stderr);
}

/** A depot with one file in the store, whose daemon has ended. */
async function openUsed(): Promise<Site> {
  const site = await Site.open();
  await site.start();
  await Deno.writeTextFile(`${site.depot}/a,v`, "x");
  await site.uploaded(1);
  await site.end("SIGTERM");
  return site;
}

async function withSecondary(site: Site): Promise<void> {
  const path = `${site.directory}/second`;
  await Deno.mkdir(path);
  await site.configure({ secondary: { type: "nfs", path, initialize: true } });
}

for (const [name, args] of Object.entries(WRITERS)) {
  Deno.test(`${name}: a link for .p4cache is refused, and nothing is made where it leads`, async () => {
    await using site = await Site.open();
    if (name === "migrate") await withSecondary(site);
    const elsewhere = await openElsewhere(site);
    await Deno.symlink(elsewhere.directory, `${site.depot}/.p4cache`);
    const before = elsewhere.look();
    await refused(site, args, /\.p4cache: it is a symbolic link/);
    deepStrictEqual(elsewhere.look(), before);
  });
}

/** Of a depot that was used: each is followed by somebody who does not look. */
const NAMES = [
  ...["daemon.lock", "manifest.reserve"],
  ...["p4-cache-failed-ops.log", "p4-cache-failed-uploads.log"],
  ...["tmp", "evicting", "manifest", "manifest-copies"],
  ...["manifest/lock.mdb", "manifest/data.mdb"],
];

Deno.test("a link in .p4cache is refused, and what it leads to stays", async () => {
  await using site = await openUsed();
  const elsewhere = await openElsewhere(site);
  const before = elsewhere.look();
  for (const name of NAMES) {
    const path = `${site.depot}/.p4cache/${name}`;
    const { isDirectory } = await Deno.lstat(path);
    await Deno.rename(path, `${site.directory}/real`);
    await Deno.symlink(`${elsewhere.directory}/${isDirectory ? "" : "passwd"}`, path);
    await refused(site, ["run"], new RegExp(`${name}: it is a symbolic link`));
    deepStrictEqual(elsewhere.look(), before, name);
    await Deno.remove(path);
    await Deno.rename(`${site.directory}/real`, path);
  }
});

Deno.test("a second name of another file for the lock is refused, and the file stays", async () => {
  await using site = await openUsed();
  const elsewhere = await openElsewhere(site);
  const path = `${site.depot}/.p4cache/daemon.lock`;
  await Deno.remove(path);
  await Deno.link(`${elsewhere.directory}/passwd`, path);
  const before = elsewhere.look();
  for (const args of [WRITERS.run, WRITERS["rebuild-manifest"]]) {
    await refused(site, args, /daemon\.lock: the file has a second name/);
  }
  deepStrictEqual(elsewhere.look(), before);
});

Deno.test("root takes no .p4cache of another user, who takes it himself", async () => {
  await using site = await Site.open({ uid: P4D_UID });
  await site.start();
  await site.end("SIGTERM");
  for (const args of Object.values(WRITERS)) {
    if (args[0] === "migrate") await withSecondary(site);
    await refused(site, args, /\.p4cache: it belongs to UID 12345.*sudo -u/);
  }
  await site.start();
});

Deno.test("a .p4cache that others may write is refused", async () => {
  await using site = await openUsed();
  await Deno.chmod(`${site.depot}/.p4cache`, 0o777);
  await refused(site, ["run"], /\.p4cache: its mode is 777.*chmod go-w/);
});

Deno.test("root is warned of a depot that belongs to another user, and needs to be told of him", async () => {
  await using site = await Site.open();
  await Deno.chown(site.depot, P4D_UID, P4D_UID);
  const unwatched = /depot: it belongs to UID 12345, and nothing that this user writes/;
  await refused(site, ["run"], unwatched);
  await refused(site, ["prestage"], unwatched);
  await site.configure({ watcher_allowed_uids: [P4D_UID] });
  await site.start();
  match(site.log, /WARN .*runs as root in the depot .*UID 12345, who owns it/);
});

Deno.test("a command that only reads follows no link of the manifest's owner", async () => {
  await using site = await openUsed();
  const directory = `${site.depot}/.p4cache/manifest`;
  const target = `${site.directory}/made-by-root`;
  await Deno.remove(`${directory}/lock.mdb`);
  await Deno.symlink(target, `${directory}/lock.mdb`);
  const { code, stderr } = await typed(site, ["manifest-summary"]);
  match(stderr, /lock\.mdb is a symbolic link/);
  strictEqual(code, 3);
  strictEqual(await Deno.lstat(target).then(() => true, () => false), false);
  await Deno.remove(`${directory}/lock.mdb`);
  strictEqual((await typed(site, ["manifest-summary"])).code, 0);
});
