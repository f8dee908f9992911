/**
 * Checks the pages of the manifest's file without LMDB: every page that a tree reaches is
 * what its parent says, keys are in order and between those of the parent, no page is
 * used twice or free and used, and the totals agree. A lookup in trees that pass does not
 * miss what is there.
 *
 * @module
 */

import { textOfBytes } from "../core/names.ts";
import { entryCrc32 } from "./crc32c.ts";
import { type TableName, TABLES } from "./key_value.ts";
import { decodeLedger, decodeMeta, replaceInSum } from "./ledger.ts";
import {
  areOrdered,
  type Bounds,
  contentSumOf,
  type Node,
  nodesOf,
  plainLeafEntries,
} from "./page_nodes.ts";
import {
  BIG_VALUE,
  BRANCH,
  KIND_BITS,
  LEAF,
  type Meta,
  NO_PAGE,
  OVERFLOW,
  PAGE_BYTES,
  PAGE_HEADER_BYTES,
  type PageFile,
  readTree,
  SUBTREE,
  type Tree,
  viewOf,
} from "./page_file.ts";

export interface PageCheckOptions {
  /**
   * Also the leaves of the tables, which are nearly all pages. Without them the check
   * takes a fraction of a second for a million rows, and finds what would lead astray.
   */
  readonly leaves: boolean;
}

/** What is wrong with the pages that `meta` leads to, in plain words. */
export function pageFaults(
  file: PageFile,
  meta: Meta,
  options: PageCheckOptions,
): string[] {
  return inspectPages(file, meta, options).faults;
}

/** The same, and the schema version that the file says, if it could be read. */
export function inspectPages(
  file: PageFile,
  meta: Meta,
  { leaves }: PageCheckOptions,
): { readonly faults: string[]; readonly schemaVersion: number | null } {
  const check = new PageCheck(file, meta);
  try {
    check.run(leaves);
  } catch (error) {
    if (!(error instanceof TooManyFaults)) throw error;
  }
  return check;
}

/**
 * Whether a page can have been written by `transaction`. Each of ours changes the counters,
 * and so the root of the table of tables: an older root, pages below it intact, would be
 * the whole manifest as it was some time ago.
 */
function isFitting(
  transaction: number,
  meta: Meta,
  { walk, level }: { readonly walk: Walk; readonly level: number },
): boolean {
  return level === 1 && walk.tree === meta.tables
    ? transaction === meta.transaction
    : transaction <= meta.transaction;
}

/** More than this says nothing new. */
const FAULTS_MAX = 1_000;

class TooManyFaults extends Error {}

interface Walk {
  /** Its entries count in the sum of all contents. */
  readonly isContent: boolean;
  readonly name: string;
  readonly tree: Tree;
  readonly hasNumericKeys: boolean;
  readonly readsLeaves: boolean;
  /** Null: nobody wants to know the entries. */
  readonly onEntry:
    | ((key: Uint8Array, value: Uint8Array, flags: number) => void)
    | null;
  entries: number;
  branchPages: number;
  leafPages: number;
  overflowPages: number;
}

class PageCheck {
  readonly faults: string[] = [];
  schemaVersion: number | null = null;
  readonly #file: PageFile;
  readonly #meta: Meta;
  /** One bit a page: reached, or free. */
  readonly #taken: Uint8Array;
  #contentSum = 0;
  /** As the manifest's own counters say. */
  #contentSumKept: number | null = null;

  constructor(file: PageFile, meta: Meta) {
    this.#file = file;
    this.#meta = meta;
    this.#taken = new Uint8Array(Math.ceil(file.pageCount / 8) + 1);
  }

