import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { ManualClock } from "../../tests/support/manual_clock.ts";
import { LineQueue } from "./line_queue.ts";

const TIME = "2026-03-01T10:00:00.000Z";
const line = (text: string): string => `${TIME} INFO  ${text}\n`;

/** Takes as much at a time, when it reads at all. */
class Reader {
  taken = "";
  writes = 0;
  bytesMax = Infinity;
  /** What the next write fails with. */
  fault: Error | null = null;
  #stalled: PromiseWithResolvers<void> | null = null;

  stall(): void {
    this.#stalled = Promise.withResolvers();
  }

  goOn(): void {
    this.#stalled?.resolve();
    this.#stalled = null;
  }

  readonly write = async (bytes: Uint8Array): Promise<number> => {
    this.writes++;
    await this.#stalled?.promise;
    const { fault } = this;
    this.fault = null;
    if (fault !== null) throw fault;
    const count = Math.min(bytes.length, this.bytesMax);
    this.taken += new TextDecoder().decode(bytes.subarray(0, count));
    return count;
  };
}

Deno.test("push() never waits for a reader that has stalled, and neither does a stop for long", async () => {
  const reader = new Reader();
  const clock = new ManualClock();
  const queue = new LineQueue(reader.write, clock);
  reader.stall();
  for (let n = 0; n < 100; n++) queue.push(line(`${n}`));
  strictEqual(reader.writes, 1);
  let isSettled = false;
  const settled = queue.settled().then(() => isSettled = true);
  await clock.advance(1_000);
  strictEqual(isSettled, false);
  await clock.advance(1_000);
  await settled;
  strictEqual(reader.writes, 1);
});

Deno.test("lines come whole and in order, also what is said while others are written", async () => {
  const reader = new Reader();
  reader.bytesMax = 7;
  const queue = new LineQueue(reader.write, new ManualClock());
  queue.push(line("one"));
  queue.push(line("two"));
  await Promise.resolve();
  queue.push(line("three"));
  await queue.settled();
  queue.push(line("four"));
  await queue.settled();
  strictEqual(reader.taken, ["one", "two", "three", "four"].map(line).join(""));
});

Deno.test("lines beyond what is kept are lost, and their number stands where they are missing", async () => {
  const reader = new Reader();
  const queue = new LineQueue(reader.write, new ManualClock());
  const filler = "x".repeat(1_000_000);
  reader.stall();
  for (let n = 0; n < 7; n++) queue.push(line(`${n} ${filler}`));
  queue.push(line("short"));
  reader.goOn();
  await queue.settled();
  queue.push(line("later"));
  await queue.settled();
  const told = reader.taken.replaceAll(filler, "...").split("\n");
  deepStrictEqual(told, [
    ...["0 ...", "1 ...", "2 ...", "3 ..."].map((text) => line(text).trimEnd()),
    `${TIME} WARN  Lines of the log that could not be written here: 3`,
    line("short").trimEnd(),
    line("later").trimEnd(),
    "",
  ]);
});

Deno.test("a line that the reader refuses is told before the next one", async () => {
  const reader = new Reader();
  const queue = new LineQueue(reader.write, new ManualClock());
  reader.fault = new Deno.errors.BrokenPipe();
  queue.push(line("lost"));
  queue.push(line("two"));
  await queue.settled();
  const note = `${TIME} WARN  Lines of the log that could not be written here: 1\n`;
  strictEqual(reader.taken, note + line("two"));
});

Deno.test("what was lost at the end of a burst is told, though no line follows", async () => {
  const reader = new Reader();
  const queue = new LineQueue(reader.write, new ManualClock());
  reader.stall();
  const long = line("x".repeat(1_000));
  for (let n = 0; n < 5_000; n++) queue.push(long);
  reader.goOn();
  await queue.settled();
  const lines = reader.taken.trimEnd().split("\n");
  const lost = 5_000 - (lines.length - 1);
  strictEqual(
    lines.at(-1),
    `${TIME} WARN  Lines of the log that could not be written here: ${lost}`,
  );
  queue.push(line("next"));
  await queue.settled();
  strictEqual(reader.taken.endsWith(`: ${lost}\n${line("next")}`), true);
});
