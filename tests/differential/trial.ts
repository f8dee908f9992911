/**
 * One trial: scripts are played on a depot under the shim and the real daemon, then on a plain
 * directory, and the two accounts are compared line by line.
 *
 * The plain run follows the account of the depot: a step that failed there as only a fault
 * may make it fail is not made here either. So one refused open does not make everything after
 * it differ, and whatever else differs is a divergence.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { Rig } from "../crash/rig.ts";
import type { ThreadScript } from "./generate.ts";

const BUILD = new URL("../../build/", import.meta.url).pathname;
const ACTOR_DIRECTORY = new URL("./actor/", import.meta.url).pathname;

/** struct control of actor.h. */
export const CONTROL = {
  bytes: 65_536,
  hold: 0,
  inStructure: 4,
  ops: 8,
  met: 16,
} as const;

/** EIO and ENOSPC, and ENXIO of freopen: the answers that faults may have. */
const FAULT_STEP = /^@\d+ \d+$/;

export interface Divergence {
  readonly stem: string;
  /** Of the operation within its phase. */
  readonly index: number;
  readonly phase: string;
  readonly line: string;
  readonly depot: string;
  readonly plain: string;
}

/** The scripts of one phase, by process. */
export type PhaseScripts = readonly (readonly ThreadScript[])[];

export interface PhaseResult {
  readonly ops: number;
  readonly met: number;
  readonly tolerated: number;
  readonly divergences: readonly Divergence[];
}

/** Builds the program that plays scripts; resolves with its path. */
export async function buildActor(directory: string): Promise<string> {
  const sources: string[] = [];
  for await (const { name } of Deno.readDir(ACTOR_DIRECTORY)) {
    if (name.endsWith(".c")) sources.push(name);
  }
  const actor = `${directory}/actor`;
  const flags = "-std=gnu11 -O2 -g -Wall -Wextra -Werror".split(" ");
  const { code, stderr } = await new Deno.Command(Deno.env.get("CC") ?? "gcc", {
    args: [...flags, "-o", actor, ...sources, "-ldl", "-lpthread"],
    cwd: ACTOR_DIRECTORY,
  }).output();
  if (code !== 0) {
    throw new Error(`the actor does not compile: ${new TextDecoder().decode(stderr)}`);
  }
  return actor;
}

/** Where one of the two sides lives. */
interface Side {
  readonly name: "depot" | "plain";
  readonly own: string;
  readonly shared: string;
  readonly outside: string;
  readonly through: string;
  readonly control: string;
}

export class Trial {
  readonly #rig: Rig;
  readonly #actor: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #sides: readonly [Side, Side];

  /** @param env Of the programs on the depot, besides what the shim needs. */
  constructor(rig: Rig, actor: string, env: Readonly<Record<string, string>> = {}) {
    this.#rig = rig;
    this.#actor = actor;
    this.#env = env;
    const side = (name: "depot" | "plain"): Side => ({
      name,
      own: `${rig.directory}/${name}/own`,
      shared: `${rig.directory}/${name}/shared`,
      outside: `${rig.directory}/outside-${name}`,
      through: `${rig.directory}/through-${name}`,
      control: `${rig.directory}/control-${name}`,
    });
    this.#sides = [side("depot"), side("plain")];
  }

  get controlPath(): string {
    return this.#sides[0].control;
  }

  async open(stems: readonly string[]): Promise<void> {
    for (const side of this.#sides) {
      await Deno.mkdir(side.shared, { recursive: true });
      for (const stem of stems) {
        await Deno.mkdir(`${side.own}/${stem}`, { recursive: true });
        await Deno.mkdir(`${side.outside}/${stem}`, { recursive: true });
      }
      await Deno.symlink(side.own, side.through);
      await Deno.writeFile(side.control, new Uint8Array(CONTROL.bytes));
    }
  }

  /** Plays a phase on the depot. */
  async play(phase: string, scripts: PhaseScripts): Promise<void> {
    const directory = `${this.#rig.directory}/${phase}`;
    await Deno.mkdir(directory);
    for (const { stem, lines } of scripts.flat()) {
      const text = lines.map((line) => `${line}\n`).join("");
      await Deno.writeFile(`${directory}/${stem}.script`, Buffer.from(text, "latin1"));
    }
    await this.#run(this.#sides[0], phase, scripts);
  }

  /**
   * Plays the same phase on the plain directory, and compares.
   *
   * @param hasFaults Whether something was made to fail: only then may a call be refused.
   */
  async follow(
    phase: string,
    scripts: PhaseScripts,
    hasFaults: boolean,
  ): Promise<PhaseResult> {
    await this.#run(this.#sides[1], phase, scripts);
    const result = { ops: 0, met: 0, tolerated: 0, divergences: [] as Divergence[] };
    for (const { stem, lines } of scripts.flat()) {
      const depot = await this.#account(phase, stem, "depot");
      const plain = await this.#account(phase, stem, "plain");
      result.ops += lines.length;
      for (const [index, line] of lines.entries()) {
        const [seen = "", failure = "", met = ""] = (depot[index] ?? "nothing").split(
          "\t",
        );
        const [wanted = ""] = (plain[index] ?? "nothing").split("\t");
        if (met === "e") result.met += 1;
        if (FAULT_STEP.test(failure)) result.tolerated += 1;
        // A rule broken on the plain directory would be the test's own error.
        const isAllowed = hasFaults || !FAULT_STEP.test(failure);
        if (seen === wanted && isAllowed && !seen.includes("VIOLATION")) continue;
        result.divergences.push({ stem, index, phase, line, depot: seen, plain: wanted });
        break; // what comes after follows from it
      }
    }
    return result;
  }

  /** The index of each operation that began on an evicted file. */
  async metMarkers(phase: string, stem: string): Promise<ReadonlySet<number>> {
    const account = await this.#account(phase, stem, "depot");
    const indexes = account.flatMap((line, i) => line.split("\t")[2] === "e" ? [i] : []);
    return new Set(indexes);
  }

  async #account(phase: string, stem: string, side: string): Promise<string[]> {
    const path = `${this.#rig.directory}/${phase}/${stem}.${side}`;
    return Buffer.from(await Deno.readFile(path)).toString("latin1").split("\n");
  }

  async #run(side: Side, phase: string, scripts: PhaseScripts): Promise<void> {
    const shim = side.name === "depot"
      ? {
        LD_PRELOAD: `${BUILD}libp4shim.so`,
        P4CACHE_DEPOT: this.#rig.depot,
        P4CACHE_MANAGE: "all",
        ...this.#env,
      }
      : {};
    let writer = 0;
    const processes = scripts.map(async (threads) => {
      const args = ["--root", side.own, "--through", side.through];
      args.push("--outside", side.outside, "--shared", side.shared);
      args.push("--control", side.control, "--writer", `${writer}`);
      writer += threads.length;
      if (side.name === "plain") args.push("--follow");
      args.push(...threads.map(({ stem }) => `${this.#rig.directory}/${phase}/${stem}`));
      const { code, signal, stderr } = await new Deno.Command(this.#actor, {
        args,
        env: { PATH: "/usr/bin:/bin", ...shim },
        clearEnv: true,
        stdin: "null",
        stdout: "inherit",
      }).output();
      const said = new TextDecoder().decode(stderr);
      if (code !== 0 || said !== "") {
        throw new Error(`an actor ended with ${signal ?? code} on ${side.name}: ${said}`);
      }
    });
    // All of them, before anybody cleans up.
    for (const ended of await Promise.allSettled(processes)) {
      if (ended.status === "rejected") throw ended.reason;
    }
  }
}
