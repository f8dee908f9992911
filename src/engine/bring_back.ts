/**
 * The local half of a restore: content into a file of our own, and that file into its name.
 *
 * Where the copies are: the store keeps its object. Our file is checked and flushed before it
 * is exchanged with the marker; what `p4d` put there in the meantime always wins, and what
 * somebody wrote into our file, while it had the name for a moment, is kept.
 *
 * @module
 */

import { crashPoint } from "../core/crash_point.ts";
import type { BytePath, DepotPath } from "../core/names.ts";
import type { FileEntry, StoredVersion } from "../manifest/manifest.ts";
import {
  type FileStat,
  type Posix,
  PosixError,
  type Publication,
} from "../posix/posix.ts";
import {
  absolute,
  type EngineContext,
  localStatOf,
  nowSeconds,
  parentOf,
  shown,
  temporaryDirectory,
  temporaryName,
} from "./engine_context.ts";
import { unlessBehind } from "./caught_up.ts";
import { fetchContent, type Fetched, type OnProgress } from "./fetch_content.ts";
import { lookAt } from "./local_file.ts";
import type { Look } from "./observe_plan.ts";
import { MET, observe } from "./observe.ts";
import { settleAside } from "./recovery.ts";
import { removeOwn } from "./remove_own.ts";

export interface Temporary {
  readonly temporary: BytePath;
  readonly fd: number;
  readonly ino: bigint;
}

/** A new file whose name tells its inode, so that a restart knows it from any other. */
export function openTemporary({ posix, root, newId }: EngineContext): Temporary {
  const first = `${temporaryDirectory(root)}/${newId()}`;
  const fd = posix.createTemp(first, 0o600);
  crashPoint("restore/temporary-made");
  const { ino } = posix.fstat(fd);
  const temporary = temporaryName(first, ino);
  posix.rename(first, temporary);
  crashPoint("restore/temporary-named");
  return { temporary, fd, ino };
}

export interface Wanted {
  readonly path: DepotPath;
  readonly entry: FileEntry;
  readonly stored: StoredVersion;
  readonly look: Look;
}

export interface Listener {
  readonly onProgress: OnProgress;
  /** The file has its name, durably; its row follows. */
  readonly onReadable: () => void;
}

/** Downloads, checks, and gives the name. False if something else took it. */
export async function bringBack(
  context: EngineContext,
  wanted: Wanted,
  { onProgress, onReadable }: Listener,
): Promise<boolean> {
  const { posix } = context;
  const { temporary, fd: writeFd, ino } = openTemporary(context);
  let fd: number | null = null;
  let attributes = attributesOf(wanted.entry, wanted.look);
  let wasShown = false;
  try {
    const filled = await fill(context, wanted, { temporary, fd: writeFd }, onProgress);
    const { fetched } = filled;
    fd = filled.fd;
    crashPoint("restore/fetched");
    // Also what p4d did to its marker while the bytes were on their way.
    if (wanted.look.kind === "marker") {
      attributes = attributesOf(wanted.entry, lookAt(context, wanted.path));
    }
    wasShown = true;
    const ours = { temporary, fd, fetched, attributes };
    return await publish(context, wanted, ours, onReadable);
  } catch (error) {
    const isOurs = ({ ino: found }: FileStat): boolean => found === ino;
    if (!isAt(posix, temporary, isOurs)) await settleAside(context, temporary, isOurs);
    throw error;
  } finally {
    if (fd !== null) posix.close(fd);
    // Only what we wrote ourselves: an exchange may have left somebody else's file there.
    const left = posix.lstat(temporary);
    if (left?.ino === ino) {
      const isOurs = left.sizeBytes === wanted.stored.sizeBytes &&
        left.mtimeNs === attributes.mtimeNs;
      if (wasShown && (!isOurs || isWritten(posix, temporary))) {
        keepForPerson(context, wanted.path, temporary);
      } else posix.unlink(temporary);
    }
    crashPoint("restore/temporary-removed");
  }
}

/**
 * Fills the file, and ends writing before it has its name: execve of one that is open for
 * writing fails with ETXTBSY. The caller closes what is read by from then on. It is opened
 * before the first write, so that its fsync tells of every error since.
 */
async function fill(
  context: EngineContext,
  wanted: Wanted,
  { temporary, fd: writeFd }: Pick<Temporary, "temporary" | "fd">,
  onProgress: OnProgress,
): Promise<{ readonly fetched: Fetched; readonly fd: number }> {
  const { posix } = context;
  let fd: number | null = null;
  try {
    fd = posix.openRead(temporary);
    return { fetched: await fetchContent(context, wanted, writeFd, onProgress), fd };
  } catch (error) {
    if (fd !== null) posix.close(fd);
    throw error;
  } finally {
    posix.close(writeFd);
  }
}

