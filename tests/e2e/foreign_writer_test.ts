/**
 * Whose write is uploaded when the writer has ended before anybody could ask him.
 *
 * @module
 */

import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { run, Site, until } from "./site.ts";

const P4D_UID = 12_345;
const STRANGER_UID = 4_321;

/** Runs `text` as `uid` while the watcher stands still: its processes are gone when it looks. */
async function whileNobodyLooks(site: Site, uid: number, text: string): Promise<void> {
  const watcher = site.helperPid("p4-cache-fanotify");
  const identity = [`--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"];
  Deno.kill(watcher, "SIGSTOP");
  const { code, stderr } = await run([
    ...["setpriv", ...identity],
    ...["sh", "-ec", text, "sh", site.depot],
  ]);
  Deno.kill(watcher, "SIGCONT");
  deepStrictEqual([code, stderr], [0, ""]);
}

Deno.test("who may write p4d's file, and ends at once, does not pass for p4d", async () => {
  await using site = await Site.open({ uid: P4D_UID });
  await site.start();
  await whileNobodyLooks(site, P4D_UID, 'umask 0; echo 1 >"$1/a,v"');
  await site.uploaded(1);
  await whileNobodyLooks(site, STRANGER_UID, 'echo stranger >"$1/a,v"');
  const rejected = "p4cache_watcher_rejected_writer_total";
  await until("it is counted", () => site.metric(rejected) === 1);
  match(site.log, /others than the file's owner may write it; kept local, not uploaded/);
  strictEqual(site.metric("p4cache_conflicts"), 1);
  const stored = await run(["grep", "-rl", "stranger", site.store], {}, true);
  deepStrictEqual([stored.code, stored.stdout], [1, ""]);
});

Deno.test("what p4d makes is its own, with any umask, also when its child has ended", async () => {
  await using site = await Site.open({ uid: P4D_UID });
  await site.start();
  const made = Array.from({ length: 50 }, (_, i) => `1.${i}.gz`);
  // As p4d does: a `,d` file in one go; an archive by another name, closed, its mode, renamed.
  const text = `umask 0; mkdir "$1/a,d"; for i in ${made.join(" ")}; do ` +
    `sh -c 'echo "$2" >"$1/a,d/$2"' sh "$1" $i; done; ` +
    'echo 1 >"$1/tmp.1"; chmod 444 "$1/tmp.1"; mv "$1/tmp.1" "$1/a,v"';
  await whileNobodyLooks(site, P4D_UID, text);
  await site.uploaded(made.length + 1);
  strictEqual(site.metric("p4cache_conflicts"), 0);
  strictEqual(site.metric("p4cache_watcher_rejected_writer_total"), 0);
});
