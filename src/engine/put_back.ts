/**
 * The markers that this process has put back under empty names, by path and inode: only these
 * may be taken away again when it turns out that their file was deleted or renamed. Any
 * other marker that lies there by then is an evicted file that got the name since.
 *
 * @module
 */

import type { DepotPath } from "../core/names.ts";

/**
 * A marker is taken away within seconds, if at all. One that was forgotten stays: a file that
 * shows under a name that it left is less than one that is missing under its own.
 */
const REMEMBERED_MAX = 10_000;

export class PutBackMarkers {
  readonly #inodes = new Map<DepotPath, bigint>();

  note(path: DepotPath, ino: bigint): void {
    this.#inodes.delete(path);
    this.#inodes.set(path, ino);
    if (this.#inodes.size <= REMEMBERED_MAX) return;
    const [oldest] = this.#inodes.keys();
    this.#inodes.delete(oldest!);
  }

  has(path: DepotPath, ino: bigint): boolean {
    return this.#inodes.get(path) === ino;
  }

  /**
   * The directory `from` is `to` now. Its markers moved along, or were put into a new directory of
   * the old name: returns the names that they have then.
   */
  moved(from: DepotPath, to: DepotPath): DepotPath[] {
    const below = [...this.#inodes].filter(([path]) => path.startsWith(`${from}/`));
    for (const [path, ino] of below) {
      this.note(`${to}${path.slice(from.length)}` as DepotPath, ino);
    }
    return below.map(([path]) => path);
  }
}
