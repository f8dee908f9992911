/**
 * The measured half of scripts/bench_verify.ts: one run in a process of its own, so that the
 * peak of its memory is its own. Prints one JSON object.
 *
 * @module
 */

import { cpuUsage } from "node:process";
import { SYSTEM_CLOCK } from "../../src/core/clock.ts";
import { nativeFile } from "../../src/posix/native_files.ts";
import { openPosix } from "../../src/posix/posix.ts";
import { posixFiles } from "../../src/verify/posix_files.ts";
import { JournalScanner } from "../../src/perforce/journal_scanner.ts";
import { verify } from "../../src/verify/verifier.ts";

/** Of this process, all threads: what a busy machine does not change much. */
function cpuSeconds(): number {
  const { user, system } = cpuUsage();
  return (user + system) / 1e6;
}

function peakMiB(): number {
  const status = Deno.readTextFileSync("/proc/self/status");
  return Math.round(Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) / 1024);
}

async function lexAlone(path: string): Promise<Record<string, unknown>> {
  let rows = 0;
  const scanner = new JournalScanner({
    wants: (table) => table === "db.rev",
    row: () => rows++,
    mark: () => {},
    note: () => {},
    unknown: () => {},
    malformed: () => {},
  });
  using file = await Deno.open(path);
  const buffer = new Uint8Array(1 << 18);
  const startedMs = performance.now();
  const cpuBefore = cpuSeconds();
  for (;;) {
    const count = await file.read(buffer);
    if (count === null) break;
    scanner.push(buffer.subarray(0, count));
  }
  const { bytes } = scanner.finish();
  const seconds = (performance.now() - startedMs) / 1000;
  return {
    rows,
    seconds: Number(seconds.toFixed(2)),
    mbPerSecond: Math.round(bytes / 1e6 / seconds),
    mbPerCpuSecond: Math.round(bytes / 1e6 / (cpuSeconds() - cpuBefore)),
    peakRssMiB: peakMiB(),
  };
}

async function verifyAll(
  checkpoint: string,
  root: string,
  records: number,
): Promise<Record<string, unknown>> {
  const startedMs = performance.now();
  const result = await verify({
    checkpoint,
    journals: [],
    depth: "exists",
    sampling: { part: 0, of: 1 },
    depotPrefix: null,
    checksArchiveDepots: false,
    readsAllCopies: false,
    findsOrphans: true,
    orphanAgeMs: 86_400_000,
    recallBytesMax: Infinity,
    bytesPerSecond: Infinity,
    resumePath: null,
    ignoresMd5: false,
  }, {
    files: posixFiles(openPosix(nativeFile("libp4posix.so")), root),
    depotRoot: root,
    manifest: null,
    store: null,
    scratchDirectory: Deno.env.get("TMPDIR") ?? "/tmp",
    clock: SYSTEM_CLOCK,
    signal: new AbortController().signal,
  }, { finding: () => {}, progress: () => {} });
  const seconds = (performance.now() - startedMs) / 1000;
  if (result.total.ok !== records || result.incomplete.length > 0) {
    throw new Error(`${result.total.ok} of ${records}: ${result.incomplete.join("; ")}`);
  }
  return {
    revisions: result.total.ok,
    seconds: Number(seconds.toFixed(1)),
    cpuSeconds: Number(cpuSeconds().toFixed(1)),
    recordsPerSecond: Math.round(result.stats.recordsRead / seconds),
    recordsPerCpuSecond: Math.round(result.stats.recordsRead / cpuSeconds()),
    peakRssMiB: peakMiB(),
  };
}

if (import.meta.main) {
  const [mode, path, root, records] = Deno.args;
  const measured = mode === "--lexer"
    ? await lexAlone(path!)
    : await verifyAll(path!, root!, Number(records));
  // deno-lint-ignore no-console -- what the other half reads
  console.log(JSON.stringify(measured));
}
