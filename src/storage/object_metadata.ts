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

/** Bounds of what is believed: somebody else may have written it, and no row could hold more. */
export const MODE_MAX = 0o7777;
export const ID_MAX = 2 ** 32 - 1;
/** Uploads to come are numbered above it. */
export const GENERATION_MAX = 1e15 - 1;

export function countOrNull(value: unknown, max: number): number | null {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= max
    ? value as number
    : null;
}

/** Of a time in nanoseconds as text: what 64 bits hold. */
export function timeOrNull(text: unknown): bigint | null {
  if (typeof text !== "string" || !/^-?\d{1,19}$/.test(text)) return null;
  const time = BigInt(text);
  return BigInt.asIntN(64, time) === time ? time : null;
}

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
  const number = (name: string, radix: 8 | 10, max: number): number | null => {
    const text = value(name, radix === 8 ? /^[0-7]{1,4}$/ : /^\d{1,15}$/);
    return text === null ? null : countOrNull(parseInt(text, radix), max);
  };
  const generation = number("generation", 10, GENERATION_MAX);
  return {
    hash: value("hash", /^[0-9a-f]{64}$/),
    mtimeNs: timeOrNull(value("mtime-ns", /./)),
    mode: number("mode", 8, MODE_MAX),
    uid: number("uid", 10, ID_MAX),
    gid: number("gid", 10, ID_MAX),
    path: value("path", /^[\x20-\x7e]+$/),
    ...generation !== null && { generation },
  };
}
