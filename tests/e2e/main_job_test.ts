// deno-lint-ignore-file no-sync-fn-in-async-fn no-console -- a test looks at files; the seed is printed
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { run, Site, until } from "./site.ts";

const UPDATE = new URL("./rcs_update.py", import.meta.url).pathname;
const P4D_UID = 12_345;
const QUICK = { P4CACHE_RESTART_GRACE_MS: "300" };

Deno.test("300 cold opens succeed while the cache limit is one byte", async () => {
  await using site = await Site.open();
  const names = Array.from(
    { length: 300 },
    (_, i) => `${site.depot}/d/${i}.bin,d/1.${i}.gz`,
  );
  await site.start();
  for (const [i, name] of names.entries()) {
    await Deno.mkdir(name.replace(/\/[^/]*$/, ""), { recursive: true });
    await Deno.writeTextFile(name, `content of ${i}\n`);
  }
  await site.uploaded(300);
  await site.evictAll();
  const list = `${site.directory}/names`;
  await Deno.writeTextFile(list, names.join("\n"));
  const script = 'import sys\nfor n in open(sys.argv[1]).read().split("\\n"):\n' +
    "  print(open(n).read(), end='')\n";
  const { code, stdout, stderr } = await site.program(
    ["python3", "-c", script, list],
    { shim: true },
  );
  deepStrictEqual([code, stderr], [0, ""]);
  strictEqual(stdout, names.map((_, i) => `content of ${i}\n`).join(""));
});

for (const asUser of [false, true]) {
  const who = asUser ? "the depot's user" : "root";
  Deno.test(`an update of an evicted archive never shortens its history: ${who}`, async () => {
    await using site = await Site.open(asUser ? { uid: P4D_UID } : {});
    const archive = `${site.depot}/a,v`;
    const script = await site.copyIn(UPDATE);
    const update = (line: string, shim: boolean): Promise<string> =>
      site.program(["python3", script, archive, line], { shim, asUser, env: QUICK })
        .then(({ stdout }) => stdout.trim());
    await site.start();
    strictEqual(await update("1.1", true), "new");
    strictEqual(await update("1.2", true), "appended");
    await site.uploaded(1);
    await site.evictAll();

    // Without the shim, daemon up: the kernel's own answer, as loud as it gets.
    strictEqual(await update("x", false), "failed: ENXIO");
    strictEqual(await site.end("SIGTERM"), 0);
    // Daemon down: with the shim an error, never "no such file"; without it the same.
    strictEqual(await update("x", true), "failed: EIO");
    strictEqual(await update("x", false), "failed: ENXIO");
    const asRoot = { shim: true, env: QUICK };
    const { stdout } = await site.program(["python3", script, archive, "x"], asRoot);
    strictEqual(stdout.trim(), "failed: EIO");
    ok(Deno.lstatSync(archive).isSocket);

    await site.start();
    strictEqual(await update("1.3", true), "appended");
    strictEqual(Deno.readTextFileSync(archive), "1.1\n1.2\n1.3\n");
  });
}

Deno.test("a daemon that runs as p4d's user uploads, evicts and restores with the owner kept", async () => {
  await using site = await Site.open({ uid: P4D_UID });
  const path = `${site.depot}/a,v`;
  await site.start();
  await site.program(["sh", "-c", `echo hello > ${path}; chmod 444 ${path}`], {
    shim: false,
    asUser: true,
  });
  await site.uploaded(1);
  await site.evictAll();
  const { stdout } = await site.program(["cat", path], { shim: true, asUser: true });
  strictEqual(stdout, "hello\n");
  const { uid, gid, mode } = Deno.lstatSync(path);
  deepStrictEqual([uid, gid, mode! & 0o7777], [P4D_UID, P4D_UID, 0o444]);
});

Deno.test("a file of a user who is not allowed stays local and is not uploaded", async () => {
  await using site = await Site.open();
  await Deno.chmod(site.directory, 0o755);
  await Deno.chmod(site.depot, 0o777);
  await site.start();
  await run([
    "setpriv",
    "--reuid",
    "4321",
    "--regid",
    "4321",
    "--clear-groups",
    "sh",
    "-c",
    `echo foreign > ${site.depot}/a,v`,
  ]);
  await until(
    "it is counted",
    () => site.metric("p4cache_watcher_rejected_writer_total") === 1,
  );
  strictEqual(site.metric('p4cache_files{state="dirty"}'), 1);
  strictEqual(site.metric("p4cache_conflicts"), 1);
  const config = `${site.directory}/config.json`;
  const all = await site.cli("conflicts", "accept", "--all", "--config", config);
  strictEqual(all.code, 1);
  match(all.stderr, /^left, being foreign: 1 file; name them to decide$/m);
  const stored = await run(["find", site.store, "-name", "a,v*"]);
  strictEqual(stored.stdout, "");
});

