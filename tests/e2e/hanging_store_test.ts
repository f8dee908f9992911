/**
 * A store that hangs, as a hard NFS mount does whose server is gone: every call that meets it
 * stays in the kernel. Here it is the open of a FIFO that nobody writes to, in place of the
 * objects' sidecars, which are read for objects that are not small.
 *
 * @module
 */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { run, Site, until } from "./site.ts";

/** More than the process has threads for blocking calls, 32. */
const FILES = 40;

/** As many may be in the kernel: see nfs_backend.ts. */
const CALLS_MAX = 12;

/** More than is read in one call. */
const FILE_BYTES = 1_100_000;

function contentOf(name: string): string {
  return `content of ${name}`.padEnd(FILE_BYTES);
}

function sidecarOf(site: Site, name: string): string {
  return `${site.store}/.p4cache-storage/meta/${name}`;
}

/** The FIFO has a second name, so that whoever waits in it can be let go. */
async function hang(site: Site, name: string): Promise<void> {
  const fifo = `${site.directory}/fifo-${name}`;
  await run(["mkfifo", fifo]);
  await Deno.rename(sidecarOf(site, name), `${fifo}.sidecar`);
  await Deno.link(fifo, sidecarOf(site, name));
}

/** Puts the sidecar back first, so that nobody comes to wait any more. */
async function letGo(site: Site, names: readonly string[]): Promise<void> {
  for (const name of names) {
    await Deno.rename(`${site.directory}/fifo-${name}.sidecar`, sidecarOf(site, name));
  }
  const script = "import os, sys\nfor f in sys.argv[1:]:\n  try:\n" +
    "    os.close(os.open(f, os.O_WRONLY | os.O_NONBLOCK))\n" +
    "  except OSError: pass\n";
  const fifos = names.map((name) => `${site.directory}/fifo-${name}`);
  await run(["python3", "-c", script, ...fifos]);
}

/** Reads all files at once, and prints how many had their content. */
const READ_ALL = `
import sys, threading
good = []
def read(name):
    if open(name).read().rstrip() == "content of " + name.rsplit("/", 1)[1]: good.append(name)
threads = [threading.Thread(target=read, args=(n,)) for n in sys.argv[1:]]
for t in threads: t.start()
for t in threads: t.join()
print(len(good))
`;

Deno.test("a store that hangs holds up those who need it, and nobody else", async () => {
  await using site = await Site.open({ config: { restore_threads: 100 } });
  await site.start();
  const names = Array.from({ length: FILES }, (_, i) => `${i},v`);
  for (const name of names) {
    await Deno.writeTextFile(`${site.depot}/${name}`, contentOf(name));
  }
  await site.uploaded(FILES);
  await site.evictAll();
  await site.configure({ max_cache_bytes: 2 ** 30 });
  for (const name of names) await hang(site, name);
  const paths = names.map((name) => `${site.depot}/${name}`);
  const reading = site.program(["python3", "-c", READ_ALL, ...paths], { shim: true });
  const inKernel = (): number => blockedThreads(site.pid);
  await until("the mount holds all calls that it may", () => inKernel() >= CALLS_MAX);
  strictEqual(inKernel(), CALLS_MAX, "no call more");

  const config = ["--config", `${site.directory}/config.json`];
  const status = async (): Promise<Record<string, number>> =>
    JSON.parse((await site.cli("status", "--json", ...config)).stdout);
  strictEqual((await status()).residentFiles, 0);
  await Deno.writeTextFile(`${site.depot}/new,v`, "written meanwhile");
  await until(
    "the new file is seen",
    () => site.metric('p4cache_files{state="total"}') > FILES,
  );
  const local = await site.program(["cat", `${site.depot}/new,v`], { shim: true });
  strictEqual(local.stdout, "written meanwhile");
  const listed = await site.program(["stat", "-c", "%s %F", paths[0]!], { shim: true });
  strictEqual(listed.stdout, `${FILE_BYTES} regular file\n`);
  strictEqual(
    (await site.program(["rm", `${site.depot}/new,v`], { shim: true })).code,
    0,
  );
  await until(
    "the delete is taken in",
    () => site.metric('p4cache_files{state="total"}') === FILES,
  );

  await letGo(site, names);
  deepStrictEqual((await reading).stdout, `${FILES}\n`);
  strictEqual(await site.end("SIGTERM"), 0);
});

Deno.test("a daemon ends while its store hangs", async () => {
  await using site = await Site.open();
  await site.start();
  await Deno.writeTextFile(`${site.depot}/a,v`, contentOf("a,v"));
  await site.uploaded(1);
  await site.evictAll();
  await hang(site, "a,v");
  const reading = site.program(["cat", `${site.depot}/a,v`], {
    shim: true,
    env: { P4CACHE_RESTART_GRACE_MS: "100" },
  });
  await until("the call is in the kernel", () => blockedThreads(site.pid) === 1);
  strictEqual(await site.end("SIGTERM"), 0);
  ok((await reading).stderr.includes("Input/output error"));
  await letGo(site, ["a,v"]);
});

/** Threads of a process that wait in the open of a FIFO. */
function blockedThreads(pid: number): number {
  let count = 0;
  for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
    try {
      const where = Deno.readTextFileSync(`/proc/${pid}/task/${name}/wchan`);
      if (where === "wait_for_partner") count += 1;
    } catch { /* it has ended */ }
  }
  return count;
}
