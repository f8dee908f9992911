/**
 * The layout of LMDB's data file (format 2, 64-bit, pages of 8,192 bytes), for reading it
 * without LMDB, which trusts what it maps. Little-endian:
 *
 *     page     0  page number u64        branch    0  low 32 bits of the child's number:
 *              8  transaction u64        node         u16, u16; then its high 16 bits
 *             16  -, flags u16                     6  key length u16, key
 *             20  lower, upper u16;      leaf      0  value length: u16, u16; flags u16
 *                 or overflow pages u32  node      6  key length u16, key, value
 *             24  pointers u16, from 24
 *
 *     meta    24  magic, format u32      tree     0  -, flags u16, depth u16
 *     page    32  address, map size u64  (48)     8  branch, leaf, overflow pages u64
 *             48  tree of free pages             32  entries u64
 *             96  tree of tables                 40  root page u64
 *            144  last page u64
 *            152  transaction u64
 *
 * @module
 */

import { bytePathOf } from "../core/names.ts";
import type { LeafAnswer, LeafPages, LeafQuestion } from "../posix/leaf_pages.ts";
import type { Posix } from "../posix/posix.ts";
import type { SealedRowFinder } from "../posix/sealed_rows.ts";

export const PAGE_BYTES = 8_192;
export const PAGE_HEADER_BYTES = 24;

export const BRANCH = 0x01;
export const LEAF = 0x02;
export const OVERFLOW = 0x04;
export const META = 0x08;
/** Bits of the flags that say what a page is. */
export const KIND_BITS = 0x6f;

export const NODE_HEADER_BYTES = 8;
/** The value is on overflow pages. */
export const BIG_VALUE = 0x01;
/** The value is a tree: a named table. */
export const SUBTREE = 0x02;

/** Root of an empty tree. */
export const NO_PAGE = 0xffff_ffff_ffff_ffffn;

const MAGIC = 0xbeefc0de;
const FORMAT = 2;

/** Flags of a tree: its keys are numbers of the machine. Of free pages only. */
const NUMBER_KEYS = 0x08;
/** More than any process can map. */
const MAP_BYTES_MAX = 2n ** 46n;

export interface Tree {
  /** Of how LMDB reads it, from the kind of its keys to a cipher. */
  readonly flags: number;
  readonly depth: number;
  readonly branchPages: number;
  readonly leafPages: number;
  readonly overflowPages: number;
  readonly entries: number;
  readonly root: bigint;
}

/** What one transaction left: everything that the file means is reached from here. */
export interface Meta {
  readonly transaction: number;
  readonly lastPage: number;
  readonly free: Tree;
  readonly tables: Tree;
}

export interface PageFile {
  readonly pageCount: number;
  /** The bytes of a page that exists. */
  read(page: number, count?: number): Uint8Array<ArrayBuffer>;
  /** Looks at all leaf pages of a branch page at once; null where that is not to be had. */
  readonly leafPages: ((question: LeafQuestion) => LeafAnswer) | null;
  close(): void;
}

/** What looks at leaf pages ten times as fast as we can. */
export type NativePages = LeafPages & Pick<Posix, "openRead" | "close">;

/** And what finds rows twice as fast as LMDB. */
export type NativeReads = NativePages & SealedRowFinder;

/** @throws {Deno.errors.NotFound | Deno.errors.PermissionDenied} */
export function openPageFile(path: string, native: NativePages | null = null): PageFile {
  const file = Deno.openSync(path);
  const pageCount = Math.floor(file.statSync().size / PAGE_BYTES);
  const fd = native?.openRead(bytePathOf(path)) ?? -1;
  return {
    pageCount,
    leafPages: native === null ? null : (question) => native.leafPages(fd, question),
    read(page, count = 1): Uint8Array<ArrayBuffer> {
      const bytes = new Uint8Array(count * PAGE_BYTES);
      file.seekSync(page * PAGE_BYTES, Deno.SeekMode.Start);
      let done = 0;
      while (done < bytes.length) {
        const got = file.readSync(bytes.subarray(done));
        if (got === null) break;
        done += got;
      }
      return bytes;
    },
    close(): void {
      native?.close(fd);
      file.close();
    },
  };
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function readTree(bytes: Uint8Array, at: number): Tree {
  const view = viewOf(bytes);
  return {
    flags: view.getUint16(at + 4, true),
    depth: view.getUint16(at + 6, true),
    branchPages: Number(view.getBigUint64(at + 8, true)),
    leafPages: Number(view.getBigUint64(at + 16, true)),
    overflowPages: Number(view.getBigUint64(at + 24, true)),
    entries: Number(view.getBigUint64(at + 32, true)),
    root: view.getBigUint64(at + 40, true),
  };
}

/**
 * The two meta pages, the newer first, or what is wrong with them. Transaction N writes
 * meta page N mod 2, so that both are there and next to each other: if the newer one were
 * damaged, LMDB would silently go back to the older, whose pages may be in use again.
 */
export function readMetas(file: PageFile): readonly [Meta, Meta] | string {
  if (file.pageCount < 2) {
    return `the file has ${file.pageCount} pages, at least 2 wanted`;
  }
  const bytes = file.read(0, 2);
  const metas: Meta[] = [];
  for (const page of [0, 1]) {
    const found = readMeta(
      bytes.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES),
      page,
    );
    if (typeof found === "string") return found;
    metas.push(found);
  }
  const [even, odd] = metas as [Meta, Meta];
  if (Math.abs(even.transaction - odd.transaction) !== 1) {
    return `meta pages of transactions ${even.transaction} and ${odd.transaction}, which ` +
      `do not follow each other`;
  }
  return even.transaction > odd.transaction ? [even, odd] : [odd, even];
}

function readMeta(bytes: Uint8Array, page: number): Meta | string {
  const view = viewOf(bytes);
  const isMeta = Number(view.getBigUint64(0, true)) === page &&
    (view.getUint16(18, true) & KIND_BITS) === META &&
    view.getUint32(24, true) === MAGIC && view.getUint32(28, true) === FORMAT &&
    view.getUint32(48, true) === PAGE_BYTES &&
    view.getBigUint64(32, true) === 0n && view.getBigUint64(40, true) < MAP_BYTES_MAX &&
    view.getBigUint64(144, true) < MAP_BYTES_MAX / BigInt(PAGE_BYTES);
  if (!isMeta) return `meta page ${page} is not one`;
  const transaction = Number(view.getBigUint64(152, true));
  if (transaction % 2 !== page) {
    return `meta page ${page} says transaction ${transaction}`;
  }
  const free = readTree(bytes, 48);
  const tables = readTree(bytes, 96);
  if (free.flags !== NUMBER_KEYS || tables.flags !== 0) {
    return `meta page ${page} has trees of an unknown kind`;
  }
  const lastPage = Number(view.getBigUint64(144, true));
  return { transaction, lastPage, free, tables };
}
