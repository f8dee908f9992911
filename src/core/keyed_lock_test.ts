import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { KeyedLock } from "./keyed_lock.ts";

Deno.test("run() lets one holder of a key in at a time, in the order of the calls", async () => {
  const lock = new KeyedLock();
  const log: string[] = [];
  const gate = Promise.withResolvers<void>();
  const first = lock.run("a", async () => {
    log.push("first in");
    await gate.promise;
    log.push("first out");
  });
  const second = lock.run("a", () => Promise.resolve(void log.push("second")));
  const other = lock.run("b", () => Promise.resolve(void log.push("other")));
  await other;
  deepStrictEqual(log, ["first in", "other"]);
  gate.resolve();
  await Promise.all([first, second]);
  deepStrictEqual(log, ["first in", "other", "first out", "second"]);
});

Deno.test("settled() waits for the keys of now with that beginning, and for no other", async () => {
  const lock = new KeyedLock();
  const [below, beside] = [1, 2].map(() => Promise.withResolvers<void>());
  const log: string[] = [];
  const held = lock.run("d/a", () => below!.promise);
  const other = lock.run("e/a", () => beside!.promise);
  const settled = lock.settled("d/").then(() => log.push("settled"));
  const later = lock.run("d/b", () => beside!.promise);
  log.push("below ends");
  below!.resolve();
  await settled;
  deepStrictEqual(log, ["below ends", "settled"]);
  beside!.resolve();
  await Promise.all([held, other, later, lock.idle()]);
});

Deno.test("run() lets the next one in after a failure", async () => {
  const lock = new KeyedLock();
  const failing = lock.run("a", () => Promise.reject(new Error("no")));
  const next = lock.run("a", () => Promise.resolve(7));
  await rejects(failing, /no/);
  strictEqual(await next, 7);
});
