import { deepStrictEqual, ok, strictEqual, throws } from "node:assert/strict";
import { StartError } from "../daemon/start_error.ts";
import { displayPath } from "../core/names.ts";
import { Members } from "../wire/json_lines.ts";
import { renderRecord } from "./cmd_failed_ops.ts";
import { renderStatus } from "./cmd_status.ts";
import { UsageError } from "./command.ts";
import { unreachableBy } from "./control_client.ts";
import { filesOf, selectionOf } from "./operator_command.ts";
import { ProgressLine } from "./progress_line.ts";

Deno.test("selectionOf() takes a path as it is typed, to the byte", () => {
  const table: readonly (readonly [argument: string, selection: string])[] = [
    ["main/a,v", "main/a,v"],
    ["main/", "main"],
    ["main/...", "main"],
    ["/depot/main/a,v", "main/a,v"],
    ["/depot/main/...", "main"],
    ["m\u00e9/a,v", "m\xc3\xa9/a,v"],
    ["m\\xe9/a,v", "m\xe9/a,v"],
    ["back\\slash,v", "back\\slash,v"],
    ["back\\x5cx41slash,v", "back\\x41slash,v"],
  ];
  for (const [argument, selection] of table) {
    strictEqual(selectionOf(argument, "/depot/"), selection, argument);
  }
});

Deno.test("selectionOf() of a name as it is shown is that name", () => {
  const names = [
    "d/backAslash,v",
    "d/back\\x41slash,v",
    "d/back\\x5cx41slash,v",
    "d/ends in\\",
    "d/m\xc3\xa9,v",
    "d/m\xe9\\x41,v",
    "d/\x1b[2K\rred,v",
    "d/\xe2\x80\xaetxt,v",
    "d/\xc2\x9b1m,v",
  ];
  const shown = names.map(displayPath);
  deepStrictEqual(shown.map((it) => selectionOf(it, "/depot")), names);
  deepStrictEqual(shown, [
    "d/backAslash,v",
    "d/back\\x5cx41slash,v",
    "d/back\\x5cx5cx41slash,v",
    "d/ends in\\x5c",
    "d/m\u00e9,v",
    "d/m\\xe9\\x5cx41,v",
    "d/\\x1b[2K\\x0dred,v",
    "d/\\xe2\\x80\\xaetxt,v",
    "d/\\xc2\\x9b1m,v",
  ]);
});

Deno.test("selectionOf() refuses what is not below the depot, and what would mean everything", () => {
  for (
    const argument of ["", "/", "/depot", "/depot/", "...", "../x", "a//b", "/etc/x"]
  ) {
    throws(() => selectionOf(argument, "/depot"), UsageError, argument);
  }
  throws(() => selectionOf(".p4cache/manifest", "/depot"), UsageError);
});

const CALM = {
  version: "1.2.3",
  pid: 7,
  uptimeSecs: 3_700,
  depot: "/depot",
  readOnly: false,
  files: 3,
  totalBytes: 3_072,
  residentFiles: 1,
  residentBytes: 1_024,
  evictedFiles: 2,
  maxCacheBytes: 2_048,
  lowWatermarkBytes: 1_024,
  freeBytes: 4_096,
  minFreeBytes: 1_024,
  evictionMissingBytes: 0,
  dirtyFiles: 0,
  dirtyBytes: 0,
  uploadingFiles: 0,
  oldestDirtySecs: null,
  retryingFiles: 0,
  nextRetrySecs: null,
  undecidedFiles: 0,
  lostFiles: 0,
  corruptReads: 0,
  tombstones: 4,
  heldObjects: 0,
  allHeldBecause: null,
  restoresWaiting: 0,
  scan: "scanned",
  scannedAtMs: 5_000,
  watcher: "telling",
  scanDue: false,
  watcherRestarts: 0,
  gateRestarts: 1,
  primaryCredentialsEndMs: null,
  secondaryCredentialsEndMs: null,
  manifestTrouble: null,
};

function rendered(changes: Record<string, unknown>): string[] {
  return renderStatus(new Members(JSON.stringify({ ...CALM, ...changes })), 65_000);
}

Deno.test("renderStatus() shows a calm daemon in a screen", () => {
  deepStrictEqual(rendered({}), [
    "p4-cache 1.2.3, process 7, up 1 h 1 min",
    "depot     /depot",
    "files     3, 3 KiB",
    "cache     1 files, 1 KiB of 2 KiB; 4 KiB of the disk are free, 1 KiB are kept free",
    "evicted   2 files",
    "dirty     0 files, 0 B",
    "uploads   0 under way, 0 wait for a retry",
    "restores  0 queued or under way",
    "deleted   4 versions are kept for now",
    "scan      done, last 1 min 0 s ago",
    "helpers   watcher started again 0 times, gate 1 times",
  ]);
});

Deno.test("renderStatus() warns of credentials two weeks before their end", () => {
  const day = 86_400_000;
  deepStrictEqual(rendered({ primaryCredentialsEndMs: 65_000 + 15 * day }).length, 11);
  const lines = rendered({
    primaryCredentialsEndMs: 65_000 + 13 * day,
    secondaryCredentialsEndMs: 65_000,
  });
  deepStrictEqual(lines.slice(11), [
    "ATTENTION the primary store's credentials end at 1970-01-14T00:01:05.000Z: replace them",
    "ATTENTION the secondary store's credentials ended at 1970-01-01T00:01:05.000Z: " +
    "replace them",
  ]);
});

