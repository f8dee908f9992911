/**
 * Deletes that reach the daemon late, because its gate had died or its watcher does not tell: what
 * was deleted stays deleted, and nothing else goes.
 *
 * @module
 */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { type Client, Rig, until } from "../crash/rig.ts";

const NAMES = ["a,v", "b,v", "c,v", "d,v"];

interface Place {
  readonly rig: Rig;
  readonly client: Client;
}

/** Archives in `directory`, all of them evicted. */
async function evictedIn(rig: Rig, directory: string): Promise<void> {
  await Deno.mkdir(`${rig.depot}/${directory}`);
  for (const name of NAMES) {
    await Deno.writeTextFile(`${rig.depot}/${directory}/tmp.1`, `${directory}/${name}\n`);
    await Deno.rename(
      `${rig.depot}/${directory}/tmp.1`,
      `${rig.depot}/${directory}/${name}`,
    );
  }
  await until("all is evicted", () => [...rig.names()].every(({ isMarker }) => isMarker));
}

async function openPlace(): Promise<Place & AsyncDisposable> {
  const rig = await Rig.open({ config: { max_cache_bytes: 1, low_watermark_bytes: 0 } });
  strictEqual(await rig.start(), "ready", rig.log);
  const client = rig.client();
  return { rig, client, [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose]() };
}

/** Until a scan of this start has looked at all names. */
async function startAndScan(rig: Rig): Promise<void> {
  const before = rig.logCount("scanned the depot");
  strictEqual(await rig.start(), "ready", rig.log);
  await until("the depot is scanned", () => rig.logCount("scanned the depot") > before);
}

function namesOf(rig: Rig): string[] {
  return [...rig.names()].map(({ path }) => path).sort();
}

Deno.test("what is deleted while the gate is dead stays so, also when its directory is renamed at once", async () => {
  await using place = await openPlace();
  const { rig, client } = place;
  await evictedIn(rig, "made");
  // The shim has its place in the program before the gate dies.
  ok("sha256" in await client.ask("read", `${rig.depot}/made/d,v`));
  // No other gate until all of it is done, and nobody who takes over what is written down.
  const gate = rig.helperPid("p4-cache-gate");
  Deno.kill(rig.pid, "SIGSTOP");
  Deno.kill(gate, "SIGKILL");
  for (const name of ["a,v", "b,v"]) {
    const deleted = await client.ask("unlink", `${rig.depot}/made/${name}`);
    deepStrictEqual(deleted, { ok: true });
  }
  const written = await Deno.readTextFile(
    `${rig.depot}/.p4cache/shim-failed-deletes.log`,
  );
  await Deno.rename(`${rig.depot}/made`, `${rig.depot}/moved`);
  Deno.kill(rig.pid, "SIGCONT");
  strictEqual(written.trimEnd().split("\n").length, 2);
  await until("it is taken over", () => rig.logCount("took over deletes") > 0);
  await rig.end("SIGKILL");
  await startAndScan(rig);
  deepStrictEqual(namesOf(rig), ["moved/c,v", "moved/d,v"]);
  for (const name of ["c,v", "d,v"]) {
    ok("sha256" in await client.ask("read", `${rig.depot}/moved/${name}`));
  }
});

Deno.test("while the watcher does not tell nothing is deleted or put back, and then what was written down is", async () => {
  await using place = await openPlace();
  const { rig, client } = place;
  await evictedIn(rig, "d");
  const watcher = rig.helperPid("p4-cache-fanotify");
  Deno.kill(watcher, "SIGSTOP");
  await Deno.rename(`${rig.depot}/d/a,v`, `${rig.depot}/d/e,v`);
  deepStrictEqual(await client.ask("unlink", `${rig.depot}/d/b,v`), { ok: true });
  deepStrictEqual(await client.ask("read", `${rig.depot}/d/a,v`), { errno: "EIO" });
  deepStrictEqual(namesOf(rig), ["d/c,v", "d/d,v", "d/e,v"]);
  Deno.kill(watcher, "SIGCONT");
  deepStrictEqual(await client.ask("read", `${rig.depot}/d/a,v`), { errno: "ENOENT" });
  ok("sha256" in await client.ask("read", `${rig.depot}/d/e,v`));
  await until("it is taken over", () => rig.logCount("took over deletes") > 0);
  await rig.end("SIGTERM");
  await startAndScan(rig);
  deepStrictEqual(namesOf(rig), ["d/c,v", "d/d,v", "d/e,v"]);
});
