import { deepEqual, equal, ok, throws } from "node:assert/strict";
import {
  type ControlRequest,
  encodeControlAnswer,
  encodeControlRequest,
  fittingCount,
  parseControlReply,
  parseControlRequest,
} from "./control.ts";
import { WireError } from "./wire_error.ts";

const GOLDEN: readonly (readonly [line: string, request: ControlRequest])[] = [
  ['P4CACHE/1 CONTROL {"op":"status"}', { op: "status" }],
  [
    'P4CACHE/1 CONTROL {"op":"evict","selection":"d\xe9","dryRun":true}',
    { op: "evict", selection: "d\xe9", dryRun: true },
  ],
  [
    'P4CACHE/1 CONTROL {"op":"pin","selection":"","pinned":false,"dryRun":false}',
    { op: "pin", selection: "", pinned: false, dryRun: false },
  ],
  [
    'P4CACHE/1 CONTROL {"op":"accept","path":"a\\"\\\\,v","dryRun":false}',
    { op: "accept", path: 'a"\\,v', dryRun: false },
  ],
  [
    'P4CACHE/1 CONTROL {"op":"conflicts","cursor":null}',
    { op: "conflicts", cursor: null },
  ],
  ['P4CACHE/1 CONTROL {"op":"drain","wait":true}', { op: "drain", wait: true }],
];

Deno.test("encodeControlRequest() and parseControlRequest() agree on the golden lines", () => {
  for (const [line, request] of GOLDEN) {
    equal(encodeControlRequest(request), line);
    deepEqual(parseControlRequest(line.slice(line.indexOf("{"))), request);
  }
  const tooLong = "\x01".repeat(800);
  equal(encodeControlRequest({ op: "accept", path: tooLong, dryRun: false }), null);
});

Deno.test("parseControlRequest() refuses what no client of ours sends", () => {
  const bad = [
    "{}",
    '{"op":"format"}',
    '{"op":"evict","selection":7,"dryRun":false}',
    '{"op":"evict","selection":"a"}',
    "[]",
    "{",
  ];
  for (const text of bad) throws(() => parseControlRequest(text), WireError, text);
});

Deno.test("an answer comes through in one line of ASCII, whatever its texts hold", () => {
  const line = encodeControlAnswer({ why: "a\nb\x7f\xe9\u20ac", n: 1 });
  ok(/^OK [\x20-\x7e]+$/.test(line));
  const reply = parseControlReply(line);
  ok(reply.kind === "ok");
  equal(reply.answer.text("why"), "a\nb\x7f\xe9\u20ac");
  deepEqual(parseControlReply("WAIT 3 10"), { kind: "wait", done: 3, total: 10 });
  deepEqual(parseControlReply("ERR BUSY later"), {
    kind: "error",
    code: "BUSY",
    why: "later",
  });
  throws(() => parseControlReply("OK"), WireError);
});

Deno.test("fittingCount() fills a line to its end and never past it", () => {
  const items = Array.from({ length: 200 }, (_, i) => ({ path: `d/\xe9${i},v` }));
  const count = fittingCount(items);
  ok(count > 100 && count < items.length);
  ok(encodeControlAnswer({ items: items.slice(0, count), next: "9" }).length <= 4_607);
  equal(fittingCount(items.slice(0, 3)), 3);
  equal(fittingCount([{ path: "x".repeat(4_500) }, { path: "y" }]), 1);
});
