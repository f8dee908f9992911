/**
 * What the rows below a directory do when it is renamed, or trades places with another one: some
 * of them a step, so that no group holds the event loop, and all of them in the end, also if a
 * stop or a death comes between two steps.
 *
 * A move that one step does not end is written down as `moving` in `meta` by its first step, and
 * taken away by its last, each in the transaction of the rows themselves. Until then the row of a
 * file is under one of its two names, and only the record says that all are to be under the other.
 *
 * There is one record, because there is one move at a time: each waits for the one before, and
 * first finishes what is written down. So directories that are renamed one after the other, also a
 * parent of one that is on its way, find whole trees, as the kernel had them. What is written down
 * at a start is therefore the last move that the manifest knows of, and nothing has changed a row
 * since: no daemon was there.
 *
 * Going on does no harm to what was done. A move takes what is still below `from`, where nothing
 * but the rest can be: who tells of moves asks for nothing below it before this one is at its end, also
 * where a step is refused, and does not go on behind one that a stop cut short. An exchange is no
 * move of what is left over, since each side holds rows whether it was done or not: it writes down
 * how far it came.
 *
 * @module
 */

import { assert } from "../core/assert.ts";
import { type DepotPath, depotPathOrNull, PATH_BYTES_MAX } from "../core/names.ts";
import type { FinishedMove, Leaving, MovedTree } from "./manifest.ts";
import { exchangeRows, moveRow } from "./move_rows.ts";
import { decodeMoving, encodeMoving, MOVING, type Moving } from "./moving.ts";
import { decoded, type ManifestReader, rangeOfPrefix } from "./reader.ts";
import type { Transaction } from "./transaction.ts";

/** Runs an operation in some group, and resolves once that is durable. */
type ChangeGroup = <T>(operate: (group: Transaction) => T) => Promise<T>;

interface Step {
  readonly movedCount: number;
  readonly left: readonly DepotPath[];
  /** Where the next step begins; null: there is none. */
  readonly next: string | null;
}

export interface TreeMovesDeps {
  readonly reader: ManifestReader;
  readonly change: ChangeGroup;
  readonly rowsPerStep: number;
}

export class TreeMoves {
  readonly #deps: TreeMovesDeps;
  /** The last move that was asked for; never rejects. */
  #last: Promise<void> = Promise.resolve();

  constructor(deps: TreeMovesDeps) {
    this.#deps = deps;
  }