/** False also where it cannot be told. */
function isAt(
  posix: Posix,
  path: BytePath,
  isWanted: (stat: FileStat) => boolean,
): boolean {
  try {
    const stat = posix.lstat(path);
    return stat !== null && isWanted(stat);
  } catch (error) {
    if (error instanceof PosixError) return false;
    throw error;
  }
}

function isWritten(posix: Posix, path: BytePath): boolean {
  try {
    return posix.hasWriter(path);
  } catch (error) {
    if (error instanceof PosixError) return true;
    throw error;
  }
}

/**
 * While our copy had the name, for the moment of an exchange that was undone, somebody
 * opened it for writing: it may be the only copy of what he writes.
 */
function keepForPerson(
  { posix, root, log }: EngineContext,
  path: DepotPath,
  temporary: BytePath,
): void {
  const name = temporary.slice(temporary.lastIndexOf("/") + 1);
  posix.makeDirs(`${root}/.p4cache/lost+found`, 0o700);
  posix.rename(temporary, `${root}/.p4cache/lost+found/${name}`);
  log.error(
    "a file was opened for writing in the moment in which a restore took its name and gave " +
      "it back; what was written is kept",
    { ...shown(path), file: `.p4cache/lost+found/${name}` },
  );
}

type Attributes = Publication["attributes"];

/** What p4d did to the marker by chmod, chown or utime is what the file is to have. */
function attributesOf(entry: FileEntry, look: Look): Attributes {
  const { mode, uid, gid } = look.kind === "marker" ? look.stat : entry.local;
  // A version that its owner has written since the marker was made has a time of its own.
  const isOfMarker = look.kind === "marker" && !entry.flags.borrowed;
  const { mtimeNs } = isOfMarker ? look.stat : entry.local;
  return { mode, uid, gid, mtimeNs };
}

/** False if something else took the name. */
async function publish(
  context: EngineContext,
  { path, entry, stored, look }: Wanted,
  { temporary, fd, fetched, attributes }: {
    readonly temporary: BytePath;
    readonly fd: number;
    readonly fetched: Fetched;
    readonly attributes: Attributes;
  },
  onReadable: () => void,
): Promise<boolean> {
  const { posix, manifest } = context;
  const target = absolute(context, path);
  if (look.kind !== "marker") posix.makeDirs(parentOf(target), 0o755);
  const published = await posix.publish({
    temp: temporary,
    target,
    tempFd: fd,
    attributes,
    expect: look.kind === "marker" ? { ino: look.stat.ino } : null,
  });
  if (published !== "published") {
    // p4d wrote it, or touched its marker; or the scan put a missing marker back.
    await unlessBehind(observe(context, path, MET));
    return false;
  }
  crashPoint("restore/published");
  const stat = localStatOf(posix.fstat(fd));
  // Written in place since it has its name: not the content of the row.
  if (stat.mtimeNs !== attributes.mtimeNs || stat.sizeBytes !== stored.sizeBytes) {
    await unlessBehind(observe(context, path, MET));
    return true;
  }
  // Its row can wait: where it is never written, the next look finds a file for an evicted
  // row and compares it with the store's hash, as after a death one line above. Only where
  // that is so, and the row still stands: a file of one that is deleted is removed again.
  const isOfRow = look.kind === "marker" && look.stat.ino === entry.local.ino &&
    stored.hash !== null && fetched.source === "row" &&
    manifest.get(path)?.generation === entry.generation;
  if (isOfRow) onReadable();
  crashPoint("restore/readable");
  const { outcome } = await manifest.apply(path, entry.generation, {
    kind: "restored",
    stat,
    hash: fetched.hash,
    toUpload: fetched.source === "row" ? null : fetched.source,
    nowS: nowSeconds(context),
  });
  crashPoint("restore/row-resident");
  if (outcome === "applied") return true;
  // Deleted meanwhile: what stands there is our own copy of bytes that the store has.
  if (manifest.get(path) === null && stored.hash !== null) {
    // Whoever has opened it since may have written to it.
    const isOwn = ({ ino, sizeBytes, mtimeNs }: FileStat): boolean =>
      ino === stat.ino && sizeBytes === stat.sizeBytes && mtimeNs === stat.mtimeNs;
    removeOwn(context, path, isOwn);
  } else await unlessBehind(observe(context, path, MET));
  return true;
}