  run(leaves: boolean): void {
    const { free, tables } = this.#meta;
    const named = new Map<string, Tree>();
    this.#walk("tables", tables, {
      readsLeaves: true,
      hasNumericKeys: false,
      isContent: false,
      onEntry: (key, value, flags) => {
        const name = textOfBytes(key).replace(/\0$/, "");
        if (flags !== SUBTREE || value.length !== 48) {
          this.#fault(`the table of tables has a stray entry "${name}"`);
        } else named.set(name, readTree(value, 0));
      },
    });
    this.#walkTable("meta", named.get("meta"), true);
    const isMigrated = this.schemaVersion !== 1;
    for (const name of TABLES) {
      const tree = named.get(name);
      // Schema 1 had fewer tables.
      const isNeeded = isMigrated || name === "files_by_path" || tree !== undefined;
      if (name !== "meta" && isNeeded) this.#walkTable(name, tree, leaves);
    }
    const isSummed = leaves && isMigrated && this.faults.length === 0;
    if (isSummed && this.#contentSum !== this.#contentSumKept) {
      this.#fault("the entries are not those that were written last: their sum differs");
    }
    this.#walk("free pages", free, {
      readsLeaves: true,
      hasNumericKeys: true,
      isContent: false,
      onEntry: (_key, value) => this.#takeFree(value),
    });
  }

  #walkTable(name: TableName, tree: Tree | undefined, readsLeaves: boolean): void {
    if (tree === undefined) {
      this.#fault(`the table ${name} is missing`);
      return;
    }
    this.#walk(name, tree, {
      readsLeaves,
      hasNumericKeys: false,
      onEntry: name === "meta" ? (key, value) => this.#onMeta(key, value) : null,
      isContent: name !== "meta",
    });
  }

  /** The schema, and the sum that the entries of the other tables must have. */
  #onMeta(key: Uint8Array, value: Uint8Array): void {
    const name = textOfBytes(key);
    if (name !== "counters" && name !== "schema_version") return;
    try {
      const text = decodeMeta(name, value);
      if (name === "schema_version") this.schemaVersion = Number(text);
      else this.#contentSumKept = decodeLedger(text).contentSum;
    } catch (error) {
      this.#fault(
        `meta: the counters: ${error instanceof Error ? error.message : error}`,
      );
    }
  }

  #fault(what: string): void {
    this.faults.push(what);
    if (this.faults.length >= FAULTS_MAX) throw new TooManyFaults();
  }

  #walk(
    name: string,
    tree: Tree,
    how: Pick<Walk, "readsLeaves" | "hasNumericKeys" | "onEntry" | "isContent">,
  ): void {
    const walk: Walk = {
      name,
      tree,
      entries: 0,
      branchPages: 0,
      leafPages: 0,
      overflowPages: 0,
      ...how,
    };
    if (tree.root === NO_PAGE) {
      if (tree.entries !== 0 || tree.depth !== 0) {
        this.#fault(`${name}: the root is missing`);
      }
      return;
    }
    this.#visit(walk, Number(tree.root), { from: null, before: null }, 1);
    const isCounted = walk.branchPages === tree.branchPages &&
      walk.leafPages === tree.leafPages &&
      (!how.readsLeaves ||
        (walk.entries === tree.entries && walk.overflowPages === tree.overflowPages));
    if (!isCounted) this.#fault(`${name}: its totals do not agree with its pages`);
  }

  /** Marks a page; false if it cannot be. */
  #take(page: number, by: string): boolean {
    if (page < 2 || page > this.#meta.lastPage || page >= this.#file.pageCount) {
      this.#fault(`${by}: page ${page} is outside the file`);
      return false;
    }
    const bit = 1 << (page & 7);
    if ((this.#taken[page >> 3]! & bit) !== 0) {
      this.#fault(`${by}: page ${page} is used twice`);
      return false;
    }
    this.#taken[page >> 3]! |= bit;
    return true;
  }

  #visit(walk: Walk, page: number, bounds: Bounds, level: number): void {
    const { tree, name } = walk;
    if (!this.#take(page, name)) return;
    const isLeaf = level === tree.depth;
    if (isLeaf) walk.leafPages++;
    else walk.branchPages++;
    if (isLeaf && !walk.readsLeaves) return;
    const bytes = this.#file.read(page);
    const view = viewOf(bytes);
    const kind = view.getUint16(18, true) & KIND_BITS;
    const isSound = Number(view.getBigUint64(0, true)) === page &&
      kind === (isLeaf ? LEAF : BRANCH) &&
      isFitting(Number(view.getBigUint64(8, true)), this.#meta, { walk, level });
    if (isSound && isLeaf && walk.onEntry === null && walk.isContent) {
      const entries = plainLeafEntries(bytes, bounds);
      if (entries !== null) {
        walk.entries += entries;
        this.#contentSum = replaceInSum(this.#contentSum, 0, contentSumOf(bytes));
        return;
      }
    }
    const nodes = isSound ? nodesOf(bytes, isLeaf) : null;
    if (nodes === null) {
      this.#fault(`${name}: page ${page} is not what it should be`);
      return;
    }
    if (!areOrdered(nodes, bounds, { isLeaf, hasNumericKeys: walk.hasNumericKeys })) {
      this.#fault(`${name}: keys on page ${page} are out of order`);
      return;
    }
    if (isLeaf) this.#visitLeaf(walk, bytes, nodes);
    else this.#visitChildren(walk, nodes, bounds, level);
  }

  #visitChildren(
    walk: Walk,
    nodes: readonly Node[],
    bounds: Bounds,
    level: number,
  ): void {
    for (const [index, node] of nodes.entries()) {
      const child = node.low + node.flags * 0x1_0000_0000;
      this.#visit(walk, child, {
        from: index === 0 ? bounds.from : node.key,
        before: nodes[index + 1]?.key ?? bounds.before,
      }, level + 1);
    }
  }

  #visitLeaf(walk: Walk, bytes: Uint8Array, nodes: readonly Node[]): void {
    for (const node of nodes) {
      walk.entries++;
      const isBig = (node.flags & BIG_VALUE) !== 0;
      const value = isBig
        ? this.#bigValue(walk, bytes, node)
        : bytes.subarray(node.valueAt, node.valueAt + node.low);
      if (value === null) continue;
      walk.onEntry?.(node.key, value, node.flags & ~BIG_VALUE);
      if (walk.isContent) {
        const sum = entryCrc32(textOfBytes(node.key), value);
        this.#contentSum = replaceInSum(this.#contentSum, 0, sum);
      }
    }
  }

  /** A value on pages of its own: number of the first, transaction, count. */
  #bigValue(walk: Walk, bytes: Uint8Array, node: Node): Uint8Array | null {
    const view = viewOf(bytes);
    const first = Number(view.getBigUint64(node.valueAt, true));
    const count = Number(view.getBigUint64(node.valueAt + 16, true));
    const wanted = Math.ceil((PAGE_HEADER_BYTES + node.low) / PAGE_BYTES);
    if (count < wanted || count > this.#file.pageCount) {
      this.#fault(`${walk.name}: a value has ${count} pages, ${wanted} wanted`);
      return null;
    }
    walk.overflowPages += count;
    for (let i = 0; i < count; i++) {
      if (!this.#take(first + i, walk.name)) return null;
    }
    const pages = this.#file.read(first, wanted);
    const header = viewOf(pages);
    const isSound = Number(header.getBigUint64(0, true)) === first &&
      (header.getUint16(18, true) & KIND_BITS) === OVERFLOW;
    if (!isSound) {
      this.#fault(`${walk.name}: page ${first} is not what it should be`);
      return null;
    }
    return pages.subarray(PAGE_HEADER_BYTES, PAGE_HEADER_BYTES + node.low);
  }

  /**
   * A list of free pages: how many numbers follow, then page numbers, where a negative
   * number -n says that the next one begins a run of n pages, and 0 is a gap.
   */
  #takeFree(value: Uint8Array): void {
    const view = viewOf(value);
    const count = value.length >= 8 ? Number(view.getBigInt64(0, true)) : -1;
    if (count < 0 || 8 * (count + 1) > value.length) {
      this.#fault("free pages: a list is longer than its place");
      return;
    }
    for (let i = 1; i <= count; i++) {
      const number = Number(view.getBigInt64(8 * i, true));
      if (number === 0) continue;
      const isRun = number < 0;
      if (isRun && ++i > count) {
        this.#fault("free pages: a run has no beginning");
        return;
      }
      const first = isRun ? Number(view.getBigInt64(8 * i, true)) : number;
      for (let page = first; page < first + (isRun ? -number : 1); page++) {
        this.#takeFreePage(page);
      }
    }
  }

  /** The file may end before the last free pages. */
  #takeFreePage(page: number): void {
    const isBeyond = page >= this.#file.pageCount && page <= this.#meta.lastPage;
    if (!isBeyond) this.#take(page, "free pages");
  }
}
