/**
 * Plays a short script alone, and looks for the shortest one that still differs. A line `evict`
 * in it waits until everything that may go is evicted.
 *
 * @module
 */

import { strictEqual } from "node:assert/strict";
import { everythingEvicted, openSite } from "./site.ts";
import { minimize, relatedOps } from "./shrink.ts";
import { buildActor, type Divergence, type PhaseScripts, Trial } from "./trial.ts";

const EVICT = "evict";
const STEM = "p0t0";
/** Each try with an eviction takes the five seconds of a file's youth. */
const SHRINK_MS_MAX = 240_000;

/** The first divergence of the script, or null. */
export async function replay(lines: readonly string[]): Promise<Divergence | null> {
  await using rig = await openSite();
  const trial = new Trial(rig, await buildActor(rig.directory));
  await trial.open([STEM]);
  strictEqual(await rig.start(), "ready", rig.stderr);
  const parts: { readonly phase: string; readonly scripts: PhaseScripts }[] = [];
  for (const part of [...partsOf(lines), ["tree"]]) {
    const phase = `part${parts.length}`;
    const scripts = [[{ stem: STEM, lines: part }]];
    parts.push({ phase, scripts });
    if (parts.length > 1) await everythingEvicted(rig);
    await trial.play(phase, scripts);
  }
  for (const { phase, scripts } of parts) {
    const { divergences } = await trial.follow(phase, scripts, false);
    if (divergences.length > 0) return divergences[0]!;
  }
  return null;
}

function partsOf(lines: readonly string[]): string[][] {
  const parts: string[][] = [[]];
  for (const line of lines) {
    if (line === EVICT) parts.push([]);
    else parts.at(-1)!.push(line);
  }
  return parts.filter((part) => part.length > 0);
}

/**
 * What a thread did up to a divergence, cut down. Null if it does not differ when it is played
 * alone: then it takes what the others did, or a moment that does not come again.
 *
 * @param met Indexes of the operations that began on an evicted file.
 */
export async function shrink(
  lines: readonly string[],
  index: number,
  met: ReadonlySet<number>,
): Promise<readonly string[] | null> {
  const related = relatedOps(lines, index).flatMap((i) => {
    // No working directory but the first: the operations that change it are left out.
    const line = lines[i]!.replace(/\tr\t/g, "\ta\t");
    return met.has(i) ? [EVICT, line] : [line];
  });
  if (await replay(related) === null) return null;
  const endMs = performance.now() + SHRINK_MS_MAX;
  return await minimize(
    related,
    async (subset) => await replay(subset) !== null,
    () => performance.now() < endMs,
  );
}
