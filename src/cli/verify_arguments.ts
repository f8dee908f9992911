/**
 * The command line of `p4-cache verify`. Pure.
 *
 * @module
 */

import { bytePathOf } from "../core/names.ts";
import type { Sampling } from "../verify/budget.ts";
import type { Depth } from "../verify/report_types.ts";
import type { VerifyOptions } from "../verify/verify_types.ts";

export interface VerifyArguments {
  readonly options: VerifyOptions;
  readonly config: string | null;
  readonly depotRoot: string | null;
  readonly json: boolean;
  readonly junit: string | null;
  readonly repair: boolean;
  readonly quiet: boolean;
  readonly scratch: string | null;
}

/** The command line makes no sense. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Options that take a value, and those that do not. */
const VALUED = [
  "--checkpoint",
  "--journal",
  "--config",
  "--depot-root",
  "--depth",
  "--path",
  "--orphan-age",
  "--sample",
  "--subset",
  "--max-recall-bytes",
  "--bandwidth",
  "--resume",
  "--junit",
  "--scratch",
];
const FLAGS = [
  "--ignore-md5",
  "--archive-depots",
  "--all-copies",
  "--no-orphans",
  "--json",
  "--repair",
  "--quiet",
];

/** @throws {UsageError} */
export function parseArguments(args: readonly string[]): VerifyArguments {
  const { values, flags } = splitArguments(args);
  const one = (name: string): string | null => {
    const all = values.get(name) ?? [];
    if (all.length > 1) throw new UsageError(`${name} may be given once`);
    return all[0] ?? null;
  };
  const config = one("--config");
  const depotRoot = one("--depot-root");
  if ((config === null) === (depotRoot === null)) {
    throw new UsageError("one of --config and --depot-root is needed");
  }
  if (depotRoot !== null && !depotRoot.startsWith("/")) {
    throw new UsageError("--depot-root must be an absolute path");
  }
  const checkpoint = one("--checkpoint");
  const journals = values.get("--journal") ?? [];
  if (checkpoint === null && journals.length === 0) {
    throw new UsageError("--checkpoint is needed");
  }
  const depth = one("--depth") ?? "exists";
  if (!isDepth(depth)) {
    throw new UsageError(`--depth is exists, size, hash or content, not "${depth}"`);
  }
  if (depth === "hash" && config === null) {
    throw new UsageError(
      "--depth hash compares with the manifest and needs --config; without one, " +
        "--depth content compares with the records",
    );
  }
  const recall = one("--max-recall-bytes");
  const bandwidth = one("--bandwidth");
  return {
    config,
    depotRoot: depotRoot?.replace(/(?!^)\/+$/, "") ?? null,
    json: flags.has("--json"),
    junit: one("--junit"),
    repair: flags.has("--repair"),
    quiet: flags.has("--quiet"),
    scratch: one("--scratch"),
    options: {
      checkpoint,
      journals,
      depth,
      sampling: parseSampling(one("--sample"), one("--subset")),
      depotPrefix: parseDepotPrefix(one("--path")),
      checksArchiveDepots: flags.has("--archive-depots"),
      readsAllCopies: flags.has("--all-copies"),
      findsOrphans: !flags.has("--no-orphans"),
      orphanAgeMs: parseHours(one("--orphan-age") ?? "24"),
      recallBytesMax: recall === null
        ? Infinity
        : parseBytes("--max-recall-bytes", recall),
      bytesPerSecond: bandwidth === null
        ? Infinity
        : parseBytes("--bandwidth", bandwidth),
      resumePath: one("--resume"),
      ignoresMd5: flags.has("--ignore-md5"),
    },
  };
}

function splitArguments(
  args: readonly string[],
): { values: Map<string, string[]>; flags: Set<string> } {
  const values = new Map<string, string[]>();
  const flags = new Set<string>();
  for (let at = 0; at < args.length; at++) {
    const [name, inline] = splitOnce(args[at]!);
    if (FLAGS.includes(name) && inline === null) {
      flags.add(name);
    } else if (VALUED.includes(name)) {
      const value = inline ?? args[++at];
      if (value === undefined || value === "") {
        throw new UsageError(`${name} needs a value`);
      }
      values.set(name, [...values.get(name) ?? [], value]);
    } else {
      throw new UsageError(`"${args[at]}" is not an option`);
    }
  }
  return { values, flags };
}

function splitOnce(argument: string): [string, string | null] {
  const equals = argument.indexOf("=");
  return equals < 0
    ? [argument, null]
    : [argument.slice(0, equals), argument.slice(equals + 1)];
}

function isDepth(text: string): text is Depth {
  return text === "exists" || text === "size" || text === "hash" || text === "content";
}

function parseSampling(sample: string | null, subset: string | null): Sampling {
  if (sample !== null && subset !== null) {
    throw new UsageError("--sample and --subset exclude each other");
  }
  const text = sample ?? subset;
  if (text === null) return { part: 0, of: 1 };
  const match = /^(\d{1,6})\/(\d{1,6})$/.exec(text);
  const part = Number(match?.[1]);
  const of = Number(match?.[2]);
  const isGood = match !== null && part >= 1 && part <= of &&
    (sample === null || part === 1);
  if (!isGood) {
    throw new UsageError(
      sample !== null
        ? `--sample is 1/N, not "${text}"`
        : `--subset is K/N with K from 1 to N, not "${text}"`,
    );
  }
  return { part: sample !== null ? null : part - 1, of };
}

function parseDepotPrefix(text: string | null): string | null {
  if (text === null) return null;
  if (!/^\/\/[^/]+\/(?:.*\/)?\.\.\.$/.test(text)) {
    throw new UsageError(`--path is //DEPOT/... or //DEPOT/DIR/..., not "${text}"`);
  }
  return bytePathOf(text.slice(0, -3));
}

function parseHours(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new UsageError("--orphan-age is a number of hours");
  return Number(text) * 3_600_000;
}

function parseBytes(name: string, text: string): number {
  const match = /^(\d{1,15})([KMGT]?)(?:i?B)?$/.exec(text);
  if (match === null) {
    throw new UsageError(`${name} is a number of bytes such as 50G, not "${text}"`);
  }
  return Number(match[1]) * 1024 ** " KMGT".indexOf(match[2] === "" ? " " : match[2]!);
}
