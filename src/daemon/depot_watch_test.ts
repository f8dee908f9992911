import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { ManualClock } from "../../tests/support/manual_clock.ts";
import { bytePathOf } from "../core/names.ts";
import { MoveCutShortError } from "../engine/directory_moves.ts";
import type { ScanReport } from "../engine/scan.ts";
import { ManifestError } from "../manifest/manifest.ts";
import { createMemoryLogger } from "../obs/logger.ts";
import { createMetrics, type Metrics } from "../obs/metrics.ts";
import type { WatchEvent } from "../wire/watch_message.ts";
import { type Watcher, WatchError } from "../watch/watcher.ts";
import { DepotWatch } from "./depot_watch.ts";
import { EXIT } from "./start_error.ts";

const COOLDOWN_SECS = 30;
const REPORT: ScanReport = {
  filesSeen: 0,
  actions: {},
  unmanageable: 0,
  unreadable: 0,
  unproven: 0,
  failing: 0,
  stopped: null,
};

/** A watcher that reports what the test tells it to, until it is killed. */
class FakeWatcher implements Watcher {
  readonly ready = { t: "ready", mode: "fid", rename: true, pidfd: true } as const;
  #told: WatchEvent[] = [];
  #isDead = false;
  isClosed = false;
  #wake = Promise.withResolvers<void>();

  tell(...events: WatchEvent[]): void {
    this.#told.push(...events);
    this.#wake.resolve();
  }

  die(): void {
    this.#isDead = true;
    this.#wake.resolve();
  }

