/**
 * One run of the crash test: a depot that is written, read and unlinked all the time while
 * its daemon dies again and again, and what is left of it at the end.
 *
 * @module
 */

import { ok, strictEqual } from "node:assert/strict";
import { CRASH_POINTS, type CrashPoint } from "../../src/core/crash_point.ts";
import { type Death, isFirstStart, planDeaths, PREPARATIONS } from "./crash_plan.ts";
import type { Random } from "./random.ts";
import { Rig, until } from "./rig.ts";
import { Workload } from "./workload.ts";

const STEP_MS_MAX = 25_000;
/** Kills between two looks at every file, or a few more. */
const CHECK_EVERY = 25;

export interface CrashResult {
  kills: number;
  files: number;
  inFlightAtKill: number;
  lost: number;
  wrong: number;
  /** Steps that were armed, and how often each was where the daemon died. */
  readonly hits: Map<CrashPoint, number>;
}

export interface CrashOptions {
  readonly runs: number;
  readonly random: Random;
  /** Also wipe the manifest at the end, and rebuild it. */
  readonly rebuilds: boolean;
  readonly log: (line: string) => void;
}

/** Resolves whatever was found; throws where the test itself could not go on. */
export async function runCrashes(options: CrashOptions): Promise<CrashResult> {
  const { runs, random, log } = options;
  const deaths = planDeaths(runs, random);
  const result: CrashResult = {
    kills: 0,
    files: 0,
    inFlightAtKill: 0,
    lost: 0,
    wrong: 0,
    hits: new Map(),
  };
  for (const death of deaths.filter(isFirstStart)) await dieAtFirstStart(death, result);
  await new CrashRun(options, result).run(deaths.filter((it) => !isFirstStart(it)));
  const missed = CRASH_POINTS.filter((step) => result.hits.get(step) === 0);
  if (missed.length > 0) log(`never reached: ${missed.join(" ")}`);
  return result;
}

/** Whether the run showed what it is there to show, beyond finding nothing. */
export function isConvincing(result: CrashResult): boolean {
  const everyArmedStepWasHit = [...result.hits.values()].every((hits) => hits > 0);
  return everyArmedStepWasHit && result.inFlightAtKill * 2 > result.kills &&
    result.files > 0;
}

/** A new instance dies while it makes itself known; a file is waiting for it already. */
async function dieAtFirstStart(death: Death, result: CrashResult): Promise<void> {
  ok(death.kind === "step");
  await using rig = await Rig.open();
  await Deno.writeTextFile(`${rig.depot}/a,v`, "from before\n");
  strictEqual(await rig.start({ crashAt: death.step }), "gone");
  noteDeath(result, death.step, (await rig.end("SIGKILL")).signal === "SIGKILL");
  result.inFlightAtKill += 1; // the file is in no store yet
  strictEqual(await rig.start(), "ready", rig.log);
  await rig.drained();
  await rig.end("SIGTERM");
  await rig.wipeDepot();
  await rig.start();
  const client = rig.client();
  const reply = await client.ask("read", `${rig.depot}/a,v`);
  result.files += 1;
  if (!("sha256" in reply)) result.lost += 1;
}

/** Whether the death before is part of it. */
function isPrepared(death: Death | undefined): boolean {
  return death?.kind === "step" && PREPARATIONS[death.step]?.diedAt !== undefined;
}

function noteDeath(result: CrashResult, step: CrashPoint, wasHit: boolean): void {
  result.kills += 1;
  result.hits.set(step, (result.hits.get(step) ?? 0) + (wasHit ? 1 : 0));
}

class CrashRun {
  readonly #options: CrashOptions;
  readonly #result: CrashResult;
  #rig!: Rig;
  #workload!: Workload;
  #planted: string[] = [];

  constructor(options: CrashOptions, result: CrashResult) {
    this.#options = options;
    this.#result = result;
  }

  async run(deaths: readonly Death[]): Promise<void> {
    await using rig = await Rig.open({ config: { max_cache_bytes: 1_500_000 } });
    this.#rig = rig;
    this.#workload = new Workload(rig, this.#options.random);
    try {
      await rig.start();
      this.#workload.start();
      await until("the first files are evicted", () => {
        this.#workload.throwIfFailed();
        return this.#markers().length > 10;
      });
      await rig.end("SIGKILL");
      let unseen = 0;
      for (const [i, death] of deaths.entries()) {
        await this.#die(death);
        unseen += 1;
        // A look starts the daemon, and that would use up what this death prepares.
        if (unseen >= CHECK_EVERY && !isPrepared(deaths[i + 1])) {
          await this.#lookAtAll();
          unseen = 0;
        }
      }
      await this.#checkEnd();
    } finally {
      await this.#workload.close();
    }
    this.#result.files += this.#workload.names.length;
    this.#result.lost += this.#workload.count("lost");
    this.#result.wrong += this.#workload.count("wrong");
  }

