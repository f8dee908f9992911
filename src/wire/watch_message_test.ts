import { deepEqual, throws } from "node:assert/strict";
import { parseWatchMessage, type WatchMessage } from "./watch_message.ts";
import { WireError } from "./wire_error.ts";

const GOLDEN: readonly (readonly [line: string, message: WatchMessage])[] = [
  [
    '{"t":"ready","mode":"fid","rename":true,"pidfd":true}',
    { t: "ready", mode: "fid", rename: true, pidfd: true },
  ],
  [
    '{"t":"close","path":"d/\\u00e9,v","pid":9,"uid":1000,"auth":"pidfd"}',
    { t: "close", path: "d/\xe9,v", pid: 9, uid: 1000, auth: "pidfd" },
  ],
  [
    '{"t":"move","from":"d/tmp.9","to":"d/x,v","ino":"18446744073709551615","other":true,"dir":false,"pid":9,"uid":0,"auth":"proc"}',
    {
      t: "move",
      from: "d/tmp.9",
      to: "d/x,v",
      ino: 18_446_744_073_709_551_615n,
      dir: false,
      other: true,
      pid: 9,
      uid: 0,
      auth: "proc",
    },
  ],
  [
    '{"t":"move","from":null,"to":"d","ino":null,"other":false,"dir":true,"pid":9,"uid":0,"auth":"owner"}',
    {
      t: "move",
      from: null,
      to: "d",
      ino: null,
      dir: true,
      other: false,
      pid: 9,
      uid: 0,
      auth: "owner",
    },
  ],
  [
    '{"t":"close","path":"a,v","pid":9,"uid":null,"auth":"other"}',
    { t: "close", path: "a,v", pid: 9, uid: null, auth: "other" },
  ],
  [
    '{"t":"delete","path":"x","dir":false,"pid":0,"uid":null,"auth":"none"}',
    { t: "delete", path: "x", dir: false, pid: 0, uid: null, auth: "none" },
  ],
  ['{"t":"overflow"}', { t: "overflow" }],
  ['{"t":"lost","why":"no memory"}', { t: "lost", why: "no memory" }],
  [
    '{"t":"fatal","code":"EPERM","why":"no"}',
    { t: "fatal", code: "EPERM", why: "no" },
  ],
];

Deno.test("parseWatchMessage() reads each kind of line", () => {
  for (const [line, message] of GOLDEN) deepEqual(parseWatchMessage(line), message);
});

Deno.test("parseWatchMessage() refuses a line of another build", () => {
  const bad = [
    '{"t":"open","path":"x"}',
    '{"t":"ready","mode":"other","rename":true,"pidfd":true}',
    '{"t":"close","path":"x","pid":9,"uid":0}',
    '{"t":"close","path":null,"pid":9,"uid":0,"auth":"pidfd"}',
    // Only an unknown writer has no uid.
    '{"t":"close","path":"x","pid":9,"uid":null,"auth":"owner"}',
    '{"t":"delete","path":"x","pid":9,"uid":0,"auth":"pidfd"}',
    '{"t":"move","from":1,"to":"x","ino":null,"other":false,"dir":false,"pid":9,"uid":0,"auth":"pidfd"}',
    '{"t":"lost"}',
  ];
  for (const line of bad) throws(() => parseWatchMessage(line), WireError, line);
});
