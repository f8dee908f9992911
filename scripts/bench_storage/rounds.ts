// deno-lint-ignore-file no-console -- it prints its table
/**
 * Times contenders in turns, so that whatever else the machine does meets all of them, and
 * prints medians with the ratio to the first.
 *
 * @module
 */

export interface Contender {
  readonly name: string;
  /** The seconds that count. */
  run(): Promise<number>;
}

export async function secondsOf(body: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await body();
  return (performance.now() - start) / 1_000;
}

/** @param amount What one run does, in `unit`. */
export async function compare(
  what: string,
  [amount, unit]: readonly [number, string],
  contenders: readonly Contender[],
  rounds: number,
): Promise<void> {
  const seconds = contenders.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [i, { run }] of contenders.entries()) seconds[i]!.push(await run());
  }
  const first = median(seconds[0]!);
  for (const [i, { name }] of contenders.entries()) {
    const middle = median(seconds[i]!);
    const rate = (amount / middle).toFixed(0);
    const all = seconds[i]!.map((s) => s.toFixed(2)).join(" ");
    console.log(
      `${what} | ${name} | ${rate} ${unit} | ${(first / middle).toFixed(2)} | ${all}`,
    );
  }
}

export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? sorted[middle]!
    : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
