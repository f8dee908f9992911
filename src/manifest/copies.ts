/**
 * Where the copies of a manifest are, and which is the newest. Copies stand beside it, in
 * `manifest-copies/<time>`, and sort by their names, as far as the clock was right. One that is being made, or was not
 * checked yet, has another name.
 *
 * @module
 */

import { removeIfThere } from "./directories.ts";

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
  return `${directoryOf(manifestDirectory)}/${copyNameAt(nowMs)}`;
}

/** Of a copy that is made now. */
export function copyNameAt(nowMs: number): string {
  return `${new Date(nowMs).toISOString().slice(0, 19).replaceAll(":", "-")}Z`;
}

/** Where it is until then. What a crash left there is worth nothing. */
export function uncheckedDirectory(manifestDirectory: string): string {
  return `${directoryOf(manifestDirectory)}/${UNCHECKED}`;
}

/** What a crash or a full disk left of a copy, also while it was made. */
export async function removeUnchecked(manifestDirectory: string): Promise<void> {
  const directory = directoryOf(manifestDirectory);
  for (const name of namesIn(directory)) {
    if (name.startsWith(UNCHECKED)) await removeIfThere(`${directory}/${name}`);
  }
}

/**
 * Names of copies, the newest first. One of the future was made while the clock was wrong, so that
 * it says nothing of the copy's age: it comes after all others.
 */
export function newestFirst(names: readonly string[], nowMs: number): string[] {
  const now = copyNameAt(nowMs);
  const sorted = names.toSorted().reverse();
  return [
    ...sorted.filter((name) => name <= now),
    ...sorted.filter((name) => name > now),
  ];
}

/** The newest that a right clock has named; null if there is none. */
export function newestOf(names: readonly string[], nowMs: number): string | null {
  const [newest] = newestFirst(names, nowMs);
  return newest === undefined || newest > copyNameAt(nowMs) ? null : newest;
}

/** Names of the whole, checked copies, in no order. */
export function copyNamesOf(manifestDirectory: string): string[] {
  return namesIn(directoryOf(manifestDirectory)).filter(isCopyName);
}

export function copyDirectoryOf(manifestDirectory: string, name: string): string {
  return `${directoryOf(manifestDirectory)}/${name}`;
}

function namesIn(directory: string): string[] {
  try {
    return [...Deno.readDirSync(directory)].map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** Of the copies `names`, those that go when the `keep` newest stay, and `good` in any case. */
export function planPrune(
  names: readonly string[],
  { keep, good, nowMs }: {
    readonly keep: number;
    readonly good: string;
    readonly nowMs: number;
  },
): string[] {
  const others = names.filter((name) => name !== good);
  return newestFirst(others, nowMs).slice(Math.max(0, keep - 1));
}
