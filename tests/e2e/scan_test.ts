/**
 * Starts that do not compare the whole depot at once: with `skip_startup_scan`, and as
 * `read_only`. As programs: what a person sees is what `p4-cache status` prints.
 *
 * @module
 */

import { deepStrictEqual, ok, strictEqual, throws } from "node:assert/strict";
import { Rig, until } from "../crash/rig.ts";

const SKIPS = { "skip_startup_scan": true, "background_scan_files_per_sec": 1 };
const EVICTS_ALL = { "max_cache_bytes": 1, "low_watermark_bytes": 0 };
const KEEPS_ALL = { "max_cache_bytes": 0, "low_watermark_bytes": null };

async function writeArchives(rig: Rig, count: number, prefix: string): Promise<void> {
  await Deno.mkdir(`${rig.depot}/d`, { recursive: true });
  for (let i = 0; i < count; i++) {
    await Deno.writeTextFile(`${rig.depot}/d/tmp.1`, `${prefix} ${i}\n`);
    await Deno.rename(`${rig.depot}/d/tmp.1`, `${rig.depot}/d/${prefix}${i},v`);
  }
}

function namesIn(directory: string): string[] {
  return [...Deno.readDirSync(directory)].map(({ name }) => name)
    .filter((name) => name.endsWith(",v")).sort();
}

async function statusOf(rig: Rig): Promise<Record<string, unknown>> {
  const { output } = await rig.cli("status", "--json");
  return JSON.parse(output);
}

Deno.test("a start that skips its scan serves, says so, and finds what it slept through", async () => {
  await using rig = await Rig.open();
  strictEqual(await rig.start(), "ready", rig.log);
  await writeArchives(rig, 3, "before");
  await rig.drained();
  await rig.end("SIGTERM");
  await writeArchives(rig, 20, "meanwhile");
  await rig.configure(SKIPS);
  strictEqual(await rig.start(), "ready", rig.log);
  await until("the slow scan begins", () => rig.logCount(" ready ") === 2);
  strictEqual((await statusOf(rig)).scan, "catching-up");
  // At a file a second it would take half a minute: somebody waits for it.
  const { code, output } = await rig.cli("drain", "--wait");
  strictEqual(code, 0, output);
  strictEqual((await statusOf(rig)).scan, "scanned");
  strictEqual(await Deno.readTextFile(`${rig.store}/d/meanwhile19,v`), "meanwhile 19\n");
});

Deno.test("a read_only daemon restores, and neither watches, uploads, evicts nor deletes", async () => {
  await using rig = await Rig.open();
  strictEqual(await rig.start(), "ready", rig.log);
  await writeArchives(rig, 3, "old");
  await rig.drained();
  await rig.reload(EVICTS_ALL);
  await until("all is evicted", () => [...rig.names()].every(({ isMarker }) => isMarker));
  await rig.reload(KEEPS_ALL);
  await rig.end("SIGTERM");
  await rig.configure({ read_only: true, ...EVICTS_ALL });
  strictEqual(await rig.start(), "ready", rig.log);
  throws(() => rig.helperPid("p4-cache-fanotify"), /the daemon has no/);
  const client = rig.client();
  ok("sha256" in await client.ask("read", `${rig.depot}/d/old0,v`));
  await writeArchives(rig, 1, "new");
  deepStrictEqual(await client.ask("unlink", `${rig.depot}/d/old1,v`), { ok: true });
  const { readOnly, dirtyFiles, files, residentFiles } = await statusOf(rig);
  deepStrictEqual([readOnly, dirtyFiles, files, residentFiles], [true, 0, 3, 1]);
  // There is a file that the store does not have, and nobody who knows it.
  for (const command of [["drain"], ["drain", "--wait"], ["evict", "--all"]]) {
    const { code, output } = await rig.cli(...command);
    strictEqual(code, 78, output);
    ok(output.includes("this daemon is read_only"), output);
  }
  strictEqual((await rig.end("SIGTERM")).code, 0);
  deepStrictEqual([...rig.names()].filter(({ isMarker }) => !isMarker).length, 2);
  deepStrictEqual(namesIn(`${rig.store}/d`), ["old0,v", "old1,v", "old2,v"]);
});

Deno.test("the object of a file that was renamed between two starts stays, whatever becomes of its name", async () => {
  await using rig = await Rig.open();
  strictEqual(await rig.start(), "ready", rig.log);
  await writeArchives(rig, 1, "old");
  await writeArchives(rig, 1, "longer");
  await rig.drained();
  await rig.reload(EVICTS_ALL);
  await until("all is evicted", () => [...rig.names()].every(({ isMarker }) => isMarker));
  await rig.reload(KEEPS_ALL);
  await rig.end("SIGTERM");
  await Deno.rename(`${rig.depot}/d/old0,v`, `${rig.depot}/d/new,v`);
  strictEqual(await rig.start(), "ready", rig.log);
  await until("it is scanned", () => rig.logCount("scanned the depot") === 2);
  const client = rig.client();
  for (const name of ["old0,v", "longer0,v"]) {
    deepStrictEqual(await client.ask("unlink", `${rig.depot}/d/${name}`), { ok: true });
  }
  const stays = "objects of deleted files stay";
  await until("the sweep is through", () => rig.logCount(stays) === 1);
  deepStrictEqual(namesIn(`${rig.store}/d`), ["old0,v"]);
  const { heldObjects, allHeldBecause } = await statusOf(rig);
  deepStrictEqual([heldObjects, allHeldBecause], [1, null]);
  // As docs/operations.md says.
  const { code, output } = await rig.cli("undelete", `${rig.depot}/d/old0,v`);
  strictEqual(code, 0, output);
  await Deno.remove(`${rig.depot}/d/new,v`);
  ok("sha256" in await client.ask("read", `${rig.depot}/d/old0,v`));
});
