/**
 * Brings the row of a path in line with what lies on the disk.
 *
 * @module
 */

import { crashPoint } from "../core/crash_point.ts";
import type { BytePath, DepotPath } from "../core/names.ts";
import type { FileEntry, LocalStat } from "../manifest/manifest.ts";
import { NO_INODE } from "../manifest/transitions.ts";
import { asUnproven, isUnproven } from "../manifest/unproven.ts";
import { type MarkerAttributes, PosixError } from "../posix/posix.ts";
import { catchUp } from "./caught_up.ts";
import {
  absolute,
  type EngineContext,
  hasSameContent,
  isManagedHere,
  nowSeconds,
  parentOf,
  shown,
} from "./engine_context.ts";
import { hashFile, lookAt } from "./local_file.ts";
import {
  isMarkerOf,
  type Look,
  type LookReason,
  type ObservePlan,
  planDifference,
  planObservation,
  within,
  type WriterUid,
} from "./observe_plan.ts";
import { noteUnknownMarker, unknownMarkerAt } from "./unknown_markers.ts";

/** unsure: only what is reported next tells what the look means; to be looked at apart. */
export type Observed = ObservePlan["action"] | "lost" | "stale" | "unsure";

/** The watcher, or `p4d` itself, told us of a write. */
export const REPORTED: LookReason = { source: "event", trusts: "all" };

/** The same, looked at once everything that was reported until then is taken in. */
export const REPORTED_APART: LookReason = { source: "apart", trusts: "all" };

/** An operation of ours met something else than it expected. */
export const MET: LookReason = { source: "engine", trusts: "all" };

/** Nobody reported anything; while the daemon runs, a write whose event was lost is a write. */
export const SCAN: LookReason = { source: "scan", trusts: "newer" };

/**
 * Looks and acts. Takes no lock: each change is compare-and-set on the row's generation,
 * and one that comes late is looked at again by whatever came first.
 *
 * An empty name says little by itself: it may have been renamed or deleted a moment ago, and
 * acting on it would bring it back. Nor does a file where the row has an evicted one, or anything
 * else where it has a file: that may have another name since, and the row is all that knows its
 * object. So whatever was reported before now is taken in first; a report itself does not wait for
 * reports, and is `unsure`. Nor is a conflict one before that: its write may be on its way.
 *
 * @throws {NotCaughtUpError}
 * @param writerUid Who wrote it, where that is known; else whom the file belongs to counts.
 */
export async function observe(
  context: EngineContext,
  path: DepotPath,
  given: LookReason,
  writerUid: WriterUid = null,
): Promise<Observed> {
  let waitedFor: number | null = null;
  let hasWaited = false;
  let moved = 0;
  let mayHash = false;
  for (;;) {
    const reason = within(given, context.unwatched());
    const entry = context.manifest.get(path);
    const look = lookAt(context, path);
    // Its row may be about to follow it.
    const mayWait = reason.source === "scan" || reason.source === "apart";
    if (mayWait && !hasWaited && isUnknown(context, path, look)) {
      hasWaited = true;
      await context.eventsUntilNow();
      continue;
    }
    let plan = planObservation(entry, look, reason);
    if (plan.action === "unproven") {
      mayHash ||= reason.mayHash?.(plan.stat.sizeBytes) ?? false;
      if (mayHash) plan = { action: "compare", stat: plan.stat };
    }
    // Another row than the one that was waited for may have come with a rename, and its file
    // have left the name by one that is not told yet.
    const isToWait = entry !== null && waitedFor !== entry.generation;
    const isSure = plan.action === "nothing" || isKnown(entry, look, reason);
    if (isToWait && !isSure && reason.source === "event") return "unsure";
    if (plan.action === "compare" && (isSure || !isToWait)) {
      const compared = await compare(context, path, entry!, plan.stat, reason);
      // Another file, or the same one written: looked at again, or known by its writing.
      if (compared === null && ++moved < MOVED_MAX) continue;
      plan = compared ?? { action: "written", stat: plan.stat };
    }
    if (isToWait && (!isSure || plan.action === "conflict")) {
      waitedFor = entry.generation;
      await catchUp(context, path);
      continue;
    }
    if (isDeletePending(context, path, { plan, reason })) return "nothing";
    const observed = await act(context, path, entry, plan, writerUid);
    // The row is evicted now; whether a marker is missing is another question.
    const isLeft = observed === "vanished" && look.kind !== "absent" &&
      lookAt(context, path).kind === "absent";
    if (observed === "stale" || isLeft) continue;
    if (look.kind === "marker" || look.kind === "other") noteUnknownMarker(context, path);
    return observed;
  }
}

