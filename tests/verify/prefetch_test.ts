/**
 * `p4-cache prefetch` against a daemon's socket that answers as the protocol says.
 */

import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { runPrefetch } from "../../src/cli/cmd_prefetch.ts";
import { SYSTEM_CLOCK } from "../../src/core/clock.ts";
import { nativeFile } from "../../src/posix/native_files.ts";
import { openPosix } from "../../src/posix/posix.ts";
import { posixFiles } from "../../src/verify/posix_files.ts";
import { restorerAt } from "../../src/cli/restore_client.ts";
import {
  checkpointText,
  REVISIONS,
  revLine,
  standardArchives,
  TEXT_1,
  World,
} from "./world.ts";

/** A daemon that answers each FETCH with what `answer` says, and notes what was asked. */
function serve(
  path: string,
  answer: (name: string) => string,
): { asked: string[]; close: () => void } {
  const listener = Deno.listen({ transport: "unix", path });
  const asked: string[] = [];
  const serveOne = async (connection: Deno.Conn): Promise<void> => {
    const buffer = new Uint8Array(4_608);
    let line = "";
    while (!line.endsWith("\n")) {
      const count = await connection.read(buffer);
      if (count === null) break;
      line += String.fromCharCode(...buffer.subarray(0, count));
    }
    const name = /^P4CACHE\/1 FETCH (.*)\n$/s.exec(line)![1]!;
    asked.push(name);
    for (const part of answer(name).split("|")) {
      await connection.write(new TextEncoder().encode(part));
    }
    connection.close();
  };
  (async () => {
    for await (const connection of listener) serveOne(connection);
  })().catch(() => {});
  return { asked, close: () => listener.close() };
}

let sockets = 0;

async function run(
  world: World,
  args: readonly string[],
  answer: (name: string) => string = () => "WAIT 1 |10\nWAIT 5 10\n|OK 10\n",
): Promise<{ status: number; stdout: string; stderr: string; asked: string[] }> {
  let stdout = "";
  let stderr = "";
  const socket = `${world.directory}/shim.${sockets++}.sock`;
  const server = serve(socket, answer);
  using posix = openPosix(nativeFile("libp4posix.so"));
  try {
    const status = await runPrefetch([
      ...args,
      `--checkpoint=${world.checkpoint}`,
      "--config=x",
    ], {
      openConfigured: () =>
        Promise.resolve({
          depotRoot: world.root,
          files: posixFiles(posix, world.root),
          restorer: restorerAt(socket, SYSTEM_CLOCK),
        }),
      clock: SYSTEM_CLOCK,
      signal: new AbortController().signal,
      stdout: (text) => stdout += text,
      stderr: (text) => stderr += text,
      isTerminal: false,
      scratchDirectory: world.directory,
    });
    return { status, stdout, stderr, asked: server.asked.sort() };
  } finally {
    server.close();
  }
}

const RCS = "depot/src/a.c,v";
const GZ = "depot/bin/x.dat,d/1.101.gz";

async function evictedWorld(): Promise<World> {
  const world = await World.make();
  for (const path of await world.paths()) await world.evict(path);
  return world;
}

Deno.test("prefetch --path restores each archive of the newest revisions once", async () => {
  await using world = await evictedWorld();
  const { status, stdout, asked } = await run(world, ["--path", "//depot/...#head"]);
  strictEqual(status, 0);
  deepStrictEqual(asked, (await world.paths()).sort());
  match(
    stdout,
    /^5 revisions in 4 archives: 0 are here, 4 restored \(40 B\), 0 failed\n$/,
  );
});

Deno.test("prefetch --path keeps to its directory, file and change", async () => {
  await using world = await evictedWorld();
  deepStrictEqual((await run(world, ["--path=//depot/copy/..."])).asked, [RCS]);
  deepStrictEqual((await run(world, ["--path=//depot/bin/x.dat"])).asked, [GZ]);
  deepStrictEqual((await run(world, ["--path=//depot/src/...@100"])).asked, []);
  // A file whose newest revision is deleted needs nothing.
  const gone = await run(world, ["--path=//depot/src/gone.c"]);
  deepStrictEqual([gone.status, gone.asked], [0, []]);
  const slip = await run(world, ["--path=//depot/srx/...@900"]);
  deepStrictEqual([slip.status, slip.stderr], [
    1,
    "p4-cache prefetch: these records have no revision of //depot/srx/ up to change 900\n",
  ]);
});

