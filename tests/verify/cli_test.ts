/**
 * The command as it is run: output, exit status, files that it writes.
 */

import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { HELP, runVerify, type VerifyDeps } from "../../src/cli/cmd_verify.ts";
import { SYSTEM_CLOCK } from "../../src/core/clock.ts";
import { nativeFile } from "../../src/posix/native_files.ts";
import { openPosix } from "../../src/posix/posix.ts";
import { archiveStoreOf } from "../../src/verify/archive_store.ts";
import { posixFiles } from "../../src/verify/posix_files.ts";
import { writeRcs } from "./rcs_writer.ts";
import { bytesOfText, checkpointText, REVISIONS, revLine, World } from "./world.ts";

const GZ = "depot/bin/x.dat,d/1.101.gz";

interface Ran {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(
  world: World,
  args: readonly string[],
  signal = new AbortController().signal,
): Promise<Ran> {
  let stdout = "";
  let stderr = "";
  using posix = openPosix(nativeFile("libp4posix.so"));
  const deps: VerifyDeps = {
    openConfigured: () =>
      Promise.resolve({
        depotRoot: world.root,
        manifest: world.manifest(),
        store: archiveStoreOf(world.backend),
        close: () => Promise.resolve(),
      }),
    openFiles: (root) => posixFiles(posix, root),
    clock: SYSTEM_CLOCK,
    signal,
    stdout: (text) => stdout += text,
    stderr: (text) => stderr += text,
    isTerminal: false,
    scratchDirectory: world.directory,
  };
  const status = await runVerify(args, deps);
  return { status, stdout, stderr };
}

const base = (world: World): string[] => [
  "--checkpoint",
  world.checkpoint,
  `--depot-root=${world.root}`,
];

Deno.test("verify writes findings and a summary by depot, and exits with 1", async () => {
  await using world = await World.make();
  await world.change(GZ, (bytes) => bytes.subarray(0, 20));
  await Deno.remove(`${world.root}/depot/bin/plain,d/1.101`);
  const { status, stdout, stderr } = await run(world, [
    ...base(world),
    "--depth",
    "content",
  ]);
  strictEqual(status, 1);
  strictEqual(stderr, "");
  const lines = stdout.replace(/in \d.*? s; .* read here/, "in T; R read here").split(
    "\n",
  );
  deepStrictEqual(lines, [
    "MISSING! //depot/bin/plain#1 - edit change 101 (binary) depot/bin/plain,d/1.101 " +
    "1.101: no such file; wrong: the local copy; good copy: none known",
    "BAD! //depot/bin/x.dat#1 - edit change 101 (binary) depot/bin/x.dat,d/1.101.gz " +
    "1.101: it cannot be decompressed: unexpected end of file; wrong: the local copy; " +
    "good copy: none known",
    "",
    "depot    checked  ok  missing  bad  unverifiable  excused",
    "//depot        6   4        1    1             0        0",
    "all            6   4        1    1             0        0",
    "",
    "depth content: 6 archive revisions of 7 rows in T; R read here, 0 B recalled from " +
    "the store",
    lines[8]!,
    "orphans: 0; strays: 0; too young to tell: 0; waiting for removal: 0; doubtful: 0",
    "RESULT: 2 findings",
    "",
  ]);
  match(
    lines[8]!,
    /^records: 10 in .*; 8 revisions \(1 without content\), 0 storage rows$/,
  );
});

Deno.test("verify exits with 0 when all is good, and with 3 by a truncated checkpoint", async () => {
  await using world = await World.make();
  const good = await run(world, base(world));
  strictEqual(good.status, 0);
  match(good.stdout, /RESULT: all good\n$/);
  const text = await Deno.readTextFile(world.checkpoint);
  await Deno.writeTextFile(world.checkpoint, text.slice(0, text.indexOf("@nx@ 1")));
  const cut = await run(world, base(world));
  strictEqual(cut.status, 3);
  match(cut.stdout, /incomplete: .* has no trailer: it is truncated\n/);
  match(cut.stdout, /RESULT: not complete \(see above\); 0 findings so far\n$/);
});

Deno.test("verify exits with 3 by a path below which there is nothing", async () => {
  await using world = await World.make();
  const { status, stdout } = await run(world, [...base(world), "--path=//depot/scr/..."]);
  strictEqual(status, 3);
  match(stdout, /incomplete: no revision with content lies below \/\/depot\/scr\/\.\.\./);
  match(stdout, /RESULT: not complete \(see above\); 0 findings so far\n$/);
});

Deno.test("verify does not call good in its last line what it could not judge", async () => {
  const keyed = { ...REVISIONS[0]!, type: 0x20, digest: "A".repeat(32) };
  const text = writeRcs([{ number: "1.101", text: "$Author$\n" }]);
  await using world = await World.make(
    new Map([["depot/src/a.c,v", bytesOfText(text)]]),
    checkpointText({ lines: [revLine(keyed)] }),
  );
  const { status, stdout } = await run(world, [...base(world), "--depth=content"]);
  strictEqual(status, 0);
  match(
    stdout,
    /RESULT: no findings; 1 of 1 archive revisions could not be judged \(see above\)\n$/,
  );
});

Deno.test("verify --json writes one object with the promised members", async () => {
  await using world = await World.make();
  for (const damaged of [false, true]) {
    if (damaged) await world.change(GZ, (bytes) => bytes.subarray(0, 20));
    const { status, stdout } = await run(world, [
      ...base(world),
      "--depth=content",
      "--json",
      "--repair",
    ]);
    strictEqual(status, damaged ? 1 : 0);
    const object = JSON.parse(stdout);
    for (
      const member of [
        "checked",
        "ok",
        "missing",
        "bad",
        "unverifiable",
        "orphan",
        "stray",
        "bytes_read",
        "bytes_recalled",
      ]
    ) strictEqual(typeof object[member], "number", member);
    deepStrictEqual([object.truncated, object.complete], [false, true]);
    deepStrictEqual([object.checked, object.bad], [6, damaged ? 1 : 0]);
    strictEqual(object.findings.length, damaged ? 1 : 0);
    if (!damaged) continue;
    deepStrictEqual(object.findings[0].wrong, ["local"]);
    deepStrictEqual(object.findings[0].depot_file, "//depot/bin/x.dat");
    match(object.repair.join("\n"), /no good copy is known/);
  }
});

Deno.test("verify --repair prints commands for what can be repaired, and runs none", async () => {
  await using world = await World.make();
  await world.store();
  await world.change(GZ, (bytes) => bytes.subarray(0, 20));
  await world.putObject("depot/bin/plain,d/1.101", "x", bytesOfText("other"));
  const { status, stdout } = await run(world, [
    "--checkpoint",
    world.checkpoint,
    "--config=x",
    "--depth=content",
    "--repair",
  ]);
  strictEqual(status, 1);
  const plan = stdout.slice(stdout.indexOf("# Proposed")).trimEnd().split("\n")
    .filter((line) => !line.startsWith("#"));
  deepStrictEqual(plan, [
    "p4-cache pin --config x -- depot/bin/plain,d/1.101",
    `mv -n -- ${world.root}/${GZ} ` +
    `${world.root}/depot/bin/tmp.x.dat,d.1.101.gz.p4cache-bad`,
    `p4-cache rehydrate --config x --prefix=${GZ}`,
  ]);
  strictEqual((await Deno.stat(`${world.root}/${GZ}`)).size, 20);
});

Deno.test("verify --junit writes a file that an XML parser reads", async () => {
  await using world = await World.make();
  await Deno.remove(`${world.root}/${GZ}`);
  const junit = `${world.directory}/junit.xml`;
  const { status } = await run(world, [...base(world), "--junit", junit]);
  strictEqual(status, 1);
  const xml = await Deno.readTextFile(junit);
  match(xml, /<testsuite name="p4-cache verify" tests="2" failures="1" errors="0"/);
  match(xml, /name="\/\/depot\/bin\/x.dat#1"><failure type="missing"/);
  const names: string[] = [];
  for await (const entry of Deno.readDir(world.directory)) names.push(entry.name);
  deepStrictEqual(names.filter((name) => name.includes("part")), []);
});

Deno.test("verify refuses a command line that makes no sense with 2", async () => {
  await using world = await World.make();
  const checkpoint = ["--checkpoint", world.checkpoint];
  const cases: [string[], RegExp][] = [
    [checkpoint, /one of --config and --depot-root/],
    [[...base(world), "--config=x"], /one of --config and --depot-root/],
    [["--depot-root=/x"], /--checkpoint is needed/],
    [[...checkpoint, "--depot-root=x"], /absolute/],
    [[...base(world), "--depth=deep"], /not "deep"/],
    [[...base(world), "--depth=hash"], /needs --config/],
    [[...base(world), "--sample=1/2", "--subset=1/2"], /exclude each other/],
    [[...base(world), "--sample=2/3"], /--sample is 1\/N/],
    [[...base(world), "--subset=0/3"], /--subset is K\/N/],
    [[...base(world), "--subset=4/3"], /--subset is K\/N/],
    [[...base(world), "--path=depot"], /--path is/],
    [[...base(world), "--max-recall-bytes=lots"], /number of bytes/],
    [[...base(world), "--checkpoint=again"], /may be given once/],
    [[...base(world), "--repair=yes"], /not an option/],
    [[...base(world), "--jsn"], /not an option/],
    [[...base(world), "--junit"], /needs a value/],
  ];
  for (const [args, message] of cases) {
    const { status, stderr, stdout } = await run(world, args);
    deepStrictEqual([status, stdout], [2, ""], args.join(" "));
    match(stderr, message);
  }
});

Deno.test("verify says which input cannot be read, and exits with 3", async () => {
  await using world = await World.make();
  const { status, stderr } = await run(world, [
    "--checkpoint=/nonexistent/checkpoint",
    `--depot-root=${world.root}`,
  ]);
  strictEqual(status, 3);
  match(stderr, /\/nonexistent\/checkpoint/);
});

Deno.test("verify --help is its help, and names every option that there is", async () => {
  await using world = await World.make();
  const { status, stdout } = await run(world, ["--help"]);
  deepStrictEqual([status, stdout], [0, HELP]);
});

Deno.test("verify takes sizes with suffixes, and bounds what it recalls by them", async () => {
  await using world = await World.make();
  await world.store();
  for (const path of await world.paths()) await world.evict(path);
  const { status, stdout } = await run(world, [
    `--checkpoint=${world.checkpoint}`,
    "--config=x",
    "--depth=content",
    "--max-recall-bytes=0K",
    "--bandwidth=1GiB",
    "--json",
  ]);
  const object = JSON.parse(stdout);
  deepStrictEqual([status, object.bytes_recalled, object.deferred], [0, 0, 6]);
});

Deno.test("verify as a program writes the same, and exits with the same status", async () => {
  await using world = await World.make();
  for (const status of [0, 1, 3, 2]) {
    if (status === 1) await Deno.remove(`${world.root}/${GZ}`);
    if (status === 3) await Deno.truncate(world.checkpoint, 900);
    const { code, stdout } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--allow-all",
        "--no-check",
        new URL("verify_main.ts", import.meta.url).pathname,
        ...base(world),
        ...(status === 2 ? ["--what"] : ["--json", "--scratch", world.directory]),
      ],
    }).output();
    strictEqual(code, status);
    if (status === 2) continue;
    const { findings, complete } = JSON.parse(new TextDecoder().decode(stdout));
    deepStrictEqual([findings.length > 0, complete], [status !== 0, status !== 3]);
  }
});
