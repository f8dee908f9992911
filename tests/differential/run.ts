/**
 * A whole differential run: populate, operate under chaos, compare the trees, evict
 * everything, compare again.
 *
 * @module
 */

import { strictEqual } from "node:assert/strict";
import { Random } from "../crash/random.ts";
import { acceptConflicts, Chaos, drainAll } from "./chaos.ts";
import { everythingEvicted, openSite } from "./site.ts";
import { shrink } from "./replay.ts";
import { generate, populate, SHARED_LOGS, threadsOf } from "./generate.ts";
import {
  buildActor,
  CONTROL,
  type Divergence,
  type PhaseScripts,
  Trial,
} from "./trial.ts";

const PROGRESS_MS = 10_000;

export interface DifferentialOptions {
  readonly ops: number;
  readonly processes: number;
  readonly hasFaults: boolean;
  readonly random: Random;
  readonly log: (line: string) => void;
}

export interface DifferentialResult {
  readonly ops: number;
  readonly divergences: readonly Divergence[];
}

export async function runDifferential(
  options: DifferentialOptions,
): Promise<DifferentialResult> {
  const { log, random } = options;
  const phases = plan(options);
  await using rig = await openSite();
  const trial = new Trial(rig, await buildActor(rig.directory));
  await trial.open(phases.main.flat().map(({ stem }) => stem));
  strictEqual(await rig.start(), "ready", rig.stderr);

  await trial.play("populate", phases.populate);
  await everythingEvicted(rig);
  const chaos = new Chaos({
    rig,
    random,
    controlPath: trial.controlPath,
    hasFaults: options.hasFaults,
  });
  const startedMs = performance.now();
  const progress = setInterval(() => log(progressOf(trial)), PROGRESS_MS);
  chaos.start();
  try {
    await trial.play("main", phases.main);
  } finally {
    clearInterval(progress);
    await chaos.stop();
    chaos.close();
  }
  const seconds = (performance.now() - startedMs) / 1000;
  log(`chaos: ${[...chaos.done].map(([what, n]) => `${what} ${n}`).join(", ")}`);
  await trial.play("end", phases.end);
  // Its scan finds what link() made, which no event tells.
  strictEqual((await rig.end("SIGTERM")).code, 0);
  strictEqual(await rig.start(), "ready", rig.stderr);
  await drainAll(rig);
  log(`conflicts accepted: ${await acceptConflicts(rig)}`);
  const stuck = await everythingEvicted(rig).then(
    () => null,
    (error) => `${error.message}`,
  );
  await trial.play("evicted", phases.end);

  const divergences: Divergence[] = [];
  if (stuck !== null) divergences.push(stuckAs(stuck));
  for (
    const [phase, scripts] of [
      ["populate", phases.populate],
      ["main", phases.main],
      ["end", phases.end],
      ["evicted", phases.end],
    ] as const
  ) {
    const result = await trial.follow(
      phase,
      scripts,
      phase === "main" && options.hasFaults,
    );
    log(
      `${phase}: ${result.ops} operations, ${result.met} on evicted files, ` +
        `${result.tolerated} refused by a fault`,
    );
    // What differs afterwards follows from the first.
    divergences.push(
      ...result.divergences.filter(({ stem }) =>
        !divergences.some((it) => it.stem === stem)
      ),
    );
    if (result.tolerated > 0 && (phase !== "main" || !options.hasFaults)) {
      log(`${phase}: an error without a fault`);
    }
  }
  log(`${Math.round(options.ops / seconds)} operations a second`);
  for (const it of divergences) log(describe(it));
  await explain(divergences, { trial, phases, log });
  return { ops: options.ops, divergences };
}

/** What could go on a plain disk, too, and stays: nobody sees it, and it is wrong all the same. */
function stuckAs(depot: string): Divergence {
  const what = { stem: "daemon", index: 0, phase: "evicted", line: "evict everything" };
  return { ...what, depot, plain: "everything is evicted" };
}

/** The first divergence of an own subtree, as short as it can be had. */
async function explain(
  divergences: readonly Divergence[],
  { trial, phases, log }: {
    readonly trial: Trial;
    readonly phases: Phases;
    readonly log: (line: string) => void;
  },
): Promise<void> {
  const first = divergences.find((it) =>
    it.phase === "main" && !/^s[a-z]+\t/.test(it.line)
  );
  if (first === undefined) return;
  const linesOf = (scripts: PhaseScripts): readonly string[] =>
    scripts.flat().find(({ stem }) => stem === first.stem)!.lines;
  const before = linesOf(phases.populate);
  const met = await trial.metMarkers("main", first.stem);
  const lines = [...before, ...linesOf(phases.main)];
  const offset = before.length;
  const shifted = new Set([...met].map((i) => i + offset));
  const short = await shrink(lines, first.index + offset, shifted);
  if (short === null) {
    log("it does not differ when it is played alone: see the daemon's log (KEEP=1)");
    return;
  }
  log("differs when played alone by --replay FILE, with this in it:");
  for (const line of short) log(line);
}

interface Phases {
  readonly populate: PhaseScripts;
  readonly main: PhaseScripts;
  readonly end: PhaseScripts;
}

function plan({ ops, processes, random }: DifferentialOptions): Phases {
  const shape = Array.from({ length: processes }, (_, p) => threadsOf(p));
  const count = Math.ceil(ops / shape.reduce((sum, threads) => sum + threads, 0));
  const scripts = (lines: (p: number, t: number) => string[]): PhaseScripts =>
    shape.map((threads, p) =>
      Array.from(
        { length: threads },
        (_, t) => ({ stem: `p${p}t${t}`, lines: lines(p, t) }),
      )
    );
  const end = ["tree"];
  const shared = [
    "send",
    ...Array.from({ length: SHARED_LOGS }, (_, n) => `sscan\t${n}`),
  ];
  return {
    populate: scripts((p, t) => populate(random, p === 0 && t === 0)),
    // From a seed of its own: what a thread does must not hang on how others are cut.
    main: scripts((p) => {
      const seed = random.between(0, 2 ** 31 - 1);
      return generate(new Random(seed), count, threadsOf(p) === 1);
    }),
    end: scripts((p, t) => p === 0 && t === 0 ? [...end, ...shared] : end),
  };
}

function progressOf(trial: Trial): string {
  const view = new DataView(Deno.readFileSync(trial.controlPath).buffer);
  const ops = view.getBigUint64(CONTROL.ops, true);
  return `${ops} operations, ${view.getBigUint64(CONTROL.met, true)} on evicted files`;
}

function describe(it: Divergence): string {
  const from = commonLength(it.depot, it.plain);
  const shown = (text: string): string =>
    (from > 0 ? "..." : "") + text.slice(from, from + 300);
  return [
    `DIVERGENCE in ${it.phase}/${it.stem}, operation ${it.index}: ${it.line}`,
    `  depot: ${shown(it.depot)}`,
    `  plain: ${shown(it.plain)}`,
  ].join("\n");
}

/** Where two accounts part, less some of what they share: trees are long. */
function commonLength(a: string, b: string): number {
  let at = 0;
  while (at < a.length && a[at] === b[at]) at++;
  return at < 300 ? 0 : at - 100;
}
