import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { isWanted, parseLogFilter } from "./log_filter.ts";

Deno.test("parseLogFilter() takes a level, and levels of single modules", () => {
  deepStrictEqual(parseLogFilter("warn"), { level: "warn", byModule: new Map() });
  deepStrictEqual(parseLogFilter("error, engine=debug,storage=info"), {
    level: "error",
    byModule: new Map([["engine", "debug"], ["storage", "info"]]),
  });
  deepStrictEqual(parseLogFilter("engine=debug")?.level, "info");
});

Deno.test("parseLogFilter() refuses what it does not understand", () => {
  for (
    const text of [
      "",
      "loud",
      "info,",
      "info,warn",
      "a=debug,a=info",
      "a=b=debug",
      "=info",
    ]
  ) {
    strictEqual(parseLogFilter(text), null, text);
  }
});

Deno.test("isWanted() asks the module's own level before the common one", () => {
  const filter = parseLogFilter("warn,engine=debug,storage=error")!;
  strictEqual(isWanted(filter, "debug", "engine"), true);
  strictEqual(isWanted(filter, "warn", "storage"), false);
  strictEqual(isWanted(filter, "warn", "gate"), true);
  strictEqual(isWanted(filter, "info"), false);
});
