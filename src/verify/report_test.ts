import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { formatFinding } from "./finding.ts";
import { formatProgress } from "./progress.ts";
import { planRepair, shellQuote } from "./repair.ts";
import { formatDuration, junitCase } from "./report.ts";
import type { Finding } from "./report_types.ts";

const FINDING: Finding = {
  kind: "bad",
  depotFile: "//depot/a b/\xe4'<&",
  depotRev: 3,
  action: "edit",
  change: 12,
  type: "text",
  digest: null,
  archive: "depot/a b/\xe4'<&,v",
  archiveRev: "1.12",
  rows: 4,
  wrong: ["local"],
  good: [{ side: "store", isVerified: true }],
  why: "it is wrong",
};

Deno.test("formatFinding() writes one line, also for names that are not UTF-8", () => {
  strictEqual(
    formatFinding(FINDING),
    "BAD! //depot/a b/\\xe4'<&#3 and 3 more - edit change 12 (text) " +
      "depot/a b/\\xe4'<&,v 1.12: it is wrong; wrong: the local copy; " +
      "good copy: the store (verified)",
  );
  strictEqual(
    formatFinding({ ...FINDING, kind: "orphan", archive: "d/x,v", why: "no record" }),
    "ORPHAN d/x,v: no record",
  );
});

Deno.test("junitCase() escapes what XML does not take", () => {
  const { length } = junitCase({ ...FINDING, why: '\x00\x1b"<&>' }).match(/[<>]/g)!;
  strictEqual(length, 8); // four tags
});

Deno.test("planRepair() quotes for a shell, and removes nothing", () => {
  const plan = planRepair(FINDING, "/p4/root");
  deepStrictEqual(plan.slice(1), [
    "mv -n -- $'/p4/root/depot/a b/\\xe4\\x27<&,v' $'/p4/root/depot/a b/\\xe4\\x27<&,v'.p4cache-bad",
    "p4-cache rehydrate $'depot/a b/\\xe4\\x27<&,v'",
  ]);
  const kinds: Finding[] = [
    { ...FINDING, kind: "orphan", wrong: ["store"] },
    { ...FINDING, kind: "stray", wrong: ["manifest"] },
    { ...FINDING, wrong: ["record"] },
    { ...FINDING, wrong: ["manifest"] },
    { ...FINDING, wrong: ["store"], good: [{ side: "local", isVerified: true }] },
    { ...FINDING, good: [] },
  ];
  for (const finding of kinds) {
    const commands = planRepair(finding, "/p4/root").slice(1);
    strictEqual(commands.length, 1);
    strictEqual(/\brm\b|delete|unlink/.test(commands.join()), false);
  }
});

Deno.test("shellQuote() gives one word that a shell reads back", async () => {
  const words = [
    "plain/x,v",
    "a b",
    "it's",
    '$HOME `x` "y"',
    "",
    "\xe4\xff'\\\n\t",
    "-n",
  ];
  for (const word of words) {
    const { stdout } = await new Deno.Command("bash", {
      args: ["-c", `printf %s ${shellQuote(word)}`],
    }).output();
    strictEqual(String.fromCharCode(...stdout), word);
  }
});

Deno.test("formatProgress() shows amount, rate and time left", () => {
  strictEqual(
    formatProgress("archives", 250, 1000, 10_000),
    "archives [#####---------------] 250 of 1000, 25 revisions/s, 30.0 s left",
  );
  strictEqual(formatProgress("disk", 500, 0, 1_000), "disk: 500, 500 files/s");
});

Deno.test("formatDuration() keeps to two units", () => {
  deepStrictEqual([1_234, 61_000, 7_380_000].map(formatDuration), [
    "1.2 s",
    "1 min 1 s",
    "2 h 3 min",
  ]);
});
