/**
 * From a thread's script to the few operations that make it differ: first those that have a
 * name in common with the one that differed, then fewer by delta debugging, as long as what is
 * left still differs when it is played again.
 *
 * @module
 */

/** Fields of a line that are paths below the thread's directory, or outside of the depot. */
function pathsOf(line: string): string[] {
  return line.split("\t").slice(1).filter((it) => it.includes("/") || it.startsWith("^"));
}

/** Operations on descriptors that stay open say nothing without the others on them. */
const STATEFUL = new Set(["hold", "held", "heldw", "release", "chdir"]);

/**
 * The indexes of operations before `index` that its paths hang on, oldest first, and its own:
 * those that name one of its files, or a file that was renamed, linked or copied to one.
 */
export function relatedOps(lines: readonly string[], index: number): number[] {
  const names = new Set(pathsOf(lines[index]!));
  const kept = [index];
  for (let i = index - 1; i >= 0; i--) {
    const paths = pathsOf(lines[i]!);
    if (STATEFUL.has(lines[i]!.split("\t")[0]!)) continue;
    const isRelated = paths.some((path) =>
      [...names].some((name) =>
        path === name || path.startsWith(`${name}/`) || name.startsWith(`${path}/`)
      )
    );
    if (!isRelated) continue;
    kept.unshift(i);
    for (const path of paths) names.add(path);
  }
  return kept;
}

/**
 * A subset of `items`, in order, for which `fails` still holds, and from which no chunk that was
 * tried can be left out. `fails` must hold for all of them.
 *
 * @param mayGoOn Asked before each try; false ends with the best so far.
 */
export async function minimize<T>(
  items: readonly T[],
  fails: (subset: readonly T[]) => Promise<boolean>,
  mayGoOn: () => boolean,
): Promise<readonly T[]> {
  let best = items;
  for (let chunks = 2; best.length > 1 && chunks <= best.length;) {
    const size = Math.ceil(best.length / chunks);
    let isSmaller = false;
    for (let from = 0; from < best.length && !isSmaller; from += size) {
      if (!mayGoOn()) return best;
      const rest = best.toSpliced(from, size);
      if (rest.length > 0 && await fails(rest)) {
        best = rest;
        isSmaller = true;
      }
    }
    chunks = isSmaller ? Math.max(2, chunks - 1) : size === 1 ? Infinity : chunks * 2;
  }
  return best;
}