Deno.test("a deleted file becomes a tombstone, and is not there for anybody", async () => {
  await using site = await Site.open();
  await site.start();
  await Deno.writeTextFile(`${site.depot}/a,v`, "text");
  await site.uploaded(1);
  await site.evictAll();
  strictEqual((await site.program(["rm", `${site.depot}/a,v`], { shim: true })).code, 0);
  await until(
    "it is counted",
    () => site.metric('p4cache_deletes_total{result="success"}') === 1,
  );
  const { code, stderr } = await site.program(["cat", `${site.depot}/a,v`], {
    shim: true,
  });
  strictEqual(code, 1);
  match(stderr, /No such file/);
  await until("the tombstone is seen", () => site.metric("p4cache_tombstones") === 1);
});

Deno.test("a file that was written while no daemon ran is uploaded after the start", async () => {
  await using site = await Site.open();
  await site.start();
  await Deno.writeTextFile(`${site.depot}/a,v`, "one\n");
  await site.uploaded(1);
  await until("the scan is over", () => site.log.includes("scanned the depot"));
  strictEqual(await site.end("SIGTERM"), 0);
  await Deno.writeTextFile(`${site.depot}/a,v`, "one\ntwo\n");
  await Deno.writeTextFile(`${site.depot}/b,v`, "new\n");
  await site.start();
  await site.uploaded(2);
  await site.evictAll();
  const { stdout } = await site.program(
    ["cat", `${site.depot}/a,v`, `${site.depot}/b,v`],
    { shim: true },
  );
  strictEqual(stdout, "one\ntwo\nnew\n");
});

Deno.test("killed at random again and again, the daemon loses nothing", async () => {
  const seed = Number(Deno.env.get("SEED") ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`seed ${seed}`);
  const random = mulberry32(seed);
  await using site = await Site.open({ config: { max_cache_bytes: 40_000 } });
  const contents = new Map<string, string>();
  await site.start();
  for (let round = 0; round < 6; round++) {
    for (let i = 0; i < 40; i++) {
      const name = `${site.depot}/f${Math.floor(random() * 60)},v`;
      const content = `${round}.${i} `.repeat(1 + Math.floor(random() * 500));
      await Deno.writeTextFile(`${site.depot}/tmp.1.${i}`, content);
      await Deno.rename(`${site.depot}/tmp.1.${i}`, name);
      contents.set(name, content);
    }
    const read = [...contents.keys()][Math.floor(random() * contents.size)]!;
    const reader = site.program(["cat", read], { shim: true });
    await new Promise((resolve) => setTimeout(resolve, random() * 1_500));
    await site.end("SIGKILL");
    await site.start();
    strictEqual((await reader).stdout, contents.get(read));
  }
  await site.uploaded(contents.size);
  await site.evictAll();
  for (const [name, content] of contents) {
    const { stdout } = await site.program(["cat", name], { shim: true });
    strictEqual(stdout, content, `${name}, seed ${seed}`);
  }
});

/** A small seeded generator, in [0, 1). */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

Deno.test("a directory of evicted files that p4d renames has left its old name for good", async () => {
  await using site = await Site.open();
  await site.start();
  await Deno.mkdir(`${site.depot}/old`);
  for (let i = 0; i < 50; i++) {
    await Deno.writeTextFile(`${site.depot}/old/${i},v`, `content of ${i}\n`);
  }
  await site.uploaded(50);
  await site.evictAll();
  const script = `
import os, sys
os.rename("old", "new")
for i in range(50):
    try:
        open("old/%d,v" % i)
        print("old name is back", i)
    except FileNotFoundError:
        pass
    if open("new/%d,v" % i).read() != "content of %d\\n" % i: print("wrong", i)
print(sorted(os.listdir(".")))`;
  const { stdout, stderr } = await site.program(
    ["sh", "-c", `cd ${site.depot} && exec python3 -c '${script}'`],
    { shim: true },
  );
  deepStrictEqual([stdout.trim(), stderr], ["['.p4cache', 'new']", ""]);
});
