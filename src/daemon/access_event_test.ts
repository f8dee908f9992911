import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { parseAccessEvent } from "./access_event.ts";

const eventOf = (members: string): string =>
  `{"pid":1,"uid":0,"op":"open",${members},"result":"hot"}`;

Deno.test("parseAccessEvent() takes an event, with each byte of its path", () => {
  deepStrictEqual(
    parseAccessEvent(eventOf('"ts":1700000000123,"path":"d/\xe9\\u00ff,v"')),
    {
      atMs: 1_700_000_000_123,
      path: "d/\xe9\xff,v",
      result: "hot",
    },
  );
});

for (
  const ts of ["1e400", "-1e400", "-1", "0.5", "9007199254740992", "1e21", '"1"', "null"]
) {
  Deno.test(`parseAccessEvent() drops an event of the time ${ts}`, () => {
    strictEqual(parseAccessEvent(eventOf(`"ts":${ts},"path":"d/a,v"`)), null);
  });
}

for (
  const [what, line] of [
    ["a path that is no bytes", eventOf('"ts":1,"path":"d/\\u0161,v"')],
    ["an empty path", eventOf('"ts":1,"path":""')],
    ["a path that is no text", eventOf('"ts":1,"path":["d"]')],
    ["an unknown result", '{"ts":1,"path":"d/a,v","result":"warm"}'],
    ["a result by the name of a member", '{"ts":1,"path":"d/a,v","result":"__proto__"}'],
    ["a list", "[]"],
    ["null", "null"],
    ["half a line", '{"ts":1,"path":"d/a'],
  ]
) {
  Deno.test(`parseAccessEvent() drops ${what}`, () => {
    strictEqual(parseAccessEvent(line!), null);
  });
}

const droppedOf = (n: string): string =>
  `{"ts":1,"pid":1,"uid":0,"op":"dropped","n":${n},"id":"9f86d081884c7d65-13"}`;

Deno.test("parseAccessEvent() takes how many events the shim could not send", () => {
  deepStrictEqual(parseAccessEvent(droppedOf("37")), { droppedCount: 37 });
  deepStrictEqual(parseAccessEvent(droppedOf("4294967295")), {
    droppedCount: 4_294_967_295,
  });
});

for (const n of ["0", "-1", "0.5", "4294967296", "1e400", '"37"', "null"]) {
  Deno.test(`parseAccessEvent() drops a count of ${n} events`, () => {
    strictEqual(parseAccessEvent(droppedOf(n)), null);
  });
}
