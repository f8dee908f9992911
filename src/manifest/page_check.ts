/**
 * Checks the pages of the manifest's file without LMDB: every page that a tree reaches is
 * what its parent says, keys are in order and between those of the parent, no page is
 * used twice or free and used, and the totals agree. A lookup in trees that pass does not
 * miss what is there.
 *
 * @module
 */

import { textOfBytes } from "../core/names.ts";
import type { LeafAnswer } from "../posix/leaf_pages.ts";
import { entryCrc32 } from "./crc32c.ts";
import { schemaOf, type TableName, TABLES } from "./key_value.ts";
import { decodeLedger, decodeMeta, replaceInSum, wholeSumOf } from "./ledger.ts";
import { MIGRATION_FROM, SCHEMA_VERSION } from "./schema.ts";
import {
  areOrdered,
  type Bounds,
  boundsOf,
  childOf,
  contentSumOf,
  freePagesIn,
  type Node,
  nodesOf,
  plainLeafEntries,
} from "./page_nodes.ts";
import { isPageOf, type Walk } from "./page_walk.ts";
import {
  BIG_VALUE,
  KIND_BITS,
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

export interface PageCheckResult {
  /** What is wrong with the pages, in plain words. */
  readonly faults: string[];
  /** As the file says, if it could be read. */
  readonly schemaVersion: number | null;
  /** As the file says, if it says so (schema.ts). */
  readonly migrationFrom: number | null;
}

/** Looks at all pages that `meta` leads to, at once. */
export function inspectPages(
  file: PageFile,
  meta: Meta,
  options: PageCheckOptions,
): PageCheckResult {
  const steps = inspectInSteps(file, meta, options);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** The same beside other work: a step takes a millisecond or two. */
export function* inspectInSteps(
  file: PageFile,
  meta: Meta,
  { leaves }: PageCheckOptions,
): Generator<void, PageCheckResult> {
  const check = new PageCheck(file, meta);
  try {
    yield* check.steps(leaves);
  } catch (error) {
    if (!(error instanceof TooManyFaults)) throw error;
  }
  return check;
}

/** More than this says nothing new. */
const FAULTS_MAX = 1_000;

class TooManyFaults extends Error {}

class PageCheck {
  readonly faults: string[] = [];
  schemaVersion: number | null = null;
  migrationFrom: number | null = null;
  readonly #file: PageFile;
  readonly #meta: Meta;
  /** One bit a page: reached, or free. */
  readonly #taken: Uint8Array;
  #wholeSum = 0;
  /** As the manifest's own counters say. */
  #wholeSumKept: number | null = null;

  constructor(file: PageFile, meta: Meta) {
    this.#file = file;
    this.#meta = meta;
    this.#taken = new Uint8Array(Math.ceil(file.pageCount / 8) + 1);
  }

  /** Looks at everything; stops between the pages that lead to leaf pages. */
  *steps(leaves: boolean): Generator<void> {
    const { free, tables } = this.#meta;
    const named = new Map<string, Tree>();
    yield* this.#walk("tables", tables, {
      readsLeaves: true,
      hasNumericKeys: false,
      isContent: false,
      onEntry: (key, value, flags) => {
        const name = textOfBytes(key).replace(/\0$/, "");
        if (flags !== SUBTREE || value.length !== 48) {
          this.#fault(`the table of tables has a stray entry "${name}"`);
          return;
        }
        const tree = readTree(value, 0);
        if (tree.flags === 0) named.set(name, tree);
        else this.#fault(`the table ${name} is of an unknown kind`);
      },
    });
    yield* this.#walkTable("meta", named.get("meta"), true);
    const schema = this.schemaVersion ?? SCHEMA_VERSION;
    for (const name of TABLES) {
      const tree = named.get(name);
      const isNeeded = tree !== undefined || schema >= schemaOf(name);
      if (name !== "meta" && isNeeded) yield* this.#walkTable(name, tree, leaves);
    }
    // Of schema 1 nothing is summed; a newer one, which is not for us, may sum other tables.
    const isKnown = schema > 1 && schema <= SCHEMA_VERSION;
    const isSummed = leaves && isKnown && this.faults.length === 0;
    if (isSummed && this.#wholeSum !== this.#wholeSumKept) {
      this.#fault("the entries are not those that were written last: their sum differs");
    }
    yield* this.#walk("free pages", free, {
      readsLeaves: true,
      hasNumericKeys: true,
      isContent: false,
      onEntry: (_key, value) => this.#takeFree(value),
    });
  }

  *#walkTable(
    name: TableName,
    tree: Tree | undefined,
    readsLeaves: boolean,
  ): Generator<void> {
    if (tree === undefined) {
      this.#fault(`the table ${name} is missing`);
      return;
    }
    yield* this.#walk(name, tree, {
      readsLeaves,
      hasNumericKeys: false,
      onEntry: name === "meta" ? (key, value) => this.#onMeta(key, value) : null,
      isContent: name !== "meta",
    });
  }

  /** The schema, and the sum that the entries of the other tables must have. */
  #onMeta(key: Uint8Array, value: Uint8Array): void {
    const name = textOfBytes(key);
    try {
      switch (name) {
        case "schema_version":
          this.schemaVersion = Number(decodeMeta(name, value));
          return;
        case MIGRATION_FROM:
          this.migrationFrom = Number(decodeMeta(name, value));
          if (!(this.migrationFrom >= 1)) this.#fault(`meta: ${name}: it is no schema`);
          return;
        case "counters":
          this.#wholeSumKept = wholeSumOf(decodeLedger(decodeMeta(name, value)));
      }
    } catch (error) {
      const why = error instanceof Error ? error.message : error;
      this.#fault(`meta: ${name === "counters" ? "the counters" : name}: ${why}`);
    }
  }

  #fault(what: string): void {
    this.faults.push(what);
    if (this.faults.length >= FAULTS_MAX) throw new TooManyFaults();
  }

  *#walk(
    name: string,
    tree: Tree,
    how: Pick<Walk, "readsLeaves" | "hasNumericKeys" | "onEntry" | "isContent">,
  ): Generator<void> {
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
    const root = Number(tree.root);
    yield* this.#visit(walk, root, { from: null, before: null }, 1);
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

  *#visit(walk: Walk, page: number, bounds: Bounds, level: number): Generator<void> {
    if (!this.#take(page, walk.name)) return;
    if (level === walk.tree.depth) {
      this.#visitLeafPage(walk, page, bounds, level);
      return;
    }
    walk.branchPages++;
    const bytes = this.#file.read(page);
    const nodes = this.#soundNodes(walk, page, { bytes, bounds, level });
    if (nodes === null) return;
    if (level + 1 === walk.tree.depth) {
      this.#visitLeafPages(walk, bytes, nodes, bounds);
      yield;
      return;
    }
    for (const [index, node] of nodes.entries()) {
      yield* this.#visit(walk, childOf(node), boundsOf(nodes, index, bounds), level + 1);
    }
  }

  /** The nodes of a page that is what its parent says; null, and a fault, if it is not. */
  #soundNodes(
    walk: Walk,
    page: number,
    { bytes, bounds, level }: {
      readonly bytes: Uint8Array;
      readonly bounds: Bounds;
      readonly level: number;
    },
  ): Node[] | null {
    const { name, tree, hasNumericKeys } = walk;
    const isLeaf = level === tree.depth;
    const nodes = isPageOf(walk, { page, bytes, level, meta: this.#meta })
      ? nodesOf(bytes, isLeaf)
      : null;
    if (nodes === null) {
      this.#fault(`${name}: page ${page} is not what it should be`);
      return null;
    }
    if (!areOrdered(nodes, bounds, { isLeaf, hasNumericKeys })) {
      this.#fault(`${name}: keys on page ${page} are out of order`);
      return null;
    }
    return nodes;
  }

  /** The children of a branch page, all at once where that can be had. */
  #visitLeafPages(
    walk: Walk,
    branch: Uint8Array<ArrayBuffer>,
    nodes: readonly Node[],
    bounds: Bounds,
  ): void {
    const { leafPages } = this.#file;
    const isPlain = walk.readsLeaves && walk.isContent && walk.onEntry === null;
    const verdicts = leafPages !== null && isPlain
      ? this.#plainLeafPages(
        walk,
        leafPages({
          branch,
          ...bounds,
          transactionMax: this.#meta.transaction,
          isSummed: true,
        }),
      )
      : null;
    for (const [index, node] of nodes.entries()) {
      const page = childOf(node);
      if (!this.#take(page, walk.name)) continue;
      if (verdicts?.[index] === 1) walk.leafPages++;
      else {
        const within = boundsOf(nodes, index, bounds);
        this.#visitLeafPage(walk, page, within, walk.tree.depth);
      }
    }
  }

  #plainLeafPages(walk: Walk, { entries, sum, verdicts }: LeafAnswer): Uint8Array {
    walk.entries += entries;
    this.#wholeSum = replaceInSum(this.#wholeSum, 0, sum);
    return verdicts;
  }

  #visitLeafPage(walk: Walk, page: number, bounds: Bounds, level: number): void {
    walk.leafPages++;
    if (!walk.readsLeaves) return;
    const bytes = this.#file.read(page);
    if (
      walk.onEntry === null && walk.isContent &&
      isPageOf(walk, { page, bytes, level, meta: this.#meta })
    ) {
      const entries = plainLeafEntries(bytes, bounds);
      if (entries !== null) {
        walk.entries += entries;
        this.#wholeSum = replaceInSum(this.#wholeSum, 0, contentSumOf(bytes));
        return;
      }
    }
    const nodes = this.#soundNodes(walk, page, { bytes, bounds, level });
    if (nodes !== null) this.#visitLeaf(walk, bytes, nodes);
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
        this.#wholeSum = replaceInSum(this.#wholeSum, 0, sum);
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

  #takeFree(value: Uint8Array): void {
    const pages = freePagesIn(value);
    if (typeof pages === "string") return this.#fault(`free pages: ${pages}`);
    for (const [first, count] of pages) {
      for (let page = first; page < first + count; page++) this.#takeFreePage(page);
    }
  }

  /** The file may end before the last free pages. */
  #takeFreePage(page: number): void {
    const isBeyond = page >= this.#file.pageCount && page <= this.#meta.lastPage;
    if (!isBeyond) this.#take(page, "free pages");
  }
}
