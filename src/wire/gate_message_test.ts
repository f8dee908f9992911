import { deepEqual, equal, throws } from "node:assert/strict";
import fc from "fast-check";
import {
  encodeGateCommand,
  type GateMessage,
  parseGateMessage,
  REPLY_BYTES_MAX,
} from "./gate_message.ts";
import { WireError } from "./wire_error.ts";

const GOLDEN: readonly (readonly [line: string, message: GateMessage])[] = [
  [
    '{"t":"req","id":65536,"op":"FETCH","path":"a/\\u00e9,v","uid":1,"gid":2,"pid":9}',
    { t: "req", id: 65_536, op: "FETCH", path: "a/\xe9,v", uid: 1, gid: 2, pid: 9 },
  ],
  [
    '{"t":"req","id":1,"op":"CONTROL","path":"{\\u0022op\\u0022:1}","uid":0,"gid":0,"pid":9}',
    { t: "control", id: 1, text: '{"op":1}', uid: 0, pid: 9 },
  ],
  ['{"t":"gone","id":65536}', { t: "gone", id: 65_536 }],
  [
    '{"t":"access","uid":1,"pid":9,"data":"{\\u0022op\\u0022:1}\\u000a"}',
    { t: "access", uid: 1, pid: 9, data: '{"op":1}\n' },
  ],
  [
    '{"t":"count","name":"rejected_peer","n":3}',
    { t: "count", name: "rejected_peer", n: 3 },
  ],
];

Deno.test("parseGateMessage() reads each kind of line", () => {
  for (const [line, message] of GOLDEN) deepEqual(parseGateMessage(line), message);
  deepEqual(parseGateMessage('{"t":"ready"}'), { t: "ready" });
});

Deno.test("parseGateMessage() refuses a line of another build", () => {
  const bad = [
    '{"t":"req","id":1,"op":"OPEN","path":"a","uid":1,"gid":2,"pid":9}',
    '{"t":"req","id":-1,"op":"STAT","path":"a","uid":1,"gid":2,"pid":9}',
    '{"t":"req","id":9007199254740993,"op":"STAT","path":"a","uid":1,"gid":2,"pid":9}',
    '{"t":"count","name":"other","n":1}',
    '{"t":"gone"}',
  ];
  for (const line of bad) throws(() => parseGateMessage(line), WireError, line);
});

Deno.test("encodeGateCommand() writes what the gate reads", () => {
  equal(
    encodeGateCommand({ t: "last", id: 7, line: "OK 100" }),
    '{"t":"last","id":7,"line":"OK 100"}\n',
  );
  equal(
    encodeGateCommand({ t: "line", id: 7, line: "ERR FULL \xe9" }),
    '{"t":"line","id":7,"line":"ERR FULL \\u00e9"}\n',
  );
  equal(
    encodeGateCommand({ t: "allow", uids: [0, 1000] }),
    '{"t":"allow","uids":[0,1000]}\n',
  );
});

Deno.test("encodeGateCommand() makes one line of at most 4,607 bytes of any text", () => {
  fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 6_000 }), (text) => {
    const line = encodeGateCommand({ t: "last", id: 1, line: text });
    equal(/^[\x20-\x7e]+\n$/.test(line), true);
    const sent = JSON.parse(line).line as string;
    equal(sent.length <= REPLY_BYTES_MAX, true);
    equal(/^[\x20-\x7e\x80-\xff]*$/.test(sent), true);
  }));
  const sent = JSON.parse(encodeGateCommand({ t: "last", id: 1, line: "a\nb\0\u20ac" }));
  equal(sent.line, "a b \xe2\x82\xac");
});
