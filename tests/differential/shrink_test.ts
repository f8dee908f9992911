import { deepStrictEqual } from "node:assert/strict";
import { minimize, relatedOps } from "./shrink.ts";

Deno.test("relatedOps() follows a file through its names, and leaves the others out", () => {
  const lines = [
    "open\topen\ta\tg0/a,v\twc\t420\t9\t1\t0",
    "stat\tstat\ta\tg0/b,v",
    "rename\trename\ta\tg0/a,v\ta\tg0/s/1.1",
    "hold\t0\ta\tg0/s/1.1\tr",
    "rename\trename\ta\tg0/s\ta\tg0/n",
    "stat\tstat\ta\tg1/a,v",
    "open\topen\ta\tg0/n/1.1\tr\t420\t0\t0\t0",
  ];
  deepStrictEqual(relatedOps(lines, 6), [0, 2, 4, 6]);
});

Deno.test("minimize() finds the items that fail together", async () => {
  const items = Array.from({ length: 64 }, (_, i) => i);
  const fails = (subset: readonly number[]): Promise<boolean> =>
    Promise.resolve([7, 8, 50].every((it) => subset.includes(it)));
  deepStrictEqual(await minimize(items, fails, () => true), [7, 8, 50]);
  let tries = 3;
  const some = await minimize(items, fails, () => tries-- > 0);
  deepStrictEqual([7, 8, 50].every((it) => some.includes(it)), true);
});
