/**
 * Where the copies of a manifest are, and which is the newest. Copies stand beside it, in
 * `manifest-copies/<time>`, and sort by their names.
 *
 * @module
 */

const DIRECTORY = "manifest-copies";
const NAME = /^\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}Z$/;

function directoryOf(manifestDirectory: string): string {
  const parent = manifestDirectory.replace(/\/[^/]*$/, "");
  return `${parent}/${DIRECTORY}`;
}

/** Where a copy that is made now belongs, for `Manifest.backup`. */
export function copyDirectoryAt(manifestDirectory: string, nowMs: number): string {
  const name = `${new Date(nowMs).toISOString().slice(0, 19).replaceAll(":", "-")}Z`;
  return `${directoryOf(manifestDirectory)}/${name}`;
}

/** Whole copies, the newest first. */
export function copiesOf(manifestDirectory: string): string[] {
  const directory = directoryOf(manifestDirectory);
  try {
    return [...Deno.readDirSync(directory)].map(({ name }) => name)
      .filter((name) => NAME.test(name)).sort().reverse()
      .map((name) => `${directory}/${name}`);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** Removes all but the `keep` newest copies. */
export async function pruneCopies(
  manifestDirectory: string,
  keep: number,
): Promise<void> {
  for (const copy of copiesOf(manifestDirectory).slice(Math.max(1, keep))) {
    await Deno.remove(copy, { recursive: true });
  }
}
