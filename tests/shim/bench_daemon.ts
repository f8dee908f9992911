/**
 * What a question to the daemon costs a program: stat of an absent managed name, for which the
 * shim asks by STAT, alone and while 16 programs restore; next to the same call without the shim.
 *
 *   bench_daemon.ts PROGRAM      (bench_stat, compiled by bench.sh)
 *
 * @module
 */

// deno-lint-ignore-file no-console -- a benchmark prints
import { Rig, until } from "../crash/rig.ts";

const LIBRARY = new URL("../../build/libp4shim.so", import.meta.url).pathname;
const CALLS = 20_000;
const READERS = 16;
const FILES_EACH = 60;
const FILE_BYTES = 1_000_000;
/** The share of a budget in DESIGN: p50 alone, p99 under restores. */
const BUDGET = { p50Us: 150, p99Us: 5_000 } as const;

const [program] = Deno.args as [string];

interface Percentiles {
  readonly count: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

function percentiles(text: string): Percentiles {
  const [count, p50Us, p99Us] = text.trim().split(" ").map(Number) as [
    number,
    number,
    number,
  ];
  return { count, p50Us, p99Us };
}

function command(rig: Rig, args: string[], isShimmed: boolean): Deno.Command {
  return new Deno.Command(args[0]!, {
    args: args.slice(1),
    env: isShimmed ? { LD_PRELOAD: LIBRARY, P4CACHE_DEPOT: rig.depot } : {},
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  });
}

async function statAlone(rig: Rig, isShimmed: boolean): Promise<Percentiles> {
  const args = [program, `${rig.depot}/absent,v`, String(CALLS)];
  const { stdout } = await command(rig, args, isShimmed).output();
  return percentiles(new TextDecoder().decode(stdout));
}

/** While readers open evicted files, each its own. */
async function statUnderRestores(
  rig: Rig,
): Promise<{ asked: Percentiles; plain: Percentiles; restored: number }> {
  for (let i = 0; i < READERS; i++) {
    await Deno.mkdir(`${rig.depot}/r${i}`);
    for (let j = 0; j < FILES_EACH; j++) {
      const bytes = new Uint8Array(FILE_BYTES).fill(i * FILES_EACH + j);
      await Deno.writeFile(`${rig.depot}/r${i}/${j},v`, bytes);
    }
  }
  await rig.drained();
  await rig.reload({ max_cache_bytes: 1, low_watermark_bytes: 0 });
  await until("all is evicted", () => [...rig.names()].every((it) => it.isMarker));
  await rig.reload({ max_cache_bytes: 0, low_watermark_bytes: null });
  const path = `${rig.depot}/absent,v`;
  const asking = command(rig, [program, path, "0"], true).spawn();
  // What the kernel alone takes meanwhile, and the wait for a processor: now and then.
  const floor = command(rig, [program, path, "0", "1000"], false).spawn();
  await Promise.all(
    Array.from(
      { length: READERS },
      (_, i) =>
        command(rig, ["sh", "-c", `cat ${rig.depot}/r${i}/*,v | wc -c`], true).output(),
    ),
  );
  for (const program of [asking, floor]) program.kill("SIGTERM");
  const [asked, plain] = await Promise.all([asking, floor].map(async (program) => {
    const { stdout } = await program.output();
    return percentiles(new TextDecoder().decode(stdout));
  })) as [Percentiles, Percentiles];
  const restored = [...rig.names()].filter((it) => !it.isMarker).length;
  return { asked, plain, restored };
}

await using rig = await Rig.open();
if (await rig.start() === "gone") throw new Error(rig.stderr);
const plain = await statAlone(rig, false);
const alone = await statAlone(rig, true);
const loaded = await statUnderRestores(rig);
const line = (name: string, { p50Us, p99Us, count }: Percentiles, budget: string): void =>
  console.log(
    `${name.padEnd(40)}${p50Us.toFixed(1).padStart(10)}${p99Us.toFixed(1).padStart(10)}` +
      `${String(count).padStart(10)}   ${budget}`,
  );
console.log(
  `${"stat of an absent name, us".padEnd(40)}       p50       p99     calls   budget`,
);
line("without the shim", plain, "");
line("STAT asked of the daemon", alone, `p50 ${BUDGET.p50Us}`);
line(`without the shim, ${READERS} programs restoring`, loaded.plain, "");
line(
  `STAT, ${READERS} programs restoring`,
  loaded.asked,
  `p99 ${BUDGET.p99Us}; ${loaded.restored} files of ${FILE_BYTES} bytes restored meanwhile`,
);
