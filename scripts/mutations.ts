// deno-lint-ignore-file no-console -- a program whose output is its result
/**
 * Breaks each rule of the engine and the manifest on purpose, in a copy of the tree, and shows
 * that the test named for it fails: `deno run -A scripts/mutations.ts`. A mutation whose test still passes,
 * whose text is not in the source any more, or whose test fails without it, ends with 1.
 *
 * @module
 */

interface Mutation {
  /** The rule, and how it is broken. */
  readonly breaks: string;
  readonly file: string;
  /** Texts that stand in the file exactly once, and what takes their place. */
  readonly edits: readonly (readonly [find: string, replace: string])[];
  /** The file of the test, and a part of its name. */
  readonly test: readonly [file: string, name: string];
}

const ENGINE = "src/engine/engine_test.ts";

const MUTATIONS: readonly Mutation[] = [
  {
    breaks: "0: a later version is put over the first one",
    file: "src/engine/upload.ts",
    edits: [
      ["of [...keys, again]) {", "of [first]) {"],
      [
        "      metadata,\n      signal,",
        "      metadata,\n      ifAbsent: false,\n      signal,",
      ],
    ],
    test: [ENGINE, "a changed file goes to a key of its own"],
  },
  {
    breaks: "1: restored bytes are not compared with the hash",
    file: "src/engine/fetch_content.ts",
    edits: [[
      "if (stored.hash === null || hash === stored.hash) return hash;",
      "return hash;",
    ]],
    test: [ENGINE, "a restore of wrong bytes fails closed"],
  },
  {
    breaks: "1: other copies are not asked for",
    file: "src/engine/fetch_content.ts",
    edits: [["if (isSame) yield", "if (Date.now() < 0) yield"]],
    test: ["src/engine/sources_test.ts", "takes another object of the same hash"],
  },
  {
    breaks: "1: what came from the secondary counts as stored in the primary",
    file: "src/engine/bring_back.ts",
    edits: [[
      'toUpload: fetched.source === "row" ? null : fetched.source,',
      "toUpload: null,",
    ]],
    test: ["src/engine/sources_test.ts", "is evicted only after its upload"],
  },
  {
    breaks: "2: clean whatever happened since the upload began",
    file: "src/engine/upload.ts",
    edits: [
      ["if (!isUnchanged(after, before)) {", "if (Date.now() < 0) {"],
      [
        'await context.manifest.apply(path, entry.generation, {\n        kind: "uploaded",',
        'await context.manifest.apply(path, "any", {\n        kind: "uploaded",',
      ],
    ],
    test: [ENGINE, "a file that is written while it uploads stays dirty"],
  },
  {
    breaks: "3: the store is not asked before the local bytes go",
    file: "src/engine/evict.ts",
    edits: [['if (!await isConfirmed(context, path, known)) return "unconfirmed";', ""]],
    test: [ENGINE, "eviction refuses when the store lost the object"],
  },
  {
    breaks: "3: a rename does not wait until the row knows the marker",
    file: "src/engine/rename.ts",
    edits: [["    await evictions.settled(from);\n", ""]],
    test: ["src/engine/rename_test.ts", "renamed on in the moment of its eviction"],
  },
  {
    breaks: "4: a marker that was put back is not known after a death",
    file: "src/manifest/transitions.ts",
    edits: [["{ ...current.local, ino: NO_INODE }", "current.local"]],
    test: ["src/daemon/failed_deletes_test.ts", "that a daemon before put back"],
  },
  {
    breaks: "3: a file goes however young it is",
    file: "src/engine/evict_plan.ts",
    edits: [[
      "return isOfOtherClock ? nowS : settledAtS + ageSecs;",
      "return isOfOtherClock ? nowS : settledAtS;",
    ]],
    test: ["src/engine/operator_test.ts", "never a file below the floor"],
  },
  {
    breaks: "3: evict_verify=full only asks",
    file: "src/engine/evict.ts",
    edits: [[
      'if (!isGood || (verify === "head" && hash !== null)) return isGood;',
      "if (!isGood || hash !== null) return isGood;",
    ]],
    test: ["src/engine/sources_test.ts", "evict_verify=full"],
  },
  {
    breaks: "4: a file that is just gone counts as deleted",
    file: "src/manifest/transitions.ts",
    edits: [[
      'if (current.state === "clean") return unqueued({ ...current, resident: false, local });',
      'if (current.state === "clean") return NOTHING;',
    ]],
    test: [ENGINE, "only a DELETE makes a tombstone"],
  },
  {
    breaks: "4: tombstones are not asked before a lookup",
    file: "src/engine/adopt.ts",
    edits: [
      ["if (manifest.tombstonesOf(path).length > 0) return null;", ""],
      ["manifest.hasVersionOf(key)", "manifest.isNamed(key)"],
    ],
    test: ["src/engine/borrowed_test.ts", "a deleted file stays deleted"],
  },
  {
    breaks: "4: tombstones of the name that a file had before are not asked",
    file: "src/engine/adopt.ts",
    edits: [["manifest.hasVersionOf(key)", "manifest.isNamed(key)"]],
    test: ["src/engine/race_test.ts", "renamed and then deleted does not come back"],
  },
  {
    breaks: "4: the object of an upload whose answer was lost is buried by nobody",
    file: "src/engine/upload.ts",
    edits: [[
      "if (isFirst && key === first) await buryLostUpload(",
      "await Promise.resolve(",
    ]],
    test: ["src/engine/race_test.ts", "after its file was overwritten"],
  },
  {
    breaks: "4: a clock that is set forth ends a grace",
    file: "src/engine/steady_time.ts",
    edits: [["if (isStep) this.#sinceMs = monotonicMs;", ""]],
    test: ["src/engine/delete_test.ts", "a clock that is set forth ends no grace"],
  },
  {
    breaks: "4: an object goes with the oldest of its tombstones",
    file: "src/manifest/tombstones.ts",
    edits: [[" && !this.#hasYounger(tombstone, beforeMs)", ""]],
    test: ["src/manifest/manifest_store_test.ts", "an object goes when the last"],
  },
  {
    breaks: "4: an object of another file under the key of a deleted one goes",
    file: "src/engine/delete.ts",
    edits: [["(metadata?.hash ?? stored.hash) === stored.hash", "true"]],
    test: ["src/engine/delete_test.ts", "an object of other bytes under the key"],
  },
  {
    breaks: "4: no whiteout is left",
    file: "src/engine/delete.ts",
    edits: [[
      "whiteout: hasOtherStores(context),",
      "whiteout: false,",
    ]],
    test: ["src/engine/borrowed_test.ts", "a deleted file stays deleted"],
  },
  {
    breaks: "4: a DELETE during a first upload leaves its object",
    file: "src/engine/delete.ts",
    edits: [["firstKey: firstKey(path),", ""]],
    test: ["src/engine/race_test.ts", "deleted after a crash during its first upload"],
  },
  {
    breaks: "4: a DELETE takes the row of a file that came to the name meanwhile",
    file: "src/engine/delete.ts",
    edits: [[
      "if (!wasLeft || row !== before || entry.generation !== generation) continue;",
      "",
    ]],
    test: [ENGINE, "a delete takes no file that came to the name"],
  },
  {
    breaks: "4: a watcher that does not tell is taken for one that has nothing to tell",
    file: "src/engine/caught_up.ts",
    edits: [[
      "if (!await context.eventsUntilNow()) throw new NotCaughtUpError(path);",
      "await context.eventsUntilNow(), path;",
    ]],
    test: [ENGINE, "nothing is deleted, put back or restored"],
  },
  {
    breaks: "5: a failed upload is not given back to the queue",
    file: "src/engine/upload.ts",
    edits: [[
      "await giveBack(context, path, context.clock.nowMs() + retryInSecs * 1000);",
      "",
    ]],
    test: [ENGINE, "an upload that fails leaves the file local, dirty"],
  },
  {
    breaks: "6: what only a scan finds counts as written",
    file: "src/engine/observe_plan.ts",
    edits: [[
      'if (reason.trusts === "all") return { action: "written", stat };',
      'return { action: "written", stat };',
    ]],
    test: [ENGINE, "takes an unreported difference for a conflict"],
  },
  {
    breaks: "6: the ctime that a scan saw counts as that of the stored content",
    file: "src/engine/observe.ts",
    edits: [["const stat = asUnproven(plan.stat);", "const { stat } = plan;"]],
    test: ["src/engine/unwatched_test.ts", "repaired in place while nobody watched"],
  },
  {
    breaks: "6: what a scan left unproven is a write when an eviction meets it",
    file: "src/engine/observe.ts",
    edits: [['isOfBefore ? within(reason, "none") : reason', "reason"]],
    test: ["src/engine/unwatched_test.ts", "repaired in place while nobody watched"],
  },
  {
    breaks: "6: a disputed file may be evicted",
    file: "src/manifest/transitions.ts",
    edits: [[
      "entry.stored.hash !== null && !isParked(entry) &&",
      "entry.stored.hash !== null &&",
    ]],
    test: ["src/manifest/transitions_test.ts", "only a clean, hashed, free row"],
  },
  {
    breaks: "7: eviction does not know what restores wait for",
    file: "src/engine/evict_pass.ts",
    edits: [["- reservedBytes - awaitedBytes;", "- reservedBytes;"]],
    test: ["src/engine/space_test.ts", "waits until eviction has made room"],
  },
  {
    breaks: "7: what a restore has written is kept free for it all the same",
    file: "src/engine/fetch_content.ts",
    edits: [["this.#onWritten(this.#writtenBytes);", ""]],
    test: ["src/engine/space_test.ts", "not kept free for it a second time"],
  },
  {
    breaks: "7: no room is kept for the manifest",
    file: "src/manifest/space_reserve.ts",
    edits: [["if (!isFull || !reserve.use()) throw error;", "throw error;"]],
    test: ["tests/manifest/files_test.ts", "commits go on in the room that is kept"],
  },
  {
    breaks: "eviction: files that were read once are like all others",
    file: "src/manifest/transitions.ts",
    edits: [[
      "readOnce: !current.resident && event.nowS - usedAtS > REUSE_SECS,",
      "readOnce: false,",
    ]],
    test: ["src/engine/scan_resistance_test.ts", "gives a scan a tenth at most"],
  },
  {
    breaks: "restore: what was written into our copy goes with it",
    file: "src/engine/bring_back.ts",
    edits: [["if (wasShown && (", "if (Date.now() < 0 && ("]],
    test: ["src/engine/race_test.ts", "in the moment in which it had the name"],
  },
  {
    breaks: "restore: what nobody can have written is kept for a person",
    file: "src/engine/bring_back.ts",
    edits: [["const { wasShown } = brought;", "const wasShown = true;"]],
    test: ["src/engine/bring_back_test.ts", "p4d fills meanwhile leave nothing"],
  },
  {
    breaks: "eviction: a marker that the disk refused once is forgotten",
    file: "src/engine/vanished_names.ts",
    edits: [["return this.#lookAgain(path, error);", "return;"]],
    test: ["src/engine/vanished_names_test.ts", "that the disk refuses is put back"],
  },
  {
    breaks: "eviction: a pass holds the event loop",
    file: "src/engine/evict_pass.ts",
    edits: [["await clock.sleep(0, signal).catch(() => {});", ""]],
    test: ["src/engine/evict_pass_test.ts", "gives others their turn"],
  },
  {
    breaks: "eviction: the store is asked for files with more than one name",
    file: "src/engine/evict.ts",
    edits: [['if (isLinked(context, path)) return "linked";', ""]],
    test: ["src/engine/evict_pass_test.ts", "files with more than one name"],
  },
  {
    breaks: "restore: who comes late hears of a file that may be gone",
    file: "src/engine/restore.ts",
    edits: [[
      "while (flight?.isReadable)",
      "while (flight?.isReadable && Date.now() < 0)",
    ]],
    test: ["src/engine/readable_test.ts", "looks again"],
  },
  {
    breaks: "restore: a file of a deleted row is told of",
    file: "src/engine/bring_back.ts",
    edits: [["if (isOfRow) onReadable();", "onReadable();"]],
    test: ["src/engine/readable_test.ts", "whose row is deleted meanwhile"],
  },
  {
    breaks: "fairness: one user may have every place",
    file: "src/core/fair_places.ts",
    edits: [[
      "it.waitingCount > 0 && it.runningCount < this.#maxOf(it)",
      "it.waitingCount > 0",
    ]],
    test: ["src/core/fair_places_test.ts", "lets another user in at once"],
  },
  {
    breaks: "manifest: a commit is acknowledged before it is on the disk",
    file: "src/manifest/lmdb_key_value.ts",
    edits: [["overlappingSync: false,", "overlappingSync: false,\n      noSync: true,"]],
    test: ["tests/manifest/durable_test.ts", "that was awaited has been synced"],
  },
  {
    breaks: "manifest: a change does not wait for its commit",
    file: "src/manifest/group_commit.ts",
    edits: [[
      "      await this.#deps.commit(group);",
      "      void this.#deps.commit(group).catch(() => {});",
    ]],
    test: [
      "tests/manifest/durable_test.ts",
      "is refused when its sync or its write fails",
    ],
  },
  {
    breaks: "manifest: a command reads pages that nobody has looked at",
    file: "src/manifest/lmdb_manifest.ts",
    edits: [["    await checkPagesBesideWriter(directory, { native });\n", ""]],
    test: ["tests/manifest/page_faults_test.ts", "is not opened to be read"],
  },
  {
    breaks: "manifest: commits go to a file that another one has replaced",
    file: "src/manifest/data_file_lock.ts",
    edits: [["    this.#refuseReplaced();\n", ""]],
    test: ["tests/manifest/openers_test.ts", "that another one has replaced"],
  },
  {
    breaks: "manifest: counters that have drifted are not counted",
    file: "src/daemon/housekeeping.ts",
    edits: [["if (drifted.length === 0) return;", "if (drifted.length >= 0) return;"]],
    test: ["src/daemon/housekeeping_test.ts", "counters that a recount does not give"],
  },
];