/** A marker that is not of the row of its name. */
function isUnknown(context: EngineContext, path: DepotPath, { kind }: Look): boolean {
  return (kind === "marker" || kind === "other") &&
    unknownMarkerAt(context, path) !== null;
}

/**
 * Whether the name was told to be gone a moment ago: its DELETE may be on its way, and a marker
 * that is put back would be in the way of what `p4d` does next. Whoever told it looks again. An
 * operation that needs the file has its own patience.
 */
function isDeletePending(
  { departures, clock }: EngineContext,
  path: DepotPath,
  { plan, reason }: { readonly plan: ObservePlan; readonly reason: LookReason },
): boolean {
  const isEmpty = plan.action === "put-marker" ||
    (plan.action === "vanished" && plan.isEmpty);
  return isEmpty && reason.source !== "engine" &&
    departures.isRecent(path, clock.monotonicMs());
}

/** Whether the row's file is not elsewhere by a rename that is still to be told. */
function isKnown(entry: FileEntry | null, look: Look, { ino }: LookReason): boolean {
  if (entry === null) return true;
  if (look.kind === "file") return entry.resident || look.stat.ino === ino;
  return look.kind !== "absent" && !entry.resident;
}

/** How often a file may be another one each time that it was hashed. */
const MOVED_MAX = 8;

/**
 * Is it the stored version after all? Only a hash knows. Null if it moved on meanwhile. What a scan
 * left unproven was done while nobody watched, whoever finds out.
 */
async function compare(
  context: EngineContext,
  path: DepotPath,
  entry: FileEntry,
  stat: LocalStat,
  reason: LookReason,
): Promise<ObservePlan | null> {
  const hash = await hashFile(context, path, stat);
  if (hash === null) return null;
  if (hash === entry.stored?.hash) return { action: "attributes", stat };
  const isOfBefore = isUnproven(entry.local) && hasSameContent(stat, entry.local);
  if (!isOfBefore) return planDifference(entry, stat, reason);
  // Only a word of a write says that it was written; a rename's, which names the inode, does not.
  const isRename = (reason.ino ?? null) !== null;
  const careful = isRename
    ? { ...reason, trusts: "none" } as const
    : within(reason, "none");
  return planDifference(entry, stat, careful);
}

async function act(
  context: EngineContext,
  path: DepotPath,
  entry: FileEntry | null,
  plan: ObservePlan,
  writerUid: WriterUid,
): Promise<Observed> {
  const { manifest } = context;
  const nowS = nowSeconds(context);
  const expected = entry?.generation ?? "absent";
  switch (plan.action) {
    case "nothing":
      return "nothing";
    case "written": {
      const uid = writerUid ?? plan.stat.uid;
      const foreign = uid === "other" || !context.settings().watcherAllowedUids.has(uid);
      const { outcome } = await manifest.apply(path, expected, {
        kind: "written",
        stat: plan.stat,
        nowS,
        flags: { foreign },
      });
      crashPoint("observe/row-written");
      if (outcome === "stale") return "stale";
      if (foreign) tellForeign(context, path, uid);
      return "written";
    }
    case "attributes":
    case "compare": {
      const event = entry!.resident
        ? { kind: "attributes", stat: planStat(plan) } as const
        : { kind: "restored", stat: planStat(plan), nowS } as const;
      const { outcome } = await manifest.apply(path, expected, event);
      crashPoint("observe/row-attributes");
      return outcome === "stale" ? "stale" : "attributes";
    }
    case "unproven": {
      const stat = asUnproven(plan.stat);
      if (stat.ctimeNs === entry!.local.ctimeNs) return "unproven";
      const { outcome } = await manifest.apply(path, expected, {
        kind: "attributes",
        stat,
      });
      return outcome === "stale" ? "stale" : "unproven";
    }
    case "conflict": {
      const { outcome } = await manifest.apply(path, expected, {
        kind: "flagged",
        flags: { conflict: true },
      });
      if (outcome === "stale") return "stale";
      context.log.warn(
        "the local file differs from the store and nobody reported a write; both " +
          "versions are kept: see p4-cache conflicts",
        shown(path),
      );
      return "conflict";
    }
    case "vanished":
      return await vanish(context, path, entry!, plan.isEmpty);
    case "put-marker": {
      const local = { ...entry!.local, ino: NO_INODE };
      if (entry!.local.ino !== NO_INODE) {
        const change = { kind: "attributes", stat: local } as const;
        const { outcome } = await manifest.apply(path, expected, change);
        if (outcome === "stale") return "stale";
      }
      return putMissingMarker(context, path, { ...entry!, local });
    }
    case "know-marker": {
      const { stat } = plan;
      const { outcome } = await manifest.apply(path, expected, {
        kind: "attributes",
        stat,
      });
      return outcome === "stale" ? "stale" : "attributes";
    }
    case "orphan-marker":
      context.log.warn("a marker that the manifest does not know", shown(path));
      return "orphan-marker";
  }
}

