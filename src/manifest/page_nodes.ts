/**
 * The nodes of one page of the manifest's file: whether they are within it, in order, and
 * what their contents add up to. Pure.
 *
 * @module
 */

import { entryCrc32Within } from "./crc32c.ts";
import {
  BIG_VALUE,
  NODE_HEADER_BYTES,
  PAGE_BYTES,
  PAGE_HEADER_BYTES,
  viewOf,
} from "./page_file.ts";

/** Keys of a page are at least `from` and less than `before`. */
export interface Bounds {
  readonly from: Uint8Array | null;
  readonly before: Uint8Array | null;
}

export interface Node {
  readonly key: Uint8Array;
  readonly flags: number;
  /** Low 32 bits: of the child's number, or the value's length. */
  readonly low: number;
  readonly valueAt: number;
}

/**
 * The entries of a leaf page whose nodes are within it, in order, within `bounds`, and
 * without values elsewhere; null for any other, which is then looked at in full. Nearly
 * all pages are such, so this makes no object for each node.
 */
export function plainLeafEntries(
  bytes: Uint8Array,
  { from, before }: Bounds,
): number | null {
  const view = viewOf(bytes);
  const lower = view.getUint16(20, true);
  const upper = view.getUint16(22, true);
  const room = PAGE_BYTES - PAGE_HEADER_BYTES;
  if (lower % 2 !== 0 || lower === 0 || lower > upper || upper > room) return null;
  let lastAt = 0;
  let lastBytes = 0;
  for (let i = 0; i < lower; i += 2) {
    const pointer = view.getUint16(PAGE_HEADER_BYTES + i, true);
    const keyAt = PAGE_HEADER_BYTES + pointer + NODE_HEADER_BYTES;
    if (pointer < upper || keyAt > PAGE_BYTES) return null;
    const valueBytes = view.getUint32(keyAt - 8, true);
    const keyBytes = view.getUint16(keyAt - 2, true);
    if (view.getUint16(keyAt - 4, true) !== 0) return null;
    if (keyAt + keyBytes + valueBytes > PAGE_BYTES) return null;
    const isNext = i === 0
      ? from === null || compareBytes(from, bytes.subarray(keyAt, keyAt + keyBytes)) <= 0
      : isLess(bytes, { lastAt, lastBytes, keyAt, keyBytes });
    if (!isNext) return null;
    lastAt = keyAt;
    lastBytes = keyBytes;
  }
  const last = bytes.subarray(lastAt, lastAt + lastBytes);
  return before === null || compareBytes(last, before) < 0 ? lower / 2 : null;
}

/** Whether one key of a page is less than another. */
function isLess(
  bytes: Uint8Array,
  { lastAt, lastBytes, keyAt, keyBytes }: {
    readonly lastAt: number;
    readonly lastBytes: number;
    readonly keyAt: number;
    readonly keyBytes: number;
  },
): boolean {
  const length = Math.min(lastBytes, keyBytes);
  for (let i = 0; i < length; i++) {
    const difference = bytes[lastAt + i]! - bytes[keyAt + i]!;
    if (difference !== 0) return difference < 0;
  }
  return lastBytes < keyBytes;
}

/** The checksums of the entries of a plain leaf page, added up. */
export function contentSumOf(bytes: Uint8Array): number {
  const view = viewOf(bytes);
  const lower = view.getUint16(20, true);
  let sum = 0;
  for (let i = 0; i < lower; i += 2) {
    const at = PAGE_HEADER_BYTES + view.getUint16(PAGE_HEADER_BYTES + i, true);
    const keyAt = at + NODE_HEADER_BYTES;
    const end = keyAt + view.getUint16(at + 6, true) + view.getUint32(at, true);
    sum += entryCrc32Within(bytes, keyAt, end);
  }
  return sum;
}

