import { deepStrictEqual } from "node:assert/strict";
import { ManualClock } from "../../tests/support/manual_clock.ts";
import { parseDepotPath } from "../core/names.ts";
import { Departures } from "./departures.ts";

const at = parseDepotPath;

function rowsOf(departures: Departures, ...names: string[]): (string | null)[] {
  return names.map((name) => departures.rowOf(at(name)));
}

Deno.test("a name is found where its row has gone with its directories, and only that", () => {
  const departures = new Departures();
  for (const name of ["d/a,v", "d/s/b,v", "dd/c,v"]) departures.note(at(name), 0);
  departures.moved(at("d"), at("e/f"), () => true);
  departures.moved(at("e"), at("g"), () => true);
  deepStrictEqual(rowsOf(departures, "d/a,v", "d/s/b,v", "dd/c,v", "g/f/a,v"), [
    "g/f/a,v",
    "g/f/s/b,v",
    "dd/c,v",
    null,
  ]);
});

Deno.test("a name is forgotten when its row is another file's, or another file of the name is gone", () => {
  const departures = new Departures();
  for (const name of ["d/a,v", "d/b,v"]) departures.note(at(name), 0);
  departures.moved(at("d"), at("e"), () => true);
  // The file that came to e/a,v is gone as well: both names mean it.
  departures.note(at("e/a,v"), 0);
  deepStrictEqual(rowsOf(departures, "d/a,v", "e/a,v"), ["e/a,v", "e/a,v"]);
  departures.forget(at("e/a,v"));
  departures.forgetTold(at("d/b,v"));
  deepStrictEqual(rowsOf(departures, "d/a,v", "e/a,v", "d/b,v"), [null, null, null]);
});

Deno.test("a name is forgotten when a directory brings another file to it, and no other name", () => {
  const departures = new Departures();
  for (const name of ["e/a,v", "e/b,v"]) departures.note(at(name), 0);
  departures.moved(at("d"), at("e"), (path) => path === "d/a,v");
  departures.moved(at("e"), at("f"), () => true);
  deepStrictEqual(rowsOf(departures, "e/a,v", "e/b,v"), [null, "f/b,v"]);
});

Deno.test("settled() waits for the delete of a name that was told to be gone, and no longer than the grace", async () => {
  const departures = new Departures();
  const clock = new ManualClock();
  const { signal } = new AbortController();
  const ended: string[] = [];
  const wait = (name: string): Promise<void> =>
    departures.settled(at(name), { clock, signal, graceMs: 5_000 })
      .then(() => void ended.push(name));
  for (const name of ["a,v", "b,v"]) departures.note(at(name), clock.monotonicMs());
  await clock.advance(1_000);
  const waiting = ["untold,v", "a,v", "b,v"].map(wait);
  await clock.advance(0);
  deepStrictEqual(ended, ["untold,v"]);
  departures.forget(at("a,v"));
  await clock.advance(0);
  deepStrictEqual(ended, ["untold,v", "a,v"]);
  await clock.advance(3_999);
  deepStrictEqual(ended.length, 2);
  await clock.advance(1);
  await Promise.all(waiting);
  // Told long ago: it is not waited for again.
  await wait("b,v");
});