  /** See {@linkcode Manifest.moveTree} and {@linkcode Manifest.exchangeTrees}. */
  async run(
    move: Omit<Moving, "whiteout" | "after">,
    leaving: Leaving,
  ): Promise<MovedTree> {
    const { from, to } = move;
    assert(
      from !== to && !to.startsWith(`${from}/`) && !from.startsWith(`${to}/`),
      "A directory does not move into itself",
    );
    const moving = { ...move, whiteout: leaving.whiteout ?? false, after: "" };
    return await this.#inTurn(async () => {
      await this.#finish(leaving);
      return await this.#steps(moving, leaving);
    });
  }

  /** See {@linkcode Manifest.finishMove}. */
  finish(leaving: Leaving, signal?: AbortSignal): Promise<FinishedMove | null> {
    return this.#inTurn(() => this.#finish(leaving, signal));
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.then(() => {}, () => {});
    return done;
  }

  async #finish(
    { firstKey }: Leaving,
    signal?: AbortSignal,
  ): Promise<FinishedMove | null> {
    const text = this.#deps.reader.meta(MOVING);
    if (text === null) return null;
    const moving = decoded(() => "The manifest's moving", () => decodeMoving(text));
    const { from, to, whiteout } = moving;
    const leaving = firstKey === undefined ? { whiteout } : { whiteout, firstKey };
    return { from, to, ...await this.#steps(moving, leaving, signal) };
  }

  async #steps(
    moving: Moving,
    leaving: Leaving,
    signal?: AbortSignal,
  ): Promise<MovedTree> {
    const step = moving.kind === "move" ? this.#moveStep : this.#exchangeStep;
    const left = new Set<DepotPath>();
    let movedCount = 0;
    let at = moving;
    for (let isFirst = true;; isFirst = false) {
      signal?.throwIfAborted();
      const { next, ...done } = await this.#deps.change((group) => {
        const taken = step.call(this, group, at, leaving);
        this.#note(group, at, taken.next);
        return taken;
      });
      movedCount += done.movedCount;
      for (const path of done.left) left.add(path);
      // Once more, for what a look that began before the rename has written meanwhile. Mostly that
      // is nothing, and no commit.
      const isDone = next === null && !(isFirst && moving.kind === "move");
      if (isDone) return { movedCount, left: [...left] };
      if (next !== null) at = { ...at, after: next };
    }
  }

  #note(group: Transaction, moving: Moving, next: string | null): void {
    if (next !== null) group.setMeta(MOVING, encodeMoving({ ...moving, after: next }));
    else if (this.#deps.reader.meta(MOVING) !== null) group.setMeta(MOVING, null);
  }

  /** `after`: rows up to there that stay, and are not to be read for ever. */
  #moveStep(
    group: Transaction,
    { from, to, after, toldMs }: Moving,
    leaving: Leaving,
  ): Step {
    const names = this.#namesIn(group, from, after);
    readRows(group, [from, to], names.names);
    const left: DepotPath[] = [];
    let movedCount = 0;
    for (const name of names.names) {
      const path = join(from, name);
      if (group.row(path) === null) continue;
      const target = depotPathOrNull(join(to, name));
      if (target === null) left.push(path);
      else {
        moveRow(group, { from: path, to: target }, toldMs, leaving);
        movedCount++;
      }
    }
    const lastLeft = left.at(-1)?.slice(from.length + 1) ?? after;
    return { movedCount, left, next: names.last === null ? null : lastLeft };
  }

  #exchangeStep(
    group: Transaction,
    { from, to, after, toldMs }: Moving,
    leaving: Leaving,
  ): Step {
    const sides = [from, to].map((side) => this.#namesIn(group, side, after));
    const lasts = sides.flatMap(({ last }) => last ?? []);
    const names = [...new Set(sides.flatMap((side) => side.names))]
      .filter((name) => lasts.every((last) => name <= last));
    readRows(group, [from, to], names);
    const left: DepotPath[] = [];
    for (const name of names) {
      const [a, b] = [join(from, name), join(to, name)];
      // The shorter one has the row.
      if (Math.max(a.length, b.length) <= PATH_BYTES_MAX) {
        tradeRows(group, [a, b], toldMs, leaving);
      } else left.push(a.length < b.length ? a : b);
    }
    const next = lasts.length === 0 ? null : lasts.toSorted()[0]!;
    return { movedCount: names.length - left.length, left, next };
  }

  /**
   * Names of rows below the directory behind `after`, relative to it, in the order of their bytes:
   * some, with what the group itself has made, which is committed with it. `last`: of those that
   * are committed, if there are more.
   */
  #namesIn(
    group: Transaction,
    directory: DepotPath,
    after: string,
  ): { readonly names: readonly string[]; readonly last: string | null } {
    const { reader, rowsPerStep } = this.#deps;
    const prefix = join(directory, "");
    const range = rangeOfPrefix(prefix, rowsPerStep);
    const from = after === "" ? range.from : `${prefix}${after}\0`;
    const committed = reader.paths({ ...range, from });
    const last = committed.length === rowsPerStep ? committed.at(-1)! : null;
    const made = group.pathsBelow(prefix)
      .filter((path) => path >= from && (last === null || path <= last));
    const names = [...new Set([...committed, ...made])].sort()
      .map((path) => path.slice(prefix.length));
    return { names, last: last?.slice(prefix.length) ?? null };
  }
}

/** A row that is damaged throws here, before the group has changed. */
function readRows(
  group: Transaction,
  sides: readonly DepotPath[],
  names: readonly string[],
): void {
  for (const name of names) {
    for (const side of sides) {
      const path = depotPathOrNull(join(side, name));
      if (path !== null) group.row(path);
    }
  }
}

function tradeRows(
  group: Transaction,
  [a, b]: readonly [DepotPath, DepotPath],
  nowMs: number,
  leaving: Leaving,
): void {
  const [hasA, hasB] = [group.row(a) !== null, group.row(b) !== null];
  if (hasA && hasB) exchangeRows(group, a, b, leaving);
  else if (hasA) moveRow(group, { from: a, to: b }, nowMs, leaving);
  else if (hasB) moveRow(group, { from: b, to: a }, nowMs, leaving);
}

function join(directory: DepotPath, name: string): DepotPath {
  return `${directory}/${name}` as DepotPath;
}
