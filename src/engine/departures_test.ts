import { deepStrictEqual } from "node:assert/strict";
import { parseDepotPath } from "../core/names.ts";
import { Departures } from "./departures.ts";

const at = parseDepotPath;

function rowsOf(departures: Departures, ...names: string[]): (string | null)[] {
  return names.map((name) => departures.rowOf(at(name)));
}

Deno.test("a name is found where its row has gone with its directories, and only that", () => {
  const departures = new Departures();
  for (const name of ["d/a,v", "d/s/b,v", "dd/c,v"]) departures.note(at(name));
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
  for (const name of ["d/a,v", "d/b,v"]) departures.note(at(name));
  departures.moved(at("d"), at("e"), () => true);
  // The file that came to e/a,v is gone as well: both names mean it.
  departures.note(at("e/a,v"));
  deepStrictEqual(rowsOf(departures, "d/a,v", "e/a,v"), ["e/a,v", "e/a,v"]);
  departures.forget(at("e/a,v"));
  departures.forgetTold(at("d/b,v"));
  deepStrictEqual(rowsOf(departures, "d/a,v", "e/a,v", "d/b,v"), [null, null, null]);
});

Deno.test("a name is forgotten when a directory brings another file to it, and no other name", () => {
  const departures = new Departures();
  for (const name of ["e/a,v", "e/b,v"]) departures.note(at(name));
  departures.moved(at("d"), at("e"), (path) => path === "d/a,v");
  departures.moved(at("e"), at("f"), () => true);
  deepStrictEqual(rowsOf(departures, "e/a,v", "e/b,v"), [null, "f/b,v"]);
});
