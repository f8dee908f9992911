/**
 * Whether a store in a directory lies in the tree that it backs, or the tree in the store: the
 * daemon would evict its own store. The configuration's texts are compared when it is read;
 * here it is what lies there, whatever leads to it: a symbolic link, or a bind mount.
 *
 * @module
 */

import type { Config } from "../config/key_table.ts";
import { storesOf } from "../config/parse_config.ts";

/** Where a directory is. */
interface Place {
  readonly realPath: string;
  /** The directory's own "device inode" and that of each one above it. */
  readonly inodes: readonly string[];
  /** Its path within its file system, whichever part of that is mounted where. */
  readonly within: { readonly fileSystem: string; readonly path: string } | null;
}

/** What is wrong with the stores of `config`, as far as their directories and the depot are there. */
export async function nestedStores(
  config: Config,
  mounts: string = mountsOfThisProcess(),
): Promise<readonly ["primary" | "secondary", string][]> {
  const found: ["primary" | "secondary", string][] = [];
  const depot = await placeOf(config.depotPath, mounts);
  if (depot === null) return found;
  for (const [role, store] of storesOf(config)) {
    if (store.type !== "nfs") continue;
    const place = await placeOf(store.path, mounts);
    if (place === null) continue;
    const how = isIn(place, depot) ? "in" : isIn(depot, place) ? "above" : null;
    if (how === null) continue;
    found.push([
      role,
      `Cannot use "${store.path}" as a store: it is ${place.realPath}, ${how} the depot ` +
      `${config.depotPath}, which is ${depot.realPath}; a directory neither in nor above ` +
      "depot_path is wanted",
    ]);
  }
  return found;
}

function isIn(inner: Place, outer: Place): boolean {
  if (isBelow(inner.realPath, outer.realPath)) return true;
  if (inner.inodes.includes(outer.inodes[0]!)) return true;
  return inner.within !== null && outer.within !== null &&
    inner.within.fileSystem === outer.within.fileSystem &&
    isBelow(inner.within.path, outer.within.path);
}

function isBelow(path: string, directory: string): boolean {
  return path === directory || path.startsWith(directory === "/" ? "/" : `${directory}/`);
}

/** Null if it is not there, or may not be looked at: whoever opens it says so. */
async function placeOf(path: string, mounts: string): Promise<Place | null> {
  try {
    const realPath = await Deno.realPath(path);
    const inodes: string[] = [];
    for (let it = realPath;; it = it.replace(/\/[^/]*$/, "")) {
      const { dev, ino } = await Deno.stat(it || "/");
      inodes.push(`${dev} ${ino}`);
      if (it === "" || it === "/") break;
    }
    return { realPath, inodes, within: withinFileSystem(realPath, mounts) };
  } catch (error) {
    const isAbsent = error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.NotADirectory ||
      error instanceof Deno.errors.PermissionDenied;
    if (!isAbsent) throw error;
    return null;
  }
}

/** By the mount that is the nearest above it; of several at one place the last covers the others. */
function withinFileSystem(realPath: string, mounts: string): Place["within"] {
  let best: { at: string; fileSystem: string; root: string } | null = null;
  for (const line of mounts.split("\n")) {
    // "id parent major:minor root mount-point options ..."
    const [, , fileSystem, root, at] = line.split(" ").map(unescaped);
    if (fileSystem === undefined || root === undefined || at === undefined) continue;
    if (!isBelow(realPath, at)) continue;
    if (best === null || at.length >= best.at.length) best = { at, fileSystem, root };
  }
  if (best === null) return null;
  const below = best.at === "/" ? realPath : realPath.slice(best.at.length);
  const path = `${best.root === "/" ? "" : best.root}${below === "/" ? "" : below}`;
  return { fileSystem: best.fileSystem, path: path || "/" };
}

/** Blanks and the like are octal there. */
function unescaped(field: string): string {
  return field.replace(
    /\\([0-7]{3})/g,
    (_, octal) => String.fromCharCode(parseInt(octal, 8)),
  );
}

function mountsOfThisProcess(): string {
  try {
    return Deno.readTextFileSync("/proc/self/mountinfo");
  } catch (error) {
    // The inodes still tell of all but a part of the depot that is mounted elsewhere.
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}
