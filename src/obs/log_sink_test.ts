import { strictEqual } from "node:assert/strict";
import { tellingOfLosses } from "./log_sink.ts";

/** A disk with so much room left, which the test can change. */
class SmallDisk {
  room = Infinity;
  content = "";

  readonly write = (bytes: Uint8Array): number => {
    const count = Math.min(bytes.length, this.room);
    this.content += new TextDecoder().decode(bytes.subarray(0, count));
    this.room -= count;
    return count;
  };
}

const TIME = "2026-03-01T10:00:00.000Z";

Deno.test("tellingOfLosses() tells how many lines a full disk cost, before the next one", () => {
  const disk = new SmallDisk();
  const write = tellingOfLosses(disk.write);
  write(`${TIME} INFO  one\n`);
  disk.room = 0;
  write(`${TIME} INFO  lost\n`);
  write(`${TIME} INFO  lost too\n`);
  disk.room = Infinity;
  write(`${TIME} INFO  two\n`);
  write(`${TIME} INFO  three\n`);
  strictEqual(
    disk.content,
    `${TIME} INFO  one\n` +
      `${TIME} WARN  Lines of the log that could not be written here: 2\n` +
      `${TIME} INFO  two\n${TIME} INFO  three\n`,
  );
});

Deno.test("tellingOfLosses() ends a line that was cut off, and keeps to JSON", () => {
  const disk = new SmallDisk();
  const write = tellingOfLosses(disk.write);
  disk.room = 5;
  write(`{"ts":"${TIME}","message":"cut"}\n`);
  write(`{"ts":"${TIME}","message":"lost"}\n`);
  disk.room = Infinity;
  write(`{"ts":"${TIME}","message":"whole"}\n`);
  strictEqual(
    disk.content,
    `{"ts"\n{"ts":"${TIME}","level":"warn",` +
      '"message":"Lines of the log that could not be written here: 2"}\n' +
      `{"ts":"${TIME}","message":"whole"}\n`,
  );
});

Deno.test("tellingOfLosses() adds no empty line where the cut came at a line's end", () => {
  const disk = new SmallDisk();
  const write = tellingOfLosses(disk.write);
  disk.room = 0;
  write("a lost line that is long enough\n");
  const note = `${TIME} WARN  Lines of the log that could not be written here: 1\n`;
  disk.room = note.length;
  write(`${TIME} lost\n`);
  disk.room = Infinity;
  write(`${TIME} whole\n`);
  strictEqual(disk.content, `${note}${note.replace("1\n", "2\n")}${TIME} whole\n`);
});
