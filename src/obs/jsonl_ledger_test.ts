import { deepStrictEqual, strictEqual, throws } from "node:assert/strict";
import { ManualClock } from "../../tests/support/manual_clock.ts";
import { LedgerError, openLedger } from "./jsonl_ledger.ts";

const TS = "2026-03-01T10:00:00.000Z";

function inDirectory(test: (path: string, clock: ManualClock) => void): void {
  const directory = Deno.makeTempDirSync();
  try {
    test(`${directory}/failed.log`, new ManualClock());
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

function linesOf(path: string): string[] {
  return Deno.readTextFileSync(path).split("\n");
}

Deno.test("append() adds one line a record, below what other runs have left", () =>
  inDirectory((path, clock) => {
    for (const op of ["upload", "delete"]) {
      const ledger = openLedger({ path, rotateMaxMb: 1, keep: 2, clock });
      ledger.append({ op, path: "a\nb" });
      ledger.close();
    }
    deepStrictEqual(linesOf(path), [
      `{"ts":"${TS}","op":"upload","path":"a\\nb"}`,
      `{"ts":"${TS}","op":"delete","path":"a\\nb"}`,
      "",
    ]);
    strictEqual(Deno.statSync(path).mode! & 0o777, 0o640);
  }));

Deno.test("append() leaves a line that a crash cut off to itself", () =>
  inDirectory((path, clock) => {
    Deno.writeTextFileSync(path, '{"op":"cut of');
    const ledger = openLedger({ path, rotateMaxMb: 1, keep: 2, clock });
    ledger.append({ n: 1 });
    ledger.append({ n: 2 });
    ledger.close();
    deepStrictEqual(linesOf(path), [
      '{"op":"cut of',
      `{"ts":"${TS}","n":1}`,
      `{"ts":"${TS}","n":2}`,
      "",
    ]);
  }));

Deno.test("append() rotates beyond the size and keeps as many files as it is told", () =>
  inDirectory((path, clock) => {
    const ledger = openLedger({ path, rotateMaxMb: 1, keep: 2, clock });
    const filler = "x".repeat(600_000);
    for (let n = 0; n < 5; n++) ledger.append({ n, filler });
    ledger.close();
    const numberIn = (name: string): number => JSON.parse(linesOf(name)[0]!).n;
    deepStrictEqual([path, `${path}.1`, `${path}.2`].map(numberIn), [4, 3, 2]);
    throws(() => Deno.statSync(`${path}.3`), Deno.errors.NotFound);
  }));

Deno.test("append() with nothing to keep still bounds the file", () =>
  inDirectory((path, clock) => {
    const ledger = openLedger({ path, rotateMaxMb: 1, keep: 0, clock });
    for (let n = 0; n < 3; n++) ledger.append({ n, filler: "x".repeat(600_000) });
    ledger.close();
    strictEqual(linesOf(path).length, 2);
    throws(() => Deno.statSync(`${path}.1`), Deno.errors.NotFound);
  }));

Deno.test("append() goes on in the file that it has when it cannot rotate", () =>
  inDirectory((path, clock) => {
    Deno.mkdirSync(`${path}.1`); // A file cannot be renamed over a directory.
    const ledger = openLedger({ path, rotateMaxMb: 1, keep: 1, clock });
    const filler = "x".repeat(600_000);
    for (let n = 0; n < 3; n++) ledger.append({ n, filler });
    ledger.close();
    const numbers = linesOf(path).filter((line) => line !== "").map((line) =>
      JSON.parse(line).n
    );
    deepStrictEqual(numbers, [0, 1, 2]);
  }));

Deno.test("openLedger() and append() say which file could not be written", () =>
  inDirectory((path, clock) => {
    throws(
      () => openLedger({ path: `${path}/x`, rotateMaxMb: 1, keep: 1, clock }),
      (error) => error instanceof LedgerError && error.message.includes(`${path}/x`),
    );
    const ledger = openLedger({ path, rotateMaxMb: 0, keep: 1, clock });
    ledger.close();
    throws(
      () => ledger.append({ n: 1 }),
      (error) => error instanceof LedgerError && error.message.includes(`to "${path}"`),
    );
  }));

Deno.test("openLedger() and a rotation write nothing where a link leads", () =>
  inDirectory((path, clock) => {
    const options = { path, rotateMaxMb: 1, keep: 1, clock };
    const other = `${path}-other`;
    Deno.writeTextFileSync(other, "other's");
    Deno.symlinkSync(other, path);
    throws(() => openLedger(options), LedgerError);
    Deno.removeSync(path);
    const ledger = openLedger(options);
    ledger.append({ filler: "x".repeat(600_000) });
    Deno.removeSync(path);
    Deno.symlinkSync(other, path);
    ledger.append({ filler: "x".repeat(600_000) }); // renames the link away
    ledger.close();
    deepStrictEqual([Deno.readTextFileSync(other), linesOf(path).length], ["other's", 2]);
  }));
