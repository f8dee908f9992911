/**
 * Puts one page after the other of a manifest's file back to what it was before, as a disk does that
 * lost a write, and makes a backup of each: a line of JSON each, {@linkcode BackupOutcome}. A process
 * of its own, because LMDB may end it.
 *
 *     backup_child.ts <base data file> <older data file> <work directory> <first page>
 *
 * @module
 */

import { runManifestBackup } from "../../src/cli/cmd_manifest_backup.ts";
import { checkManifest } from "../../src/manifest/check_manifest.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import { PAGE_BYTES } from "../../src/manifest/page_file.ts";

export interface BackupOutcome {
  readonly page: number;
  /** Null: it has only begun. */
  readonly status: number | null;
  readonly errors: readonly string[];
  /** What is in the directory of the copy. */
  readonly left: readonly string[];
  /** What the whole check finds in the copy. */
  readonly faults: readonly string[];
}

function namesIn(directory: string): string[] {
  return [...Deno.readDirSync(directory)].map(({ name }) => name);
}

async function backUp(work: string): Promise<Omit<BackupOutcome, "page">> {
  const errors: string[] = [];
  const target = `${work}/copies/one`;
  const status = await runManifestBackup(["--manifest", `${work}/manifest`, target], {
    print: () => {},
    printError: (line) => void errors.push(line),
    openManifest,
    checkManifest,
    nowMs: () => 1,
  });
  const left = namesIn(`${work}/copies`);
  const faults: string[] = [];
  if (status === 0) {
    for await (const { where, what } of checkManifest(target)) {
      faults.push(`${where}: ${what}`);
    }
  }
  return { status, errors, left, faults };
}

if (import.meta.main) {
  const [base, olderPath, work, first] = Deno.args as [string, string, string, string];
  const good = await Deno.readFile(base);
  const older = await Deno.readFile(olderPath);
  const say = (outcome: BackupOutcome): void => {
    Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(outcome)}\n`));
  };
  for (let page = Number(first); page * PAGE_BYTES < older.length; page++) {
    say({ page, status: null, errors: [], left: [], faults: [] });
    const bytes = good.slice();
    const at = page * PAGE_BYTES;
    bytes.set(older.subarray(at, at + PAGE_BYTES), at);
    Deno.removeSync(work, { recursive: true });
    Deno.mkdirSync(`${work}/manifest`, { recursive: true });
    Deno.mkdirSync(`${work}/copies`);
    Deno.writeFileSync(`${work}/manifest/data.mdb`, bytes);
    say({ page, ...await backUp(work) });
  }
}