  close(): Promise<void> {
    this.isClosed = true;
    this.die();
    return Promise.resolve();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<WatchEvent> {
    for (;;) {
      yield* this.#told.splice(0);
      if (this.#isDead) throw new Error("the helper was killed");
      await this.#wake.promise;
      this.#wake = Promise.withResolvers<void>();
    }
  }
}

interface Watched {
  readonly watch: DepotWatch;
  readonly clock: ManualClock;
  readonly metrics: Metrics;
  readonly log: ReturnType<typeof createMemoryLogger>;
  readonly watchers: FakeWatcher[];
  /** What the engine was told, in order. */
  readonly calls: string[];
  /** Ends the scan that is under way. */
  endScan(failing?: number, stopped?: string): void;
  stop(): Promise<void>;
}

interface Around {
  readonly statePath?: string;
  /** How long each rename takes. */
  readonly renaming?: Promise<void>;
  /** Why there is no watcher. */
  refusal?: Error;
  /** Default: a watcher at once. */
  readonly open?: () => Promise<Watcher>;
}

async function watched(around: Around = {}): Promise<Watched> {
  const { statePath = "/depot/.p4cache", renaming, open } = around;
  const clock = new ManualClock();
  const metrics = createMetrics();
  const log = createMemoryLogger();
  const watchers: FakeWatcher[] = [];
  const calls: string[] = [];
  let scan = Promise.withResolvers<ScanReport>();
  const ended = new AbortController();
  const note = (call: string): Promise<"written"> => {
    calls.push(call);
    return Promise.resolve("written");
  };
  const watch = new DepotWatch({
    root: bytePathOf("/depot"),
    statePath,
    engine: {
      wrote: (path, uid) => note(`wrote ${path} by ${uid}`),
      wroteUnmanageable: (text) => void note(`unmanageable ${text.length} bytes`),
      renamed: async ({ from, to }) => {
        calls.push(`renamed ${from} ${to}`);
        if (renaming === undefined) return;
        await renaming;
        calls.push("done");
      },
      gone: (path) => void note(`gone ${path}`),
      scan: () => {
        calls.push("scan");
        scan = Promise.withResolvers<ScanReport>();
        return scan.promise;
      },
    },
    open: open ?? (() => {
      if (around.refusal !== undefined) return Promise.reject(around.refusal);
      watchers.push(new FakeWatcher());
      return Promise.resolve(watchers.at(-1)!);
    }),
    clock,
    log,
    metrics,
    newId: () => "id",
    record: {
      finished: ({ failing, stopped }) =>
        Promise.resolve(failing === 0 && stopped === null),
    },
    rescanCooldownSecs: () => COOLDOWN_SECS,
    signal: ended.signal,
  });
  await watch.open();
  const running = watch.run();
  return {
    watch,
    clock,
    metrics,
    log,
    watchers,
    calls,
    endScan: (failing = 0, stopped) =>
      scan.resolve({ ...REPORT, failing, stopped: stopped ?? null }),
    async stop(): Promise<void> {
      ended.abort(new Error("the test is over"));
      scan.resolve(REPORT);
      await running;
    },
  };
}

const BY_OTHER = { pid: Deno.pid + 1, uid: 7 } as const;

function close(
  path: string,
  by: { pid: number; uid: number },
  auth: "pidfd" | "owner",
): WatchEvent {
  return { t: "close", path, ...by, auth };
}

function move(
  from: string,
  to: string,
  by: { pid: number; uid: number },
  dir = false,
): WatchEvent {
  const what = { ino: null, dir, other: false };
  return { t: "move", from, to, ...what, ...by, auth: "pidfd" };
}

async function counted(metrics: Metrics, line: string): Promise<number> {
  const text = await metrics.render();
  const found = text.split("\n").find((it) => it.startsWith(`${line} `));
  return Number(found?.slice(line.length));
}

/** Resolves when the watch waits for the event of its file. */
async function canaryIn(statePath: string): Promise<void> {
  for (;;) {
    for await (const _ of Deno.readDir(statePath)) return;
  }
}

Deno.test("events of the daemon's own process are not taken in, those of others are", async () => {
  const { clock, watchers, calls, stop } = await watched();
  const own = { pid: Deno.pid, uid: 0 };
  watchers[0]!.tell(
    close("a,v", own, "pidfd"),
    { t: "delete", path: "b,v", dir: false, ...own, auth: "pidfd" },
    move("c,v", "d,v", own),
    close("e,v", BY_OTHER, "pidfd"),
    { t: "delete", path: "f,v", dir: false, ...BY_OTHER, auth: "pidfd" },
    move("g,v", "h,v", BY_OTHER),
  );
  await clock.advance(0);
  deepStrictEqual(calls, ["wrote e,v by 7", "gone f,v", "renamed g,v h,v"]);
  await stop();
});

Deno.test("a file whose name no row can have is told, by each way to a name", async () => {
  const { clock, watchers, calls, stop } = await watched();
  const long = `${"x".repeat(4_000)},v`;
  watchers[0]!.tell(
    close(long, BY_OTHER, "pidfd"),
    move("tmp.1", "a\nb,v", BY_OTHER),
    { ...move("", "c\n,v", BY_OTHER), from: null } as WatchEvent,
  );
  await clock.advance(0);
  deepStrictEqual(calls, [
    "unmanageable 4002 bytes",
    "unmanageable 5 bytes",
    "gone tmp.1",
    "unmanageable 4 bytes",
  ]);
  await stop();
});

Deno.test("a writer who may be another than the owner is told as such, whatever he did", async () => {
  const { clock, watchers, calls, stop } = await watched();
  const by = { pid: Deno.pid + 1, uid: null, auth: "other" } as const;
  const what = { ino: null, dir: false, other: false };
  watchers[0]!.tell(
    { t: "close", path: "a,v", ...by },
    { t: "move", from: null, to: "b,v", ...what, ...by },
  );
  await clock.advance(0);
  deepStrictEqual(calls, ["wrote a,v by other", "wrote b,v by other"]);
  await stop();
});

Deno.test("a writer that had exited and is told by its file's owner is counted", async () => {
  const { clock, watchers, metrics, calls, stop } = await watched();
  watchers[0]!.tell(close("a,v", BY_OTHER, "owner"), close("b,v", BY_OTHER, "pidfd"));
  await clock.advance(0);
  strictEqual(await counted(metrics, "p4cache_watcher_auth_by_fd_owner_total"), 1);
  strictEqual(calls.length, 2);
  await stop();
});

Deno.test("a rename between names that none can have is a scan, and no move of rows", async () => {
  const { watchers, calls, endScan, stop, clock } = await watched();
  const moves = [
    move("y/x2/d", "y", BY_OTHER, true),
    move("y", "y/x2/d", BY_OTHER, true),
    move("y", "y", BY_OTHER, true),
    move("y/a,v", "y/a,v", BY_OTHER),
  ];
  for (const event of moves) {
    watchers[0]!.tell(event);
    await clock.advance(0);
    deepStrictEqual(calls.splice(0), ["scan"]);
    endScan();
    await clock.advance(COOLDOWN_SECS * 1000);
  }
  watchers[0]!.tell(move("y", "y2", BY_OTHER, true));
  await clock.advance(0);
  deepStrictEqual(calls, ["renamed y y2"]);
  await stop();
});

Deno.test("overflows during a scan are one more scan, after the cooldown", async () => {
  const { clock, watchers, metrics, calls, endScan, stop } = await watched();
  watchers[0]!.tell({ t: "overflow" });
  await clock.advance(0);
  deepStrictEqual(calls, ["scan"]);
  watchers[0]!.tell({ t: "overflow" }, { t: "overflow" }, { t: "lost", why: "ESTALE" });
  await clock.advance(60_000);
  deepStrictEqual(calls, ["scan"], "one scan at a time");
  endScan();
  await clock.advance(COOLDOWN_SECS * 1_000 - 1);
  deepStrictEqual(calls, ["scan"], "not within the cooldown");
  await clock.advance(1);
  deepStrictEqual(calls, ["scan", "scan"]);
  endScan();
  await clock.advance(10 * COOLDOWN_SECS * 1_000);
  deepStrictEqual(calls, ["scan", "scan"], "nothing more was asked for");
  strictEqual(await counted(metrics, "p4cache_watcher_overflow_total"), 3);
  strictEqual(await counted(metrics, 'p4cache_rescans_total{reason="overflow"}'), 3);
  strictEqual(await counted(metrics, 'p4cache_rescans_total{reason="lost"}'), 1);
  await stop();
});

Deno.test("a helper that dies is started again at growing distances, and the depot scanned each time", async () => {
  const { clock, watchers, metrics, calls, endScan, stop } = await watched();
  watchers[0]!.die();
  await clock.advance(199);
  strictEqual(watchers.length, 1);
  await clock.advance(1);
  deepStrictEqual([watchers.length, calls], [2, ["scan"]]);
  endScan();
  watchers[1]!.die();
  await clock.advance(399);
  strictEqual(watchers.length, 2, "twice as long as before");
  await clock.advance(1);
  strictEqual(watchers.length, 3);
  watchers[2]!.tell(close("a,v", BY_OTHER, "pidfd"));
  await clock.advance(COOLDOWN_SECS * 1_000);
  deepStrictEqual(calls, ["scan", "wrote a,v by 7", "scan"]);
  strictEqual(
    await counted(metrics, 'p4cache_helper_restarts_total{helper="fanotify"}'),
    2,
  );
  await stop();
});

Deno.test("eventsUntilNow() waits as long as events come, and says so when none do", async () => {
  const statePath = await Deno.makeTempDir();
  const { watch, clock, watchers, stop } = await watched({ statePath });
  const first = watch.eventsUntilNow();
  await canaryIn(statePath);
  for (let i = 0; i < 3; i++) {
    await clock.advance(9_000);
    watchers[0]!.tell(close("a,v", BY_OTHER, "pidfd"));
    await clock.advance(0);
  }
  watchers[0]!.tell(close(".p4cache/canary-id", BY_OTHER, "pidfd"));
  strictEqual(await first, true);
  const second = watch.eventsUntilNow();
  await canaryIn(statePath);
  await clock.advance(10_000);
  strictEqual(await second, false);
  await stop();
  await Deno.remove(statePath);
});

Deno.test("who waits for the events until now is told by the watcher that is started meanwhile", async () => {
  const statePath = await Deno.makeTempDir();
  const { watch, clock, log, watchers, stop } = await watched({ statePath });
  const waiting = watch.eventsUntilNow();
  await canaryIn(statePath);
  const path = `${statePath}/canary-id`;
  await Deno.writeTextFile(path, "of before");
  watchers[0]!.die();
  await clock.advance(200);
  const isRefused = (): boolean =>
    log.records.some(({ message }) => message.includes("cannot be started again"));
  const isAnew = async (): Promise<boolean> => {
    const now = await Deno.stat(path).catch(() => null);
    return now !== null && now.size === 0;
  };
  // The new watcher has heard of no file that was written before.
  while (!await isAnew() && !isRefused());
  strictEqual(isRefused(), false);
  watchers[1]!.tell(close(".p4cache/canary-id", BY_OTHER, "pidfd"));
  await clock.advance(0);
  strictEqual(await waiting, true);
  await stop();
  await Deno.remove(statePath);
});

Deno.test("where no canary can be written, nobody can tell whether every event came: told once", async () => {
  const statePath = await Deno.makeTempDir();
  await Deno.remove(statePath);
  const { watch, clock, log, watchers, stop } = await watched({ statePath });
  await rejects(watch.proveEventsArrive(), { status: EXIT.stateDamaged });
  const errors = (): number =>
    log.records.filter(({ level }) => level === "error").length;
  for (let i = 0; i < 3; i++) strictEqual(await watch.eventsUntilNow(), false);
  strictEqual(errors(), 1);
  await Deno.mkdir(statePath);
  const seen = watch.eventsUntilNow();
  await canaryIn(statePath);
  watchers[0]!.tell(close(".p4cache/canary-id", BY_OTHER, "pidfd"));
  await clock.advance(0);
  strictEqual(await seen, true);
  await Deno.remove(statePath, { recursive: true });
  strictEqual(await watch.eventsUntilNow(), false);
  strictEqual(errors(), 2);
  await stop();
});

Deno.test("a scan that could not look at everything is done again after the cooldown", async () => {
  const { watch, clock, calls, endScan, stop } = await watched();
  watch.requestRescan("lost");
  await clock.advance(0);
  endScan(1);
  await clock.advance(COOLDOWN_SECS * 1000);
  deepStrictEqual(calls, ["scan", "scan"]);
  endScan();
  await clock.advance(COOLDOWN_SECS * 2000);
  deepStrictEqual(calls, ["scan", "scan"]);
  await stop();
});

Deno.test("a scan that fails again and again is done at growing distances, one that is asked for after the cooldown", async () => {
  const statePath = await Deno.makeTempDir();
  const { watch, watchers, clock, calls, endScan, stop } = await watched({ statePath });
  const pauseSecs = async (): Promise<number> => {
    calls.length = 0;
    endScan(1);
    let secs = 0;
    for (; calls.length === 0; secs += 30) await clock.advance(30_000);
    return secs;
  };
  watch.requestRescan("lost");
  await clock.advance(0);
  const pauses: number[] = [];
  strictEqual(watch.lastScan, "whole");
  for (let i = 0; i < 9; i++) pauses.push(await pauseSecs());
  strictEqual(watch.lastScan, "failed");
  deepStrictEqual(pauses, [30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);

  calls.length = 0;
  endScan(1);
  await clock.advance(0);
  watch.requestRescan("overflow");
  await clock.advance(COOLDOWN_SECS * 1_000);
  deepStrictEqual(calls.splice(0), ["scan"]);

  // Who waits for all writes does not wait for an hour.
  endScan(1);
  await clock.advance(COOLDOWN_SECS * 1_000);
  deepStrictEqual(calls, []);
  const caughtUp = watch.catchUp(new AbortController().signal);
  await canaryIn(statePath);
  watchers[0]!.tell(close(".p4cache/canary-id", BY_OTHER, "pidfd"));
  while (calls.length === 0) await clock.advance(0);
  calls.length = 0;
  endScan();
  await clock.advance(1_000);
  strictEqual(await caughtUp, true);
  strictEqual(watch.lastScan, "whole");
  await clock.advance(7_200_000);
  deepStrictEqual(calls, []);

  watch.requestRescan("lost");
  await clock.advance(0);
  strictEqual(await pauseSecs(), 30);
  await stop();
  await Deno.remove(statePath, { recursive: true });
});

Deno.test("who waits for all writes is told when a scan for the missed ones fails", async () => {
  const statePath = await Deno.makeTempDir();
  const { watch, watchers, clock, endScan, stop } = await watched({ statePath });
  const { signal } = new AbortController();
  watch.requestRescan("lost");
  await clock.advance(0);
  const caughtUp = watch.catchUp(signal);
  await canaryIn(statePath);
  watchers[0]!.tell(close(".p4cache/canary-id", BY_OTHER, "pidfd"));
  await clock.advance(0);
  endScan(1);
  await clock.advance(1_000);
  strictEqual(await caughtUp, false);
  await stop();
  await Deno.remove(statePath);
});

Deno.test("whether every write is known is told at once where events may have been missed", async () => {
  const around: Around = {};
  const { watch, watchers, clock, endScan, stop } = await watched(around);
  around.refusal = new Error("no capability");
  watchers[0]!.die();
  await clock.advance(60_000);
  deepStrictEqual([await watch.isCaughtUp(), await watch.look()], [false, "down"]);
  strictEqual(watch.isScanDue, false);
  delete around.refusal;
  await clock.advance(60_000);
  deepStrictEqual([await watch.isCaughtUp(), watch.isScanDue], [false, true]);
  endScan();
  await clock.advance(0);
  strictEqual(watch.isScanDue, false);
  for (const ends of [(): void => endScan(1), (): void => endScan(0, "odd")]) {
    watch.requestRescan("lost");
    deepStrictEqual([await watch.isCaughtUp(), watch.isScanDue], [false, true]);
    await clock.advance(COOLDOWN_SECS * 1_000);
    ends();
    await clock.advance(0);
    deepStrictEqual([await watch.isCaughtUp(), watch.isScanDue], [false, true]);
  }
  strictEqual(watch.lastScan, "stopped");
  await stop();
});

Deno.test("whether every write is known is asked of the watcher, and not for long", async () => {
  const statePath = await Deno.makeTempDir();
  const { watch, watchers, clock, log, calls, stop } = await watched({ statePath });
  const canary = close(".p4cache/canary-id", BY_OTHER, "pidfd");
  const asked = async (...told: WatchEvent[]): Promise<boolean> => {
    const answer = watch.isCaughtUp();
    await canaryIn(statePath);
    watchers[0]!.tell(...told);
    await clock.advance(0);
    return await answer;
  };
  strictEqual(await asked(canary), true);
  deepStrictEqual(calls, []);
  strictEqual(await asked({ t: "overflow" }, canary), false, "a scan is due since");
  await stop();

  const late = await watched({ statePath });
  const barrier = late.watch.eventsUntilNow();
  const answer = late.watch.isCaughtUp();
  await canaryIn(statePath);
  await late.clock.advance(2_000);
  strictEqual(await answer, false);
  const look = late.watch.look();
  await late.clock.advance(2_000);
  strictEqual(await look, "silent");
  const busy = late.watch.look();
  await late.clock.advance(1);
  late.watchers[0]!.tell(close("a,v", BY_OTHER, "pidfd"));
  await late.clock.advance(2_000);
  strictEqual(await busy, "telling");
  await late.clock.advance(10_000);
  strictEqual(await barrier, false);
  const warned = late.log.records.filter(({ message }) => message.includes("no event"));
  strictEqual(warned.length, 1);
  strictEqual(log.records.some(({ message }) => message.includes("no event")), false);
  const last = late.watch.eventsUntilNow();
  await late.stop();
  strictEqual(await last, false);
  await Deno.remove(statePath, { recursive: true });
});

Deno.test("who waits for all writes has the depot scanned again after a scan that stopped", async () => {
  const statePath = await Deno.makeTempDir();
  const { watch, watchers, clock, calls, endScan, stop } = await watched({ statePath });
  watch.requestRescan("lost");
  await clock.advance(0);
  endScan(0, "odd");
  await clock.advance(COOLDOWN_SECS * 1_000);
  deepStrictEqual(calls.splice(0), ["scan"]);
  const caughtUp = watch.catchUp(new AbortController().signal);
  await canaryIn(statePath);
  watchers[0]!.tell(close(".p4cache/canary-id", BY_OTHER, "pidfd"));
  while (calls.length === 0) await clock.advance(0);
  deepStrictEqual(calls, ["scan"]);
  endScan();
  await clock.advance(1_000);
  strictEqual(await caughtUp, true);
  await stop();
  await Deno.remove(statePath, { recursive: true });
});

Deno.test("changes that the manifest could not take lead to one scan, when it can again", async () => {
  const { watch, clock, calls, endScan, stop } = await watched();
  let failed = 0;
  let isWritable = true;
  const watching = watch.watchManifest({
    failedChanges: () => failed,
    setMeta: () => {
      if (isWritable) return Promise.resolve();
      failed += 1;
      return Promise.reject(new ManifestError("full", "no room"));
    },
  });
  await clock.advance(60_000);
  isWritable = false;
  failed = 1;
  await clock.advance(60_000);
  deepStrictEqual(calls, []);
  isWritable = true;
  await clock.advance(60_000);
  deepStrictEqual(calls, ["scan"]);
  endScan();
  await clock.advance(60_000);
  deepStrictEqual(calls, ["scan"]);
  await stop();
  await watching;
});

Deno.test("a manifest of which nothing can be written before it is opened anew ends the daemon, to be started again", async () => {
  const { watch, clock, stop } = await watched();
  let failed = 0;
  const watching = watch.watchManifest({
    failedChanges: () => failed,
    setMeta: () => Promise.reject(new ManifestError("stuck", "a write was refused")),
  });
  const ended = rejects(watching, {
    name: "StartError",
    status: EXIT.temporary,
    message: "a write was refused",
  });
  await clock.advance(60_000);
  failed = 1;
  await clock.advance(60_000);
  await ended;
  await stop();
});

Deno.test("a stop waits until the rename of a directory, and what was told behind it, is taken in", async () => {
  const renaming = Promise.withResolvers<void>();
  const { clock, watchers, calls, stop } = await watched({ renaming: renaming.promise });
  watchers[0]!.tell(move("d", "e", BY_OTHER, true), close("e/a,v", BY_OTHER, "pidfd"));
  await clock.advance(0);
  const stopped = stop().then(() => void calls.push("stopped"));
  await clock.advance(1_000);
  deepStrictEqual(calls, ["renamed d e"]);
  renaming.resolve();
  await stopped;
  deepStrictEqual(calls, ["renamed d e", "done", "wrote e/a,v by 7", "stopped"]);
});

Deno.test("who waits for all events, as a scan does, does not wait for a directory's rename at a stop", async () => {
  const statePath = await Deno.makeTempDir();
  const renaming = Promise.withResolvers<void>();
  const { watch, clock, watchers, calls, stop } = await watched({
    statePath,
    renaming: renaming.promise,
  });
  watchers[0]!.tell(move("d", "e", BY_OTHER, true));
  const waiting = watch.eventsUntilNow();
  await canaryIn(statePath);
  watchers[0]!.tell(close(".p4cache/canary-id", BY_OTHER, "pidfd"));
  await clock.advance(0);
  // It has seen the event, and waits for the rename.
  while ((await Array.fromAsync(Deno.readDir(statePath))).length > 0) {
    await clock.advance(0);
  }
  const stopped = stop();
  strictEqual(await waiting, false);
  deepStrictEqual(calls, ["renamed d e"]);
  renaming.resolve();
  await stopped;
  await Deno.remove(statePath);
});

Deno.test("nothing that was told behind the rename of a directory is taken in if a stop cuts that short", async () => {
  const renaming = Promise.withResolvers<void>();
  const { clock, watchers, calls, log, stop } = await watched({
    renaming: renaming.promise,
  });
  watchers[0]!.tell(move("d", "e", BY_OTHER, true), close("d/a,v", BY_OTHER, "pidfd"));
  await clock.advance(0);
  const stopped = stop();
  renaming.reject(new MoveCutShortError("the daemon stops"));
  await stopped;
  deepStrictEqual(calls, ["renamed d e"]);
  strictEqual(log.records.some(({ message }) => message.includes("told after it")), true);
});

Deno.test("a stop does not wait for ever for what was told", async () => {
  const renaming = new Promise<void>(() => {});
  const { clock, watchers, log, stop } = await watched({ renaming });
  watchers[0]!.tell(move("d", "e", BY_OTHER, true));
  await clock.advance(0);
  const stopped = stop();
  await clock.advance(20_000);
  await stopped;
  strictEqual(
    log.records.some(({ message }) =>
      message.includes("before everything that was told")
    ),
    true,
  );
});

Deno.test("a watcher that cannot begin is tried again, unless a permission is missing", async () => {
  const notFound = { cause: new Deno.errors.NotFound() };
  const cases = [
    [new WatchError("refused", "no capability", { code: "EPERM" }), EXIT.denied],
    [
      new WatchError("not-started", "no", { cause: new Deno.errors.PermissionDenied() }),
      EXIT.denied,
    ],
    [new WatchError("not-started", "EMFILE", notFound), EXIT.temporary],
    [new WatchError("refused", "too many", { code: "EMFILE" }), EXIT.temporary],
    [new WatchError("refused", "no memory", { code: "ENOMEM" }), EXIT.temporary],
    [new WatchError("died", "SIGKILL"), EXIT.temporary],
    [new WatchError("hung", "it sleeps"), EXIT.temporary],
  ] as const;
  for (const [refusal, status] of cases) {
    const message = `Cannot watch the depot: ${refusal.message}`;
    await rejects(watched({ refusal }), { name: "StartError", status, message });
  }
});

Deno.test("a watcher that is there only when the daemon has begun to stop is ended", async () => {
  const first = new FakeWatcher();
  const second = new FakeWatcher();
  const opening = [Promise.withResolvers<Watcher>(), Promise.withResolvers<Watcher>()];
  let opens = 0;
  opening[0]!.resolve(first);
  const { clock, stop } = await watched({ open: () => opening[opens++]!.promise });
  first.die();
  await clock.advance(200);
  strictEqual(opens, 2);
  const stopped = stop();
  opening[1]!.resolve(second);
  await stopped;
  strictEqual(second.isClosed, true);
});
