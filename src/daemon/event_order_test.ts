import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { EventOrder } from "./event_order.ts";

/** Work that ends when it is told to, and says when it began and ended. */
class Steps {
  readonly said: string[] = [];
  readonly #ends = new Map<string, () => void>();

  work(name: string): () => Promise<void> {
    return () => {
      this.said.push(`${name} begins`);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#ends.set(name, resolve);
      return promise;
    };
  }

  async end(name: string): Promise<void> {
    this.#ends.get(name)!();
    // Everything that hangs on it has had its turn.
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}

Deno.test("on() runs work on different names at once, and on one name in order", async () => {
  const order = new EventOrder();
  const steps = new Steps();
  order.on(["a", "b"], steps.work("a to b"));
  order.on(["c"], steps.work("c"));
  order.on(["b", "d"], steps.work("b to d"));
  order.on(["d"], steps.work("d"));
  deepStrictEqual(steps.said, ["a to b begins", "c begins"]);
  await steps.end("c");
  await steps.end("a to b");
  await steps.end("b to d");
  deepStrictEqual(steps.said, [
    "a to b begins",
    "c begins",
    "b to d begins",
    "d begins",
  ]);
  await steps.end("d");
  await order.settled();
  strictEqual(order.size, 0);
});

Deno.test("onAll() waits for everything before it, and everything after waits for it", async () => {
  const order = new EventOrder();
  const steps = new Steps();
  order.on(["a"], steps.work("a"));
  order.onAll(steps.work("tree"));
  order.on(["b"], steps.work("b"));
  order.onAll(steps.work("tree again"));
  deepStrictEqual(steps.said, ["a begins"]);
  await steps.end("a");
  await steps.end("tree");
  deepStrictEqual(steps.said, ["a begins", "tree begins", "b begins"]);
  await steps.end("b");
  deepStrictEqual(steps.said.at(-1), "tree again begins");
  await steps.end("tree again");
  strictEqual(order.size, 0);
});

Deno.test("settled() waits for what was asked for before it", async () => {
  const order = new EventOrder();
  const steps = new Steps();
  order.on(["a"], steps.work("a"));
  let isSettled = false;
  const settled = order.settled().then(() => isSettled = true);
  order.on(["b"], steps.work("b"));
  strictEqual(isSettled, false);
  await steps.end("a");
  await settled;
  await steps.end("b");
});
