import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { isManaged, parseDepotPath } from "../core/names.ts";
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

const TARGET = { depotRoot: "/p4/root", config: "/etc/p4 cache.json" };

Deno.test("planRepair() quotes for a shell, and removes nothing", () => {
  deepStrictEqual(planRepair(FINDING, TARGET).slice(1), [
    "mv -n -- $'/p4/root/depot/a b/\\xe4\\x27<&,v' " +
    "$'/p4/root/depot/a b/tmp.\\xe4\\x27<&,v.p4cache-bad'",
    "p4-cache rehydrate --config '/etc/p4 cache.json' " +
    "--prefix='depot/a b/\\xe4'\\''<&,v'",
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
    const lines = planRepair(finding, TARGET).slice(1);
    strictEqual(lines.filter((it) => !it.startsWith("#")).length <= 1, true);
    // An object that its HEAD calls good would let the only good copy go.
    strictEqual(/\brm\b|delete|unlink|p4-cache evict/.test(lines.join()), false);
  }
});

Deno.test("planRepair() moves a file out of its ,d under a name that nothing manages", () => {
  const archive = "d/b,d/c,d/1.1.gz";
  const [, move] = planRepair({ ...FINDING, archive }, TARGET);
  const aside = "d/tmp.b,d.c,d.1.1.gz.p4cache-bad";
  strictEqual(move, `mv -n -- /p4/root/${archive} /p4/root/${aside}`);
  for (const policy of ["archives", "all"] as const) {
    strictEqual(isManaged(parseDepotPath(aside), policy), false);
  }
});

Deno.test("planRepair() has only the one revision recorded anew", () => {
  const finding: Finding = { ...FINDING, depotFile: "//depot/a b", wrong: ["record"] };
  deepStrictEqual(planRepair(finding, TARGET).slice(1), [
    "# the archive is right by other rows; after review this records it anew: " +
    "p4 verify -v '//depot/a b#3,#3'",
  ]);
});

Deno.test("planRepair() keeps a name with a line feed within its comment", () => {
  const finding: Finding = { ...FINDING, kind: "orphan", archive: "d/x\nrm -rf y,v" };
  for (const line of planRepair(finding, TARGET)) match(line, /^#.*$/);
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
