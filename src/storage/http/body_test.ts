import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { InvariantError } from "../../core/assert.ts";
import { type Body, EMPTY_BODY, handOver, takeBody } from "./body.ts";

const cancelled: string[] = [];

function bodyNamed(name: string): Body {
  return { ...EMPTY_BODY, cancel: () => void cancelled.push(name) };
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

Deno.test("takeBody() takes the exchange's body, and none that comes beside it", async () => {
  const [content, token] = [bodyNamed("content"), bodyNamed("token")];
  const { output, body } = await takeBody(async (exchange) => {
    strictEqual(handOver(token), false);
    const output = await exchange(async () => {
      await nextTurn();
      strictEqual(handOver(content), true);
      return "output";
    });
    strictEqual(handOver(token), false);
    return output;
  });
  deepStrictEqual([output, body], ["output", content]);
  strictEqual(handOver(content), false);
});

Deno.test("a download with two bodies fails, and leaves neither open", async () => {
  cancelled.length = 0;
  await rejects(() =>
    takeBody((exchange) =>
      exchange(async () => {
        handOver(bodyNamed("first"));
        await nextTurn();
        handOver(bodyNamed("second"));
      })
    ), InvariantError);
  deepStrictEqual(cancelled, ["second", "first"]);
});

Deno.test("a download that fails after its body came cancels it", async () => {
  cancelled.length = 0;
  await rejects(() =>
    takeBody(async (exchange) => {
      await exchange(() => Promise.resolve(handOver(bodyNamed("content"))));
      throw new Error("the headers are nonsense");
    }), /nonsense/);
  deepStrictEqual(cancelled, ["content"]);
});