Deno.test("renderStatus() wants a person for what was lost, and for what cannot be read", () => {
  deepStrictEqual(rendered({ lostFiles: 2, corruptReads: 3 }).slice(11), [
    "ATTENTION 2 files vanished before their upload since the start: p4-cache failed-ops list",
    "ATTENTION 3 reads found no sound object in any store since the start: p4-cache " +
    "failed-ops list",
  ]);
});

Deno.test("renderStatus() wants a person for objects that stay because of markers", () => {
  deepStrictEqual(rendered({ heldObjects: 2, allHeldBecause: "x is closed" }).slice(11), [
    "ATTENTION 2 objects of deleted files stay, because markers that are not of the row of " +
    "their name may stand for them: see the daemon's log",
    "ATTENTION no object of a deleted file is removed: x is closed",
  ]);
});

Deno.test("renderStatus() says that a start skipped its scan", () => {
  const lines = rendered({ scan: "catching-up" });
  ok(
    lines.includes(
      "scan      unscanned since the start, a slow scan is under way, last 1 min 0 s ago",
    ),
  );
});

Deno.test("renderStatus() says that a scan could not look at everything", () => {
  const lines = rendered({ scan: "incomplete" });
  strictEqual(
    lines.find((line) => line.startsWith("scan ")),
    "scan      could not look at everything and is done again, last 1 min 0 s ago",
  );
  deepStrictEqual(lines.slice(11), [
    "ATTENTION a scan could not look at everything: see the daemon's log",
  ]);
});

Deno.test("renderStatus() wants a person while nobody tells what is written, or some of it may have been missed", () => {
  deepStrictEqual(rendered({ watcher: null }).slice(11), []);
  deepStrictEqual(rendered({ watcher: "down", scanDue: true }).slice(11), [
    "ATTENTION the watcher is down and is started again: until then nobody sees what is " +
    "written; see the daemon's log",
    "ATTENTION events were missed, and the scan for what they told is not over: until then " +
    "nobody knows whether the store has everything",
  ]);
  deepStrictEqual(rendered({ watcher: "silent" }).slice(11), [
    "ATTENTION whether the watcher reports everything cannot be told: see the daemon's log",
  ]);
});

Deno.test("renderStatus() ends with what a person has to do", () => {
  const lines = rendered({
    dirtyFiles: 2,
    oldestDirtySecs: 90,
    retryingFiles: 1,
    nextRetrySecs: 30,
    undecidedFiles: 5,
    evictionMissingBytes: 1_024,
    scan: "stopped",
    scannedAtMs: null,
    manifestTrouble: "the disk is full",
  });
  deepStrictEqual(lines.filter((line) => /^(?:dirty|uploads|scan) /.test(line)), [
    "dirty     2 files, 0 B, the oldest for 1 min 30 s",
    "uploads   0 under way, 1 wait for a retry (the next in 30.0 s)",
    "scan      stopped, never before",
  ]);
  deepStrictEqual(lines.slice(-5), [
    "ATTENTION 5 files wait for a decision: p4-cache conflicts list",
    "ATTENTION uploads have failed: p4-cache failed-ops list",
    "ATTENTION the scan stopped: see the daemon's log",
    "ATTENTION 1 KiB should be evicted and cannot be yet",
    "ATTENTION the manifest cannot be written: the disk is full",
  ]);
});

Deno.test("a daemon that is not there, and one that may not be asked, are told apart", () => {
  const nobody = unreachableBy(new Deno.errors.ConnectionRefused("x"), "/s");
  const forbidden = unreachableBy(new Deno.errors.PermissionDenied("x"), "/s");
  const statuses = [nobody, forbidden].map((it) => (it as StartError).status);
  deepStrictEqual(statuses, [3, 77]);
  const other = new Error("x");
  strictEqual(unreachableBy(other, "/s"), other);
});

Deno.test("renderRecord() shows a line that a crash cut short as it is", () => {
  const line =
    '{"ts":"2026-01-02T03:04:05.000Z","op":"upload","path":"a,v","error":"why"}';
  strictEqual(renderRecord(line), "2026-01-02T03:04:05.000Z  upload  a,v: why");
  strictEqual(renderRecord('{"ts":"20'), '{"ts":"20');
  deepStrictEqual([filesOf(0), filesOf(1), filesOf(2)], ["0 files", "1 file", "2 files"]);
});

Deno.test("ProgressLine writes over one line on a terminal, and few lines elsewhere", () => {
  for (const isTerminal of [true, false]) {
    let nowMs = 0;
    let written = "";
    const line = new ProgressLine({
      verb: "upload",
      unit: "bytes",
      clock: {
        nowMs: () => nowMs,
        monotonicMs: () => nowMs,
        sleep: () => Promise.resolve(),
      },
      isTerminal,
      write: (text) => void (written += text),
    });
    for (nowMs = 0; nowMs < 10_001; nowMs += 10) line.update(nowMs, 20_000);
    nowMs = 20_001;
    line.update(5_120, 20_480);
    line.clear();
    const last = "upload [#####---------------] 5 KiB of 20 KiB, 256 B/s, 1 min 0 s left";
    const lines = written.split(isTerminal ? "\r\x1b[K" : "\n");
    strictEqual(lines.at(-2), last);
    strictEqual(lines.at(-1), "");
    strictEqual(lines.length, isTerminal ? 53 : 3);
  }
});
