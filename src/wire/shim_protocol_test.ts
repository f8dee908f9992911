import { deepEqual, equal, throws } from "node:assert/strict";
import { encodeShimReply, parseShimReply, type ShimReply } from "./shim_protocol.ts";
import { encodeShimRequest } from "./shim_protocol.ts";
import { WireError } from "./wire_error.ts";

const GOLDEN: readonly (readonly [line: string, reply: ShimReply])[] = [
  ["WAIT 10 100", { kind: "wait", doneBytes: 10, totalBytes: 100 }],
  ["OK 0", { kind: "ok", sizeBytes: 0 }],
  [
    "OK 281474976710655 -1500000000 444 1000 50 evicted",
    {
      kind: "stat",
      stat: {
        sizeBytes: 281_474_976_710_655,
        mtimeNs: -1_500_000_000n,
        mode: 0o444,
        uid: 1000,
        gid: 50,
        isResident: false,
      },
    },
  ],
  [
    "OK 5 1700000000123456789 4755 0 0 resident",
    {
      kind: "stat",
      stat: {
        sizeBytes: 5,
        mtimeNs: 1_700_000_000_123_456_789n,
        mode: 0o4755,
        uid: 0,
        gid: 0,
        isResident: true,
      },
    },
  ],
  [
    "ERR UNAVAILABLE the store is away",
    { kind: "error", code: "UNAVAILABLE", text: "the store is away" },
  ],
];

Deno.test("encodeShimReply() and parseShimReply() agree on the golden lines", () => {
  for (const [line, reply] of GOLDEN) {
    equal(encodeShimReply(reply), line);
    deepEqual(parseShimReply(line), reply);
  }
});

Deno.test("parseShimReply() refuses what the shim would not take", () => {
  const bad = [
    "",
    "OK",
    "OK -1",
    "OK 1 ",
    "OK 1 2 999 0 0 resident",
    "OK 1 2 644 0 0 away",
    "WAIT 1",
    "ERR FULL",
    "ERR OTHER text",
    "ok 1",
  ];
  for (const line of bad) throws(() => parseShimReply(line), WireError, line);
});

Deno.test("encodeShimRequest() names the version", () => {
  equal(encodeShimRequest("FETCH", "d/\xe9,v"), "P4CACHE/1 FETCH d/\xe9,v");
});
