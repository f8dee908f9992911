import { deepStrictEqual, rejects, strictEqual, throws } from "node:assert/strict";
import { InvariantError } from "../core/assert.ts";
import { Places } from "./limiting_backend.ts";

Deno.test("run() holds no more work than places, first come, first served", async () => {
  const places = new Places(2);
  const gates = [0, 1, 2, 3].map(() => Promise.withResolvers<void>());
  const begun: number[] = [];
  const all = gates.map((gate, i) =>
    places.run(() => {
      begun.push(i);
      return gate.promise;
    })
  );
  await Promise.resolve();
  deepStrictEqual(begun, [0, 1]);
  gates[1]!.resolve();
  await all[1];
  await Promise.resolve();
  deepStrictEqual(begun, [0, 1, 2]);
  gates.forEach((gate) => gate.resolve());
  await Promise.all(all);
  deepStrictEqual(begun, [0, 1, 2, 3]);
});

Deno.test("run() gives the place back when the work fails", async () => {
  const places = new Places(1);
  await rejects(() => places.run(() => Promise.reject(new Error("no"))), /no/);
  strictEqual(await places.run(() => Promise.resolve(1)), 1);
});

Deno.test("run() waits no longer than its signal, and takes no place then", async () => {
  const places = new Places(1);
  const gate = Promise.withResolvers<void>();
  const first = places.run(() => gate.promise);
  const abort = new AbortController();
  const reason = new Error("stop");
  let isRun = false;
  const second = places.run(() => Promise.resolve(isRun = true), abort.signal);
  const third = places.run(() => Promise.resolve(3));
  abort.abort(reason);
  await rejects(() => second, (error) => error === reason);
  gate.resolve();
  await first;
  strictEqual(await third, 3);
  strictEqual(isRun, false);
});

Deno.test("there is at least one place", () => {
  for (const count of [0, -1, 1.5, NaN]) throws(() => new Places(count), InvariantError);
});
