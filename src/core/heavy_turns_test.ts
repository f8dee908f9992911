import { deepStrictEqual, rejects } from "node:assert/strict";
import { setImmediate } from "node:timers";
import { HeavyTurns } from "./heavy_turns.ts";

Deno.test("work that is ready together is done in its order, one piece a turn", async () => {
  const turns = new HeavyTurns();
  let turn = 0;
  let isCounting = true;
  const count = (): void => {
    turn += 1;
    if (isCounting) setImmediate(count);
  };
  setImmediate(count);
  const done: [string, number][] = [];
  await Promise.all(
    ["a", "b", "c"].map((name) => turns.run(() => done.push([name, turn]))),
  );
  isCounting = false;
  deepStrictEqual(done.map(([name]) => name), ["a", "b", "c"]);
  deepStrictEqual(new Set(done.map(([, at]) => at)).size, 3);
  await new Promise((resolve) => setImmediate(resolve));
});

Deno.test("work that fails lets the next one go on", async () => {
  const turns = new HeavyTurns();
  const failing = turns.run(() => {
    throw new RangeError("no");
  });
  const next = turns.run(() => "done");
  await rejects(failing, RangeError);
  deepStrictEqual(await next, "done");
  await new Promise((resolve) => setImmediate(resolve));
});
