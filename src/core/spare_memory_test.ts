import { notStrictEqual, strictEqual } from "node:assert/strict";
import { SpareMemory } from "./spare_memory.ts";

Deno.test("memory that was given back is used again, and only so much is kept", () => {
  const spare = new SpareMemory({ bytesEach: 200_000, countMax: 1 });
  const [a, b] = [spare.take(100_000), spare.take(200_000)];
  strictEqual(a.length, 100_000);
  notStrictEqual(a.buffer, b.buffer);
  spare.give(a);
  spare.give(b);
  const again = spare.take(150_000);
  strictEqual(again.length, 150_000);
  strictEqual(again.buffer, a.buffer);
  notStrictEqual(spare.take(150_000).buffer, b.buffer);
});

Deno.test("small memory, and what is larger than any kept, is new each time", () => {
  const spare = new SpareMemory({ bytesEach: 200_000, countMax: 4 });
  for (const size of [10, 200_001]) {
    const memory = spare.take(size);
    strictEqual(memory.buffer.byteLength, size);
    spare.give(memory);
    notStrictEqual(spare.take(size).buffer, memory.buffer);
  }
});