function planStat(plan: { readonly stat: LocalStat }): LocalStat {
  return plan.stat;
}

/** Written by a user who is not allowed to: kept local, and somebody has to decide. */
function tellForeign(
  context: EngineContext,
  path: DepotPath,
  uid: number | "other",
): void {
  context.metrics.count("p4cache_watcher_rejected_writer_total");
  const why = uid === "other"
    ? "written by a process that has ended, where others than the file's owner may write it"
    : "written by a UID that is not in watcher_allowed_uids";
  context.log.warn(`${why}; kept local, not uploaded`, { ...shown(path), uid });
}

/** The bytes are gone from the disk, and no DELETE said so. */
async function vanish(
  context: EngineContext,
  path: DepotPath,
  entry: FileEntry,
  isEmpty: boolean,
): Promise<Observed> {
  const { outcome, entry: next } = await context.manifest.apply(path, entry.generation, {
    kind: "vanished",
    nowS: nowSeconds(context),
  });
  crashPoint("observe/row-vanished");
  if (outcome === "stale") return "stale";
  if (outcome === "lost") {
    context.metrics.count("p4cache_lost_files_total");
    context.failedOps.append({
      op: "upload",
      ...shown(path),
      error: "the file disappeared before it was uploaded, and it has no earlier version",
      size: entry.local.sizeBytes,
    });
    context.log.error("a file disappeared before it was uploaded", shown(path));
    return "lost";
  }
  if (entry.state !== "clean") {
    context.failedOps.append({
      op: "upload",
      ...shown(path),
      error: "the file disappeared before it was uploaded; its earlier version is back",
      size: entry.local.sizeBytes,
    });
    context.log.error(
      "a file disappeared before it was uploaded; its earlier version is back",
      shown(path),
    );
  }
  const look = lookAt(context, path);
  if (next !== null && look.kind === "absent" && isEmpty) {
    putMissingMarker(context, path, next);
  }
  // The marker of an eviction that a death cut short: it is to be known.
  if (next !== null && look.kind === "marker" && isMarkerOf(next, look.stat)) {
    await context.manifest.apply(path, next.generation, {
      kind: "attributes",
      stat: look.stat,
    });
  }
  return "vanished";
}

/**
 * Puts the marker of an evicted row where nothing is. Never over anything, and never at a name that
 * is not managed: `p4d` makes files there (`journal`), and a marker would be in their way. The row knows no inode
 * ({@linkcode NO_INODE}), so that after a death, too, the marker is known to be one of these.
 */
export function putMissingMarker(
  context: EngineContext,
  path: DepotPath,
  entry: FileEntry,
): Observed {
  const { posix } = context;
  if (!isManagedHere(context, path)) {
    context.log.warn(
      "an evicted file has no marker and gets none, because its name is not managed; " +
        "p4-cache rehydrate brings it back",
      shown(path),
    );
    return "nothing";
  }
  const target = absolute(context, path);
  const stored = entry.stored!;
  posix.makeDirs(parentOf(target), 0o755);
  const { mode, uid, gid, mtimeNs } = entry.local;
  const attributes = { sizeBytes: stored.sizeBytes, mode, uid, gid, mtimeNs };
  try {
    makeOurMarker(posix, target, attributes);
  } catch (error) {
    if (error instanceof PosixError && error.code === "EEXIST") return "stale";
    throw error;
  }
  const marker = posix.lstat(target);
  // Unless another one was renamed over it between the two calls.
  if (marker?.kind === "socket" && marker.mtimeNs === entry.local.mtimeNs) {
    context.putBack.note(path, marker.ino);
  }
  crashPoint("observe/marker-put");
  return "put-marker";
}

/** Of the daemon's own user where it may not give it to the file's: then p4d can read it at least. */
function makeOurMarker(
  posix: EngineContext["posix"],
  target: BytePath,
  attributes: MarkerAttributes,
): void {
  try {
    posix.makeMarker(target, attributes);
  } catch (error) {
    // EINVAL: a user namespace that has no such user.
    const isNotOurs = error instanceof PosixError &&
      (error.code === "EPERM" || error.code === "EINVAL");
    if (!isNotOurs) throw error;
    const own = { uid: Deno.uid() ?? 0, gid: Deno.gid() ?? 0 };
    posix.makeMarker(target, { ...attributes, ...own });
  }
}
