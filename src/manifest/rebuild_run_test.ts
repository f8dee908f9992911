import { deepStrictEqual, rejects } from "node:assert/strict";
import { forEachSome } from "./rebuild_run.ts";

/** The runtime tells of a rejection that nobody took once all that can run has run. */
function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

Deno.test("the first failure ends a step, also while the next item is waited for", async () => {
  const begun: number[] = [];
  const failing = forEachSome(
    (async function* (): AsyncGenerator<number> {
      for (let item = 0; item < 100; item++) {
        yield item;
        await turn();
      }
    })(),
    (item) => {
      begun.push(item);
      return Promise.reject(new Error(`of ${item}`));
    },
  );
  await rejects(failing, { message: "of 0" });
  deepStrictEqual(begun.filter((item) => item > 1), []);
});

Deno.test("what was begun is waited for, whatever fails", async () => {
  const ended: number[] = [];
  const failing = forEachSome(
    (async function* (): AsyncGenerator<number> {
      for (let item = 0; item < 8; item++) yield await Promise.resolve(item);
      await turn();
      throw new Error("no next page");
    })(),
    async (item) => {
      for (let turns = 0; turns < 3; turns++) await turn();
      ended.push(item);
    },
  );
  await rejects(failing, { message: "no next page" });
  deepStrictEqual(ended, [0, 1, 2, 3, 4, 5, 6, 7]);
});