const ROOT = new URL("..", import.meta.url).pathname;

async function copyTree(): Promise<string> {
  const directory = await Deno.makeTempDir({ prefix: "p4cache-mutations-" });
  const { success } = await new Deno.Command("cp", {
    args: [
      "-r",
      ...["src", "tests", "docs", "deno.json"].map((it) => ROOT + it),
      directory,
    ],
  }).output();
  if (!success) throw new Error(`the tree cannot be copied to ${directory}`);
  for (const name of ["build", "node_modules"]) {
    await Deno.symlink(ROOT + name, `${directory}/${name}`);
  }
  return directory;
}

/** How many tests passed and failed; null if none ran to its end. */
async function runTest(
  directory: string,
  [file, name]: Mutation["test"],
): Promise<{ passed: number; failed: number } | null> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "--allow-all", "--no-check", "--quiet", "--filter", name, file],
    cwd: directory,
    env: { NO_COLOR: "1" },
    stderr: "null",
  }).output();
  const found = /(\d+) passed.* \| (\d+) failed/.exec(new TextDecoder().decode(stdout));
  return found === null ? null : { passed: Number(found[1]), failed: Number(found[2]) };
}

/** Null if the test notices, else what is wrong. */
async function tryMutation(
  directory: string,
  { file, edits, test }: Mutation,
): Promise<string | null> {
  const path = `${directory}/${file}`;
  const source = await Deno.readTextFile(path);
  let mutated = source;
  for (const [find, replace] of edits) {
    if (source.split(find).length !== 2) return `not exactly once in the source: ${find}`;
    mutated = mutated.replace(find, () => replace);
  }
  const before = await runTest(directory, test);
  if (before === null || before.failed > 0 || before.passed === 0) {
    return "its test does not pass without it";
  }
  await Deno.writeTextFile(path, mutated);
  const after = await runTest(directory, test);
  await Deno.writeTextFile(path, source);
  return after === null || after.failed > 0 ? null : "its test passes all the same";
}

const directory = await copyTree();
let unnoticed = 0;
try {
  for (const mutation of MUTATIONS) {
    const wrong = await tryMutation(directory, mutation);
    if (wrong !== null) unnoticed += 1;
    const [file, name] = mutation.test;
    console.log(
      `${wrong === null ? "noticed" : `NOT NOTICED (${wrong})`}: ${mutation.breaks}`,
    );
    console.log(`    by "${name}" in ${file}`);
  }
} finally {
  await Deno.remove(directory, { recursive: true });
}
console.log(`mutations: ${MUTATIONS.length}, not noticed: ${unnoticed}`);
if (unnoticed > 0) Deno.exit(1);
