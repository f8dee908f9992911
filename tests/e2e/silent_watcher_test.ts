/**
 * A watcher that hangs: what the daemon says of the store then, as programs that a person starts.
 *
 * @module
 */

import { match, strictEqual } from "node:assert/strict";
import { Rig } from "../crash/rig.ts";

Deno.test("while the watcher hangs nothing counts as drained, and status wants a person", async () => {
  await using rig = await Rig.open();
  strictEqual(await rig.start(), "ready", rig.log);
  strictEqual((await rig.cli("drain", "--wait")).code, 0);
  strictEqual((await rig.cli("drain")).code, 0);
  strictEqual((await rig.cli("status")).code, 0);

  const watcher = rig.helperPid("p4-cache-fanotify");
  Deno.kill(watcher, "SIGSTOP");
  try {
    await Deno.writeTextFile(`${rig.depot}/a,v`, "nobody has told of it");
    const drained = await rig.cli("drain", "--json");
    strictEqual(drained.code, 1, drained.output);
    const { isDrained, unprovenFiles } = JSON.parse(drained.output);
    strictEqual(isDrained, false);
    strictEqual(unprovenFiles, null);
    const { code, output } = await rig.cli("status");
    strictEqual(code, 1);
    match(output, /^ATTENTION whether the watcher reports everything cannot be told/m);
  } finally {
    Deno.kill(watcher, "SIGCONT");
  }
  await rig.drained();
  strictEqual((await rig.cli("drain", "--wait")).code, 0);
  strictEqual((await rig.cli("drain")).output, "drained\n");
  strictEqual((await rig.cli("status")).code, 0);
});