/** The nodes of a branch or leaf page; null if they are not within it. */
export function nodesOf(bytes: Uint8Array, isLeaf: boolean): Node[] | null {
  const view = viewOf(bytes);
  const lower = view.getUint16(20, true);
  const upper = view.getUint16(22, true);
  const room = PAGE_BYTES - PAGE_HEADER_BYTES;
  if (lower % 2 !== 0 || lower === 0 || lower > upper || upper > room) return null;
  const nodes: Node[] = [];
  for (let i = 0; i < lower / 2; i++) {
    const pointer = view.getUint16(PAGE_HEADER_BYTES + 2 * i, true);
    const at = PAGE_HEADER_BYTES + pointer;
    if (pointer < upper || at + NODE_HEADER_BYTES > PAGE_BYTES) return null;
    const low = view.getUint32(at, true);
    const flags = view.getUint16(at + 4, true);
    const valueAt = at + NODE_HEADER_BYTES + view.getUint16(at + 6, true);
    const valueBytes = !isLeaf ? 0 : (flags & BIG_VALUE) !== 0 ? 24 : low;
    if (valueAt + valueBytes > PAGE_BYTES) return null;
    const key = bytes.subarray(at + NODE_HEADER_BYTES, valueAt);
    nodes.push({ key, flags, low, valueAt });
  }
  return nodes;
}

/** The first key of a branch page says nothing: everything less is there too. */
export function areOrdered(
  nodes: readonly Node[],
  { from, before }: Bounds,
  { isLeaf, hasNumericKeys }: {
    readonly isLeaf: boolean;
    readonly hasNumericKeys: boolean;
  },
): boolean {
  const compare = hasNumericKeys ? compareNumbers : compareBytes;
  const keys = nodes.slice(isLeaf ? 0 : 1).map(({ key }) => key);
  const first = keys[0];
  const last = keys.at(-1);
  if (first === undefined || last === undefined) return !isLeaf && nodes.length === 1;
  if (hasNumericKeys && keys.some(({ length }) => length !== 8)) return false;
  for (let i = 1; i < keys.length; i++) {
    if (compare(keys[i - 1]!, keys[i]!) >= 0) return false;
  }
  return (from === null || compare(from, first) <= 0) &&
    (before === null || compare(last, before) < 0);
}

/** The page below a node of a branch page. */
export function childOf({ low, flags }: Node): number {
  return low + flags * 0x1_0000_0000;
}

/** Of the keys below node `index` of a branch page: its first key says nothing. */
export function boundsOf(nodes: readonly Node[], index: number, bounds: Bounds): Bounds {
  return {
    from: index === 0 ? bounds.from : nodes[index]!.key,
    before: nodes[index + 1]?.key ?? bounds.before,
  };
}

/**
 * The runs of pages that a list of free ones names, as their first page and their number;
 * or what is wrong with it. The list: how many numbers follow, then page numbers, where a
 * negative number -n says that the next one begins a run of n pages, and 0 is a gap.
 */
export function freePagesIn(value: Uint8Array): [number, number][] | string {
  const view = viewOf(value);
  const numberAt = (i: number): number => Number(view.getBigInt64(8 * i, true));
  const count = value.length >= 8 ? numberAt(0) : -1;
  if (count < 0 || 8 * (count + 1) > value.length) {
    return "a list is longer than its place";
  }
  const runs: [number, number][] = [];
  for (let i = 1; i <= count; i++) {
    const number = numberAt(i);
    if (number === 0) continue;
    if (number > 0) runs.push([number, 1]);
    else if (++i > count) return "a run has no beginning";
    else runs.push([numberAt(i), -number]);
  }
  return runs;
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    if (a[i] !== b[i]) return a[i]! - b[i]!;
  }
  return a.length - b.length;
}

function compareNumbers(a: Uint8Array, b: Uint8Array): number {
  const difference = viewOf(a).getBigUint64(0, true) - viewOf(b).getBigUint64(0, true);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}