Deno.test("prefetch leaves alone what is here, and asks for what has no marker", async () => {
  await using world = await World.make();
  await Deno.remove(`${world.root}/${GZ}`);
  await world.evict(RCS);
  const { status, asked, stdout } = await run(world, ["--path=//depot/..."]);
  strictEqual(status, 0);
  // The single archive may be stored in either form.
  deepStrictEqual(asked, [GZ, RCS]);
  match(stdout, /2 are here, 2 restored/);
});

Deno.test("prefetch --change restores what that change submitted", async () => {
  await using world = await evictedWorld();
  deepStrictEqual((await run(world, ["--change=103"])).asked, [RCS]);
  const none = await run(world, ["--change=9"]);
  deepStrictEqual([none.status, none.asked, none.stderr], [
    1,
    [],
    "p4-cache prefetch: these records have no revision of change 9\n",
  ]);
});

Deno.test("prefetch --label-file restores what a label lists, and names what is unknown", async () => {
  await using world = await evictedWorld();
  const file = `${world.directory}/label`;
  await Deno.writeTextFile(
    file,
    "//depot/src/a.c#1 - add change 101 (text)\n//depot/bin/x.dat#1\n//depot/no#7\n",
  );
  const { status, asked, stdout } = await run(world, ["--label-file", file]);
  deepStrictEqual([status, asked], [1, [GZ, RCS]]);
  match(stdout, /^UNKNOWN \/\/depot\/no#7: not in these records\n/);
  await Deno.writeTextFile(file, "//depot/src/a.c\n");
  const bad = await run(world, ["--label-file", file]);
  strictEqual(bad.status, 2);
  match(bad.stderr, /line 1 is not/);
  await Deno.writeTextFile(file, "\n");
  const empty = await run(world, ["--label-file", file]);
  deepStrictEqual([empty.status, empty.stderr], [
    1,
    "p4-cache prefetch: the label file names no revision\n",
  ]);
});

Deno.test("prefetch asks again while the daemon is busy, and reports what fails", async () => {
  await using world = await evictedWorld();
  let busy = 2;
  const { status, stdout, asked } = await run(
    world,
    ["--path=//depot/bin/..."],
    (name) => {
      if (name === GZ) return busy-- > 0 ? "ERR BUSY ask again\n" : "OK 3\n";
      return "ERR FULL the disk has no room\n";
    },
  );
  strictEqual(status, 1);
  strictEqual(asked.filter((name) => name === GZ).length, 3);
  match(stdout, /^FAILED depot\/bin\/plain,d\/1\.101: FULL the disk has no room\n/);
});

Deno.test("prefetch --dry-run asks nothing", async () => {
  await using world = await evictedWorld();
  const { status, stdout, asked } = await run(world, [
    "--path=//depot/...",
    "--dry-run",
    "--json",
  ]);
  deepStrictEqual([status, asked], [0, []]);
  deepStrictEqual(JSON.parse(stdout).planned, 4);
});

Deno.test("prefetch folds names as the server does", async () => {
  const lines = REVISIONS.map((it) => revLine(it)).map((line) =>
    line.replaceAll("//depot/src", "//depot/SRC")
  );
  await using world = await World.make(
    standardArchives(),
    checkpointText({ flags: 2, lines }),
  );
  for (const path of await world.paths()) await world.evict(path);
  const { asked } = await run(world, ["--path=//DEPOT/src/A.c"]);
  deepStrictEqual(asked, [RCS]);
});

Deno.test("prefetch by a truncated checkpoint restores what it can, and exits with 3", async () => {
  await using world = await evictedWorld();
  const text = checkpointText({
    lines: [revLine({ depotFile: "//depot/src/a.c", rev: 1, text: TEXT_1 })],
  });
  await Deno.writeTextFile(world.checkpoint, text.slice(0, text.indexOf("@nx@ 1")));
  const { status, asked } = await run(world, ["--path=//depot/..."]);
  deepStrictEqual([status, asked], [3, [RCS]]);
});
