/**
 * Files written as fast as the disk allows: every one of them must be in the store in the
 * end, also those whose events the kernel dropped.
 *
 *   deno run -A tests/crash/burst.ts [--files N] [--small-queue]
 *
 * `--small-queue` leaves the watcher's queue at the kernel's limit and stops the watcher
 * while the files are written; it fails if the queue did not overflow. The last line is `burst: files=N ... missing=0 wrong=0`.
 *
 * @module
 */

// deno-lint-ignore-file no-console -- a program that reports to a person

import { createHash } from "node:crypto";
import { parseArgs } from "node:util";
import { Rig, until } from "./rig.ts";
import { limitedQueueLibrary } from "./small_queue.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: {
    files: { type: "string", default: "10000" },
    "small-queue": { type: "boolean", default: false },
  },
});
const files = Number(values.files);
const isSmall = values["small-queue"];

/** Digests by path below the store, which for first versions is the path of the depot. */
function writeAll(depot: string): Map<string, string> {
  const digests = new Map<string, string>();
  const encoder = new TextEncoder();
  for (let i = 0; i < files; i++) {
    const directory = `d${i % 100}`;
    if (i < 100) Deno.mkdirSync(`${depot}/${directory}`);
    const path = `${directory}/f${i},v`;
    const bytes = encoder.encode(`head 1.${i};\n`.repeat(1 + i % 300));
    const temporary = `${depot}/${directory}/tmp.${i}`;
    Deno.writeFileSync(temporary, bytes);
    Deno.renameSync(temporary, `${depot}/${path}`);
    digests.set(path, createHash("sha256").update(bytes).digest("hex"));
  }
  return digests;
}

function digestOf(path: string): string | null {
  try {
    return createHash("sha256").update(Deno.readFileSync(path)).digest("hex");
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

await using cleanup = new AsyncDisposableStack();
const library = isSmall ? limitedQueueLibrary() : null;
if (library !== null) cleanup.use(library);
const rig = cleanup.use(
  await Rig.open(library === null ? {} : { env: { P4CACHE_LIB: library.path } }),
);
await rig.start();
await until("the first scan is over", () => rig.logCount("scanned the depot") > 0);
const startedMs = performance.now();
const watcher = rig.helperPid("p4-cache-fanotify");
if (isSmall) Deno.kill(watcher, "SIGSTOP");
const digests = writeAll(rig.depot);
if (isSmall) Deno.kill(watcher, "SIGCONT");
const writtenMs = performance.now() - startedMs;
await until(
  "every file has a row",
  () => rig.metric('p4cache_files{state="total"}') === files,
  () => `${rig.metric('p4cache_files{state="total"}')} of ${files}`,
);
const queuedMs = performance.now() - startedMs;
await rig.drained();
const storedMs = performance.now() - startedMs;
let missing = 0;
let wrong = 0;
for (const [path, digest] of digests) {
  const stored = digestOf(`${rig.store}/${path}`);
  if (stored === null) missing += 1;
  else if (stored !== digest) wrong += 1;
}
const overflows = rig.metric("p4cache_watcher_overflow_total");
const perSecond = (ms: number): number => Math.round(files / ms * 1000);
console.log(
  `burst: files=${files} written_per_s=${perSecond(writtenMs)} ` +
    `queued_per_s=${perSecond(queuedMs)} stored_per_s=${perSecond(storedMs)} ` +
    `overflows=${overflows} missing=${missing} wrong=${wrong}`,
);
if (isSmall && !(overflows > 0)) console.log("burst: the queue did not overflow");
Deno.exitCode = missing + wrong === 0 && (!isSmall || overflows > 0) ? 0 : 1;
