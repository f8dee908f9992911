import { deepStrictEqual } from "node:assert/strict";
import { formatBytes, GIB, KIB, MIB } from "./units.ts";

Deno.test("formatBytes() prints at most three digits and the unit that keeps them short", () => {
  const cases: readonly (readonly [number, string])[] = [
    [0, "0 B"],
    [999, "999 B"],
    [1_000, "0.977 KiB"],
    [KIB, "1 KiB"],
    [1_536 * KIB, "1.5 MiB"],
    [64 * MIB, "64 MiB"],
    [1_500 * GIB, "1.46 TiB"],
    [2 ** 53, "8 PiB"],
    [2_000 * 2 ** 50, "2000 PiB"],
  ];
  for (const [bytes, text] of cases) deepStrictEqual(formatBytes(bytes), text);
});
