/**
 * What can be wrong with a configuration, and how it is said.
 *
 * @module
 */

export interface ConfigProblem {
  /** Dotted for a key of a store: `primary.bucket`. "" for the file, where `wanted` says all. */
  readonly key: string;
  /** What stands there, shortened; never a secret. Null if nothing does. */
  readonly value: string | null;
  /** What is wanted instead: `an integer from 1 to 64`. */
  readonly wanted: string;
}

/** The configuration cannot be used. Lists everything that is wrong with it. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly path: string;
  readonly problems: readonly ConfigProblem[];

  constructor(path: string, problems: readonly ConfigProblem[], cause?: unknown) {
    const lines = problems.map((problem) => `  ${textOfProblem(problem)}`);
    super(
      [`Cannot use the configuration ${JSON.stringify(path)}:`, ...lines].join("\n"),
      { cause },
    );
    this.path = path;
    this.problems = problems;
  }
}

/** One line. */
export function textOfProblem({ key, value, wanted }: ConfigProblem): string {
  if (key === "") return wanted;
  const found = value === null ? "is missing" : `is ${value}`;
  return `${JSON.stringify(key)} ${found}; wanted: ${wanted}`;
}

/**
 * A value for people: JSON, in one line and not too long; of an object only its kind, of a
 * URL no password.
 */
export function describeValue(value: unknown): string {
  if (value === null) return "null";
  if (typeof value === "object") return Array.isArray(value) ? "a list" : "an object";
  const text = JSON.stringify(value).replace(/\/\/[^/@]*@/g, "//***@");
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** For a value that may be a secret in the wrong place. */
export function describeKind(value: unknown): string {
  if (typeof value === "string") return "a text";
  if (typeof value === "number") return "a number";
  return describeValue(value);
}

/** The key that was probably meant; null if none is near. */
export function nearestKey(key: string, known: Iterable<string>): string | null {
  let best: string | null = null;
  // Two slips, or one letter of three in a long name: beyond that a guess only misleads.
  let bestDistance = Math.max(2, Math.min(5, Math.floor(key.length / 3))) + 1;
  for (const candidate of known) {
    // Each letter more is a slip; an absurdly long key is not worth the arithmetic.
    if (Math.abs(candidate.length - key.length) >= bestDistance) continue;
    const distance = editDistance(key.toLowerCase(), candidate);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** Letters to insert, remove, replace or swap with their neighbour. */
function editDistance(a: string, b: string): number {
  let twoUp: number[] = [];
  let up = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const isEqual = a[i - 1] === b[j - 1];
      let least = Math.min(up[j]! + 1, row[j - 1]! + 1, up[j - 1]! + (isEqual ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        least = Math.min(least, twoUp[j - 2]! + 1);
      }
      row.push(least);
    }
    [twoUp, up] = [up, row];
  }
  return up[b.length]!;
}
