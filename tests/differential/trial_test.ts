import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { everythingEvicted, openSite } from "./site.ts";
import { buildActor, Trial } from "./trial.ts";

const WRITE = "open\topen\ta\td/a,v\twc\t420\t9\t1\t1000000";
const READ = "open\topen\ta\td/a,v\tr\t420\t0\t0\t0";

Deno.test("a depot without the shim differs at the first file that is evicted, and with it does not", async () => {
  for (const env of [{ P4CACHE_DISABLE: "1" }, {}]) {
    await using site = await openSite();
    const trial = new Trial(site, await buildActor(site.directory), env);
    await trial.open(["p0t0"]);
    strictEqual(await site.start(), "ready", site.stderr);
    const scripts = [
      ["mkdir\ta\td\t493", WRITE, READ],
      ["stat\tstat\ta\td", READ, "stat\tstat\ta\td/a,v"],
    ].map((lines) => [[{ stem: "p0t0", lines }]]);
    await trial.play("first", scripts[0]!);
    await everythingEvicted(site);
    await trial.play("second", scripts[1]!);
    deepStrictEqual((await trial.follow("first", scripts[0]!, false)).divergences, []);
    const { divergences, met } = await trial.follow("second", scripts[1]!, false);
    if ("P4CACHE_DISABLE" in env) {
      strictEqual(divergences.length, 1);
      strictEqual(divergences[0]!.index, 1);
      match(divergences[0]!.depot, /open!ENXIO/);
    } else {
      deepStrictEqual(divergences, []);
      strictEqual(met, 1, "only its opening met it evicted");
    }
  }
});

Deno.test("a call that a fault refused is not made on the plain directory, and nothing else differs", async () => {
  await using site = await openSite();
  const trial = new Trial(site, await buildActor(site.directory));
  await trial.open(["p0t0"]);
  strictEqual(await site.start(), "ready", site.stderr);
  const first = [[{ stem: "p0t0", lines: ["mkdir\ta\td\t493", WRITE] }]];
  const second = [[{
    stem: "p0t0",
    lines: ["open\topen\ta\td/a,v\twt\t420\t5\t2\t0", "list\treaddir\ta\td"],
  }]];
  await trial.play("first", first);
  await everythingEvicted(site);
  await Deno.rename(site.store, `${site.store}.away`);
  await trial.play("second", second);
  await Deno.rename(`${site.store}.away`, site.store);
  await trial.play("third", [[{ stem: "p0t0", lines: [READ] }]]);
  await trial.follow("first", first, false);
  const { divergences, tolerated } = await trial.follow("second", second, true);
  deepStrictEqual(divergences, []);
  strictEqual(tolerated, 1, "the truncating open was refused");
  const third = await trial.follow("third", [[{ stem: "p0t0", lines: [READ] }]], false);
  deepStrictEqual(third.divergences, [], "the file was left alone on both sides");
});
