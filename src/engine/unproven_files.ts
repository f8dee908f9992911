/**
 * How many files are unproven ({@linkcode ScanReport}), as scans tell, of which two may overlap.
 *
 * @module
 */

import type { ScanReport } from "./scan.ts";

export class UnprovenFiles {
  #scansBegun = 0;
  #known: { readonly files: number; readonly scan: number } | null = null;

  /** By the last whole scan of this session, that is, the one that began last; null: none yet. */
  get count(): number | null {
    return this.#known?.files ?? null;
  }

  /** The number of a scan that begins. */
  begin(): number {
    return ++this.#scansBegun;
  }

  /** What one that began before another has seen says nothing of what that has found since. */
  ended(scan: number, { stopped, failing, unproven }: ScanReport): void {
    if (stopped !== null || failing > 0) return this.failed(unproven + failing);
    if (this.#known === null || this.#known.scan < scan) {
      this.#known = { files: unproven, scan };
    }
  }

  /** A scan that did not look at everything left so many, at least. */
  failed(files: number): void {
    const known = this.#known;
    if (known !== null && known.files < files) this.#known = { ...known, files };
  }
}
