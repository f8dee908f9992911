import { deepEqual, equal } from "node:assert/strict";
import { isWanted, parseLogFilter } from "./log_filter.ts";

Deno.test("parseLogFilter() takes a level, and levels of single modules", () => {
  deepEqual(parseLogFilter("warn"), { level: "warn", byModule: new Map() });
  deepEqual(parseLogFilter("error, engine=debug,storage=info"), {
    level: "error",
    byModule: new Map([["engine", "debug"], ["storage", "info"]]),
  });
  deepEqual(parseLogFilter("engine=debug")?.level, "info");
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
    equal(parseLogFilter(text), null, text);
  }
});

Deno.test("isWanted() asks the module's own level before the common one", () => {
  const filter = parseLogFilter("warn,engine=debug,storage=error")!;
  equal(isWanted(filter, "debug", "engine"), true);
  equal(isWanted(filter, "warn", "storage"), false);
  equal(isWanted(filter, "warn", "gate"), true);
  equal(isWanted(filter, "info"), false);
});