  #markers(): string[] {
    return [...this.#rig.names()].filter(({ isMarker }) => isMarker).map((it) => it.path);
  }

  async #die(death: Death): Promise<void> {
    const rig = this.#rig;
    const startedMs = performance.now();
    this.#workload.throwIfFailed();
    if (death.kind === "random") {
      await rig.start({ waits: death.afterMs > 300 });
      await rig.endsWithin(death.afterMs);
      const { signal } = await rig.end("SIGKILL");
      strictEqual(
        signal,
        "SIGKILL",
        `the daemon ended by itself:\n${rig.log.slice(-3000)}`,
      );
      this.#result.kills += 1;
    } else {
      await this.#prepare(death.step);
      await rig.start({ crashAt: `${death.step}:${death.visit}` });
      const wasHit = await rig.endsWithin(STEP_MS_MAX);
      const { signal } = await rig.end("SIGKILL");
      strictEqual(
        signal,
        "SIGKILL",
        `the daemon ended by itself:\n${rig.log.slice(-3000)}`,
      );
      noteDeath(this.#result, death.step, wasHit);
    }
    const inFlight = await rig.inFlight() + this.#workload.waitingCount;
    if (inFlight > 0) this.#result.inFlightAtKill += 1;
    const what = death.kind === "random" ? `random ${death.afterMs} ms` : death.step;
    const elapsed = Math.round(performance.now() - startedMs);
    const { reads, versionsWritten } = this.#workload;
    this.#options.log(
      `kill ${this.#result.kills}: ${what}, ${elapsed} ms, in flight ${inFlight}, ` +
        `${versionsWritten} versions, ${reads} reads`,
    );
  }

  /** While no daemon runs. */
  async #prepare(step: CrashPoint): Promise<void> {
    const { losesMarkers, plantsFile, hidesVersion } = PREPARATIONS[step] ?? {};
    if (hidesVersion) await this.#workload.hideNewVersion(this.#markers());
    // Taken out of the very place that an update of a `,v` may fill now: by unlink, which
    // takes whatever is there. So only of files that are written once.
    if (losesMarkers) {
      for (const path of this.#markers().filter((it) => it.endsWith(".gz")).slice(0, 3)) {
        this.#workload.mayBeAbsent.add(path);
        Deno.removeSync(`${this.#rig.depot}/${path}`);
      }
    }
    if (plantsFile) {
      const name = `${this.#planted.length}.1.2.3`;
      Deno.writeTextFileSync(`${this.#rig.depot}/.p4cache/evicting/${name}`, name);
      this.#planted.push(name);
    }
  }

  /** Every file, while nothing is written. */
  async #lookAtAll(): Promise<void> {
    // First the daemon: reads that are under way wait for it.
    strictEqual(await this.#rig.start(), "ready", this.#rig.log.slice(-3000));
    await this.#workload.stop();
    await this.#workload.checkAll();
    await this.#rig.end("SIGKILL");
    this.#workload.start();
  }

  async #checkEnd(): Promise<void> {
    const rig = this.#rig;
    const workload = this.#workload;
    strictEqual(await rig.start(), "ready", rig.stderr);
    await workload.stop();
    await rig.settled();
    workload.mayBeAbsent.clear();
    await workload.checkAll();
    strictEqual((await rig.end("SIGTERM")).code, 0);
    for (const name of this.#planted) {
      const path = `${rig.depot}/.p4cache/lost+found/${name}`;
      strictEqual(Deno.readTextFileSync(path), name, "a file that nobody knows was kept");
    }
    await rig.wipeDepot();
    if (this.#options.rebuilds) {
      await Deno.remove(`${rig.depot}/.p4cache/manifest`, { recursive: true });
      // From the copy of the first start, or from nothing, as on a new disk.
      const copy = this.#options.random.next() < 0.5 ? [] : ["--no-copy"];
      const how = [...copy, "--new-disk"];
      this.#options.log(`rebuild-manifest ${how.join(" ")}`);
      const { code, output } = await rig.cli("rebuild-manifest", ...how);
      ok(code === 0 || code === 1, `rebuild-manifest ended with ${code}:\n${output}`);
      workload.forgetRenames();
    }
    strictEqual(await rig.start(), "ready", rig.stderr);
    await workload.checkAll();
  }
}
