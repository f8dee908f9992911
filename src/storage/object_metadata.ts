/**
 * Our metadata as the name-value pairs that cloud stores keep with an object.
 *
 * The names are part of the stored format: they are added to, never changed. Azure takes
 * only C# identifiers, and proxies in front of S3 drop header names with underscores, so
 * the separator is the vendor's.
 *
 * @module
 */

import type { ObjectMetadata } from "./backend.ts";

/** S3 and Google: 2 KB, Azure: 8 KB, names included. Some room is left for a watermark. */
const PAIRS_BYTES_MAX = 1_600;

export type MetadataSeparator = "-" | "_";

const PREFIX = "p4cache";

/** Pairs in ASCII. The path is left out if it does not fit; `extra` is a watermark's. */
export function encodeMetadata(
  metadata: ObjectMetadata,
  separator: MetadataSeparator,
  extra: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const pairs: Record<string, string> = { ...extra };
  const add = (name: string, value: string | null): void => {
    if (value !== null) pairs[[PREFIX, ...name.split("-")].join(separator)] = value;
  };
  add("hash", metadata.hash);
  add("mtime-ns", metadata.mtimeNs === null ? null : String(metadata.mtimeNs));
  add("mode", metadata.mode === null ? null : metadata.mode.toString(8));
  add("uid", metadata.uid === null ? null : String(metadata.uid));
  add("gid", metadata.gid === null ? null : String(metadata.gid));
  const { generation } = metadata;
  add("generation", generation === undefined ? null : String(generation));
  const bytes = Object.entries(pairs).reduce(
    (sum, [n, v]) => sum + n.length + v.length,
    0,
  );
  const room = PAIRS_BYTES_MAX - bytes;
  if (metadata.path !== null && metadata.path.length + 12 <= room) {
    add("path", metadata.path);
  }
  return pairs;
}

/** The inverse; what is absent or not ours is null. Names may come back in any case. */
export function decodeMetadata(
  pairs: Readonly<Record<string, string>>,
  separator: MetadataSeparator,
): ObjectMetadata {
  const lower = new Map(Object.entries(pairs).map(([n, v]) => [n.toLowerCase(), v]));
  const value = (name: string, pattern: RegExp): string | null => {
    const text = lower.get([PREFIX, ...name.split("-")].join(separator));
    return text !== undefined && pattern.test(text) ? text : null;
  };
  const number = (name: string, pattern: RegExp, radix: number): number | null => {
    const text = value(name, pattern);
    return text === null ? null : parseInt(text, radix);
  };
  const mtimeNs = value("mtime-ns", /^-?\d{1,19}$/);
  const generation = number("generation", /^\d{1,15}$/, 10);
  return {
    hash: value("hash", /^[0-9a-f]{64}$/),
    mtimeNs: mtimeNs === null ? null : BigInt(mtimeNs),
    mode: number("mode", /^[0-7]{1,4}$/, 8),
    uid: number("uid", /^\d{1,10}$/, 10),
    gid: number("gid", /^\d{1,10}$/, 10),
    path: value("path", /^[\x20-\x7e]+$/),
    ...generation !== null && { generation },
  };
}
