/**
 * Two directories that trade places (`renameat2` with RENAME_EXCHANGE, by a program without the
 * shim). The kernel tells of two renames, and the first alone looks like one onto an empty
 * directory: its rows would go over those of the other.
 *
 * @module
 */

import { type DepotPath, PATH_BYTES_MAX } from "../core/names.ts";
import { NO_INODE } from "../manifest/transitions.ts";
import { untilMoved, untilTaken } from "./directory_moves.ts";
import { type EngineContext, hasSameContent, leavingIn } from "./engine_context.ts";
import { lookAt } from "./local_file.ts";
import { isMarkerOf } from "./observe_plan.ts";
import type { Rename } from "./rename.ts";

const BATCH = 500;

type Moved = Pick<Rename, "from" | "to" | "ino" | "toldMs">;

export class DirectoryExchanges {
  readonly #context: EngineContext;
  /** What the kernel tells next of these names if what it told was the first half of an exchange. */
  #otherHalf: Moved | null = null;

  constructor(context: EngineContext) {
    this.#context = context;
  }

  /**
   * The rows that stay, because their files have names that are too long, once the rows of both
   * directories traded places; null if they have not: it is no exchange.
   */
  async take(moved: Moved): Promise<readonly DepotPath[] | null> {
    const { from, to, ino } = moved;
    const half = this.#otherHalf;
    const names = [half?.from, half?.to];
    if (names.includes(from) || names.includes(to)) this.#otherHalf = null;
    if (half?.from === from && half.to === to && half.ino === ino) return [];
    const other = this.#otherAt(moved);
    if (other === null) return null;
    // Made since, unless a rename from there is what is told next.
    this.#otherHalf = { ...moved, from: to, to: from, ino: other };
    if (!this.#hasComeFrom(to, from)) return null;
    return await this.#trade(moved);
  }

  /** The directory that now has the name of the one that was renamed. */
  #otherAt({ from, ino }: Moved): bigint | null {
    const { posix, root } = this.#context;
    const there = posix.lstat(`${root}/${from}`);
    if (ino === null || there?.kind !== "directory" || there.ino === ino) return null;
    return there.ino;
  }

  /** Whether a file of `to`, which was not empty then, lies in `from` now. */
  #hasComeFrom(to: DepotPath, from: DepotPath): boolean {
    for (let after = "";;) {
      const names = this.#namesBelow(to, after);
      if (names.some((name) => this.#isOfRow(join(from, name), join(to, name)))) {
        return true;
      }
      if (names.length < BATCH) return false;
      after = names.at(-1)!;
    }
  }

  #isOfRow(path: DepotPath, of: DepotPath): boolean {
    if (path.length > PATH_BYTES_MAX) return false;
    const row = this.#context.manifest.get(of);
    const look = lookAt(this.#context, path);
    if (row === null) return false;
    const { ino } = row.local;
    if (look.kind === "marker") {
      return !row.resident && isMarkerOf(row, look.stat) &&
        (ino === NO_INODE || ino === look.stat.ino);
    }
    return look.kind === "file" && row.resident && hasSameContent(look.stat, row.local);
  }

  async #trade({ from, to, toldMs }: Moved): Promise<readonly DepotPath[]> {
    const { evictions, applyDeletesBelow, manifest, departures, clock } = this.#context;
    await evictions.settled(`${to}/`);
    await untilTaken(this.#context, { from, to }, () => applyDeletesBelow(to));
    const nowMs = toldMs ?? clock.nowMs();
    const leaving = leavingIn(this.#context);
    const { left } = await untilMoved(
      this.#context,
      { from, to },
      () => manifest.exchangeTrees(from, to, nowMs, leaving),
    );
    for (const directory of [from, to]) departures.forgetBelow(directory);
    return left;
  }

  /** In the order of their bytes, relative to the directory. */
  #namesBelow(directory: DepotPath, after: string): string[] {
    const prefix = join(directory, "");
    return this.#context.manifest.paths(join(directory, after), BATCH)
      .filter((path) => path.startsWith(prefix))
      .map((path) => path.slice(prefix.length));
  }
}

function join(directory: DepotPath, name: string): DepotPath {
  return `${directory}/${name}` as DepotPath;
}
