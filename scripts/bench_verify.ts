/**
 * How fast `p4-cache verify` reads records, and how much memory it takes: a synthetic checkpoint
 * (default 5,000,000 revisions) verified at depth `exists` over a real tree, in a process of
 * its own. Prints one line of JSON a measurement.
 *
 *     deno run -A scripts/bench_verify.ts [--records 5000000] [--per-file 25]
 *
 * @module
 */

import { createHash } from "node:crypto";

interface BenchOptions {
  readonly records: number;
  readonly perFile: number;
}

function parseOptions(args: readonly string[]): BenchOptions {
  const valueOf = (name: string, fallback: number): number => {
    const at = args.indexOf(name);
    return at < 0 ? fallback : Number(args[at + 1]);
  };
  return {
    records: valueOf("--records", 5_000_000),
    perFile: valueOf("--per-file", 25),
  };
}

function report(line: Record<string, unknown>): void {
  // deno-lint-ignore no-console -- the output of a benchmark
  console.log(JSON.stringify(line));
}

/** A checkpoint as p4d writes it, its gzip, and an empty `,v` for each file. */
async function makeTree(
  root: string,
  { records, perFile }: BenchOptions,
): Promise<{ records: number; files: number; bytes: number; gzBytes: number }> {
  const now = 1_700_000_000;
  const file = await Deno.create(`${root}/checkpoint`);
  const gz = new Deno.Command("gzip", {
    args: ["-1", "-k", "checkpoint"],
    cwd: root,
  });
  const encoder = new TextEncoder();
  let text = `@nx@ 0 ${now} @50@ 1 0 0 0 0 @/p4@ @journal@ @@ @@ @@ \n` +
    `@pv@ 1 @db.depot@ @depot@ 0 @@ @depot/...@ \n@ex@ 1 ${now}\n`;
  const flush = async (): Promise<void> => {
    const bytes = encoder.encode(text);
    for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
    text = "";
  };
  const files = Math.ceil(records / perFile);
  for (let index = 0; index < files; index++) {
    const path = `project${index % 97}/src/component${index % 1009}/file${index}.cpp`;
    await makeArchive(`${root}/server/depot`, path);
    for (let rev = Math.min(perFile, records - index * perFile); rev > 0; rev--) {
      const digest = createHash("md5").update(`${index}/${rev}`).digest("hex");
      text +=
        `@pv@ 9 @db.rev@ @//depot/${path}@ ${rev} 0 1 ${1000 + rev} ${now} ${now} ` +
        `${digest.toUpperCase()} ${1000 + rev} 0 0 @//depot/${path}@ @1.${
          1000 + rev
        }@ 0 \n`;
    }
    if (text.length > 1 << 20) await flush();
  }
  // Tables that nobody wants are most of a real checkpoint.
  text += `@ex@ 1 ${now}\n`;
  for (let index = 0; index < records / 10; index++) {
    text +=
      `@pv@ 0 @db.desc@ ${index} @A description of change ${index},\nin two lines@ \n`;
    if (text.length > 1 << 20) await flush();
  }
  text += `@ex@ 1 ${now}\n@nx@ 1 ${now} @50@ 0 0 0 0 0 @@ @@ @@ @@ @@ \n@ex@ 1 ${now}\n`;
  await flush();
  file.close();
  await gz.output();
  const { size: bytes } = await Deno.stat(`${root}/checkpoint`);
  const { size: gzBytes } = await Deno.stat(`${root}/checkpoint.gz`);
  return { records, files, bytes, gzBytes };
}

const made = new Set<string>();

async function makeArchive(root: string, path: string): Promise<void> {
  const parent = `${root}/${path.slice(0, path.lastIndexOf("/"))}`;
  if (!made.has(parent)) {
    await Deno.mkdir(parent, { recursive: true });
    made.add(parent);
  }
  await Deno.writeFile(`${root}/${path},v`, new Uint8Array(0));
}

/** Runs the other half of this benchmark in a process of its own, and reads what it prints. */
async function measure(args: readonly string[]): Promise<Record<string, unknown>> {
  const half = new URL("../tests/verify/bench_half.ts", import.meta.url).pathname;
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", half, ...args],
    stderr: "inherit",
  }).output();
  if (!success) throw new Error(`The measured process failed: ${args.join(" ")}`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

if (import.meta.main) {
  const options = parseOptions(Deno.args);
  const directory = await Deno.makeTempDir({ prefix: "p4cache-bench-verify." });
  try {
    const tree = await makeTree(directory, options);
    report({ what: "checkpoint", ...tree });
    const lexer = await measure(["--lexer", `${directory}/checkpoint`]);
    report({ what: "lexer alone, plain text, one core", ...lexer });
    for (const name of ["checkpoint", "checkpoint.gz"]) {
      const run = await measure([
        "--verify",
        `${directory}/${name}`,
        `${directory}/server`,
        String(options.records),
      ]);
      report({ what: `verify --depth exists, ${name}`, ...run });
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}
