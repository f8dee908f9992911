/**
 * Finds rows beside LMDB, in C and in one call, while the file keeps still: no commit is under
 * way, so that the newest one is what LMDB shows, too.
 *
 * @module
 */

import { bytePathOf, type DepotPath } from "../core/names.ts";
import type { SealedRow, SealedRows } from "../posix/sealed_rows.ts";
import type { NativeReads } from "./page_file.ts";

export class RowFinder {
  readonly #native: NativeReads;
  readonly #fd: number;
  readonly #rows: SealedRows;
  #commitsUnderWay = 0;
  /** Null: not known since the last commit. */
  #isUsable: boolean | null = null;

  /** Of the manifest's only writer: it cannot see the commits of others. */
  constructor(native: NativeReads, dataFile: string) {
    this.#native = native;
    this.#fd = native.openRead(bytePathOf(dataFile));
    try {
      this.#rows = native.sealedRows(this.#fd);
    } catch (error) {
      native.close(this.#fd);
      throw error;
    }
  }

  /** Null: ask LMDB. */
  find(path: DepotPath): SealedRow | null {
    if (this.#commitsUnderWay > 0) return null;
    this.#isUsable ??= this.#rows.renew();
    return this.#isUsable ? this.#rows.find(path) : null;
  }

  /** One that fails counts as under way for ever: what it left in the file, LMDB knows. */
  async whileCommitting(commit: () => Promise<void>): Promise<void> {
    this.#commitsUnderWay++;
    await commit();
    this.#commitsUnderWay--;
    this.#isUsable = null;
  }

  close(): void {
    this.#rows.close();
    this.#native.close(this.#fd);
  }
}
