/**
 * Runs one program twice and compares all that it printed and left behind.
 *
 * @module
 */

import type { Program } from "./programs.ts";
import { openDepot, openPlain, type Site, type SiteReport } from "./site.ts";

export interface Comparison {
  /** Lines that differ, at most a few; empty: equal. */
  readonly differences: readonly string[];
  /** The rules of docs/semantics.md that were needed, each with how many lines. */
  readonly allowed: readonly string[];
  readonly report: SiteReport;
}

const SHOWN_MAX = 100;

/** The output of every step and the tree at the end, line by line. */
async function transcript(site: Site, program: Program): Promise<string[]> {
  let text = "";
  for (const [i, step] of program.steps.entries()) {
    const output = await site.run(step, program.env);
    // A program that fails on both trees alike shows nothing.
    if (!output.endsWith("exit=0\n")) {
      throw new Error(`step ${i + 1}: ${step}\n${output}`);
    }
    text += `step ${i + 1}\n${output}`;
    await site.barrier();
  }
  const tree = await site.tree();
  if (!tree.endsWith("exit=0\n")) throw new Error(`the tree cannot be read:\n${tree}`);
  text += `tree\n${tree}`;
  for (const [pattern, word] of program.hides ?? []) text = text.replace(pattern, word);
  return text.split("\n");
}

export async function compareRuns(program: Program): Promise<Comparison> {
  await using plain = await openPlain();
  const wanted = await transcript(plain, program);
  // deno-lint-ignore no-console -- asked for
  if (Deno.env.get("VERBOSE") === "1") console.log(wanted.join("\n"));
  await using depot = await openDepot();
  const got = await transcript(depot, program).catch((error) => [String(error)]);
  const all = differencesOf(wanted, got);
  const rules = program.mayDiffer ?? [];
  const isAllowed = (line: string): boolean =>
    rules.some(([pattern]) => pattern.test(line));
  const differences = all.filter((line) => !isAllowed(line)).slice(0, SHOWN_MAX);
  if (differences.length > 0) {
    differences.push(...depot.warnings().slice(-SHOWN_MAX).map((it) => `daemon: ${it}`));
  }
  return {
    differences,
    allowed: rules.filter(([pattern]) => all.some((line) => pattern.test(line)))
      .map(([pattern, rule]) =>
        `${all.filter((line) => pattern.test(line)).length / 2}: ${rule}`
      ),
    report: depot.report()!,
  };
}

/** Lines of one that the other lacks, as often as they come. */
function differencesOf(wanted: readonly string[], got: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const line of wanted) counts.set(line, (counts.get(line) ?? 0) + 1);
  const added: string[] = [];
  for (const line of got) {
    const count = counts.get(line) ?? 0;
    if (count === 0) added.push(`evicted: ${line}`);
    else counts.set(line, count - 1);
  }
  const lost = wanted.filter((line) => {
    const count = counts.get(line)!;
    counts.set(line, count - 1);
    return count > 0;
  }).map((line) => `plain:   ${line}`);
  const isMoved = added.length === 0 && lost.length === 0 &&
    wanted.join("\n") !== got.join("\n");
  return isMoved ? ["the same lines in another order"] : [...lost, ...added];
}
