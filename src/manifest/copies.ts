/**
 * Where the copies of a manifest are, and which is the newest. Copies stand beside it, in
 * `manifest-copies/<time>`, and sort by their names. One that is being made, or was not
 * checked yet, has another name.
 *
 * @module
 */

const DIRECTORY = "manifest-copies";
const UNCHECKED = "unchecked";
const NAME = /^\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}Z$/;

function directoryOf(manifestDirectory: string): string {
  const parent = manifestDirectory.replace(/\/[^/]*$/, "");
  return `${parent}/${DIRECTORY}`;
}

/** Whether a checked copy may have this name: it says when the copy was made. */
export function isCopyName(name: string): boolean {
  return NAME.test(name);
}

export function copyNameOf(directory: string): string {
  return directory.replace(/^.*\//, "");
}

/** Where a copy that is made now belongs, once it was checked. */
export function copyDirectoryAt(manifestDirectory: string, nowMs: number): string {
  const name = `${new Date(nowMs).toISOString().slice(0, 19).replaceAll(":", "-")}Z`;
  return `${directoryOf(manifestDirectory)}/${name}`;
}

/** Where it is until then. What a crash left there is worth nothing. */
export function uncheckedDirectory(manifestDirectory: string): string {
  return `${directoryOf(manifestDirectory)}/${UNCHECKED}`;
}

/** Whole, checked copies, the newest first. */
export function copiesOf(manifestDirectory: string): string[] {
  const directory = directoryOf(manifestDirectory);
  try {
    return [...Deno.readDirSync(directory)].map(({ name }) => name)
      .filter(isCopyName).sort().reverse()
      .map((name) => `${directory}/${name}`);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** Removes all but the `keep` newest copies; `good` stays whatever its name says. */
export async function pruneCopies(
  manifestDirectory: string,
  keep: number,
  good: string,
): Promise<void> {
  const others = copiesOf(manifestDirectory).filter((copy) => copy !== good);
  for (const copy of others.slice(Math.max(0, keep - 1))) {
    await Deno.remove(copy, { recursive: true });
  }
}
