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
import { SpareMemory } from "../core/spare_memory.ts";
import type { FileEntry, StoredVersion } from "../manifest/manifest.ts";
import {
  type FileStat,
  namedAfter,
  type Posix,
  PosixError,
  type Publication,
  type Shown,
} from "../posix/posix.ts";
import {
  absolute,
  type EngineContext,
  hasSameContent,
  localStatOf,
  nowSeconds,
  parentOf,
  shown,
  temporaryDirectory,
} from "./engine_context.ts";
import { unlessBehind } from "./caught_up.ts";
import {
  ContentInMemory,
  ContentOfFile,
  fetchContent,
  type Fetched,
  type OnProgress,
} from "./fetch_content.ts";
import { lookAt } from "./local_file.ts";
import type { Look } from "./observe_plan.ts";
import { MET, observe } from "./observe.ts";
import { settleAside } from "./recovery.ts";
import { removeOwn } from "./remove_own.ts";
import type { OnWritten } from "./space.ts";

/**
 * What is no larger comes to memory first and takes its name in one call: each step of its own
 * would be a change of thread, and most files are small.
 */
export const SMALL_BYTES_MAX = 1_048_576;

export interface Temporary {
  readonly temporary: BytePath;
  readonly fd: number;
  readonly ino: bigint;
}

/** A new file whose name tells its inode, so that a restart knows it from any other. */
export async function openTemporary(context: EngineContext): Promise<Temporary> {
  const first = temporaryName(context);
  const { fd, ino } = await context.posix.createNamed(first);
  crashPoint("restore/temporary-named");
  return { temporary: namedAfter(first, ino), fd, ino };
}

function temporaryName({ root, newId }: EngineContext): BytePath {
  return `${temporaryDirectory(root)}/${newId()}`;
}

export interface Wanted {
  readonly path: DepotPath;
  readonly entry: FileEntry;
  readonly stored: StoredVersion;
  readonly look: Look;
}

export interface Listener {
  readonly onProgress: OnProgress;
  /** Of the bytes in our own file; a small one comes to the disk at once, in the end. */
  readonly onWritten: OnWritten;
  /** The file has its name, durably; its row follows. */
  readonly onReadable: () => void;
}

/** Downloads, checks, and gives the name. False if something else took it. */
export async function bringBack(
  context: EngineContext,
  wanted: Wanted,
  listener: Listener,
): Promise<boolean> {
  const isSmall = wanted.stored.sizeBytes <= SMALL_BYTES_MAX;
  const bring = isSmall ? bringSmall : bringLarge;
  const isBack = await bring(context, wanted, listener);
  crashPoint("restore/temporary-removed");
  return isBack;
}

/** As many as restores run in a busy daemon. */
const memory = new SpareMemory({ bytesEach: SMALL_BYTES_MAX, countMax: 16 });

async function bringSmall(
  context: EngineContext,
  wanted: Wanted,
  { onProgress, onReadable }: Listener,
): Promise<boolean> {
  const { posix } = context;
  const { path, stored } = wanted;
  const content = new ContentInMemory(memory.take(stored.sizeBytes));
  // After a failure somebody may still write to it: it is not used again.
  const fetched = await fetchContent(context, wanted, content, onProgress);
  content.close();
  crashPoint("restore/fetched");
  const place = placeNow(context, wanted);
  if (place === null) {
    memory.give(content.bytes);
    return await lost(context, path);
  }
  const { attributes } = place;
  const first = temporaryName(context);
  const brought = await posix.bring({ ...place, first, bytes: content.bytes });
  memory.give(content.bytes);
  if (brought.outcome === "published") {
    // As it is by now, if it still has the name.
    const now = posix.lstat(absolute(context, path));
    const stat = asShown(now?.ino === brought.stat.ino ? now : brought.stat, brought);
    return await record(context, wanted, { stat, fetched, attributes }, onReadable);
  }
  const ino = brought.outcome === "failed" ? brought.ino : brought.stat.ino;
  try {
    if (brought.outcome !== "failed") return await lost(context, path);
    if (ino !== null) await settleLeft(context, namedAfter(first, ino), ino);
    throw brought.error;
  } finally {
    if (ino !== null) {
      const { wasShown } = brought;
      const left = { temporary: namedAfter(first, ino), ino, attributes, wasShown };
      removeLeft(context, wanted, left);
    }
  }
}

async function bringLarge(
  context: EngineContext,
  wanted: Wanted,
  listener: Listener,
): Promise<boolean> {
  const { posix } = context;
  const { path, entry, look } = wanted;
  const { temporary, fd: writeFd, ino } = await openTemporary(context);
  let fd: number | null = null;
  let attributes = attributesOf(entry, look);
  let wasShown = false;
  try {
    const filled = await fill(context, wanted, { temporary, fd: writeFd }, listener);
    const { fetched } = filled;
    fd = filled.fd;
    crashPoint("restore/fetched");
    const place = placeNow(context, wanted);
    if (place === null) return await lost(context, path);
    attributes = place.attributes;
    const published = await posix.publish({ ...place, temp: temporary, tempFd: fd });
    wasShown = published.wasShown;
    if (published.outcome === "failed") throw published.error;
    if (published.outcome !== "published") return await lost(context, path);
    const stat = asShown(posix.fstat(fd), published);
    const restored = { stat, fetched, attributes };
    return await record(context, wanted, restored, listener.onReadable);
  } catch (error) {
    await settleLeft(context, temporary, ino);
    throw error;
  } finally {
    if (fd !== null) posix.close(fd);
    removeLeft(context, wanted, { temporary, ino, attributes, wasShown });
  }
}

/**
 * With the ctime of the moment in which it got its name: what was changed since, also if its size and
 * time are what they were, has another one, and is hashed before anything trusts it.
 */
function asShown(stat: FileStat, { shownCtimeNs }: Shown): FileStat {
  return { ...stat, ctimeNs: shownCtimeNs };
}

/** Something else than our file is at its name: what an exchange had out of another one. */
async function settleLeft(
  context: EngineContext,
  temporary: BytePath,
  ino: bigint,
): Promise<void> {
  const isOurs = ({ ino: found }: FileStat): boolean => found === ino;
  if (!isAt(context.posix, temporary, isOurs)) {
    await settleAside(context, temporary, isOurs);
  }
}

/** Removes our file, if it is still there, and nobody can have written to it. */
function removeLeft(
  context: EngineContext,
  { path, stored }: Wanted,
  { temporary, ino, attributes, wasShown }: {
    readonly temporary: BytePath;
    readonly ino: bigint;
    readonly attributes: Attributes;
    /** It may have had the name for a moment. */
    readonly wasShown: boolean;
  },
): void {
  const { posix } = context;
  const left = posix.lstat(temporary);
  // Only what we wrote ourselves: an exchange may have left somebody else's file there.
  if (left?.ino !== ino) return;
  const isOurs = left.sizeBytes === stored.sizeBytes &&
    left.mtimeNs === attributes.mtimeNs;
  if (wasShown && (!isOurs || isWritten(posix, temporary))) {
    keepForPerson(context, path, temporary);
  } else posix.unlink(temporary);
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
  { onProgress, onWritten }: Listener,
): Promise<{ readonly fetched: Fetched; readonly fd: number }> {
  const { posix } = context;
  let fd: number | null = null;
  try {
    fd = posix.openRead(temporary);
    const content = new ContentOfFile(posix, writeFd, onWritten);
    return { fetched: await fetchContent(context, wanted, content, onProgress), fd };
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

/**
 * Where the file is to go, what is expected there, and what it is to carry: also what p4d did to
 * the mode and owner of its marker while the bytes were on their way. Null if the name is not that
 * of the row any more, or has another marker: if the file was deleted meanwhile, the number of its
 * marker's inode may be that of another file's. From here on its ctime tells them apart.
 */
function placeNow(
  context: EngineContext,
  { path, entry, look }: Wanted,
): Pick<Publication, "target" | "expect" | "attributes"> | null {
  if (context.manifest.get(path)?.generation !== entry.generation) return null;
  const target = absolute(context, path);
  if (look.kind !== "marker") {
    context.posix.makeDirs(parentOf(target), 0o755);
    return { target, expect: null, attributes: attributesOf(entry, look) };
  }
  const now = lookAt(context, path);
  if (now.kind !== "marker" || !hasSameContent(now.stat, look.stat)) return null;
  return { target, expect: now.stat, attributes: attributesOf(entry, now) };
}

/** p4d wrote it, or touched its marker; or the scan put a missing marker back. */
async function lost(context: EngineContext, path: DepotPath): Promise<false> {
  await unlessBehind(observe(context, path, MET));
  return false;
}

/** The file has its name, durably: tells so, and gives it its row. */
async function record(
  context: EngineContext,
  { path, entry, stored, look }: Wanted,
  { stat: found, fetched, attributes }: {
    readonly stat: FileStat;
    readonly fetched: Fetched;
    readonly attributes: Attributes;
  },
  onReadable: () => void,
): Promise<true> {
  const { manifest } = context;
  crashPoint("restore/published");
  const stat = localStatOf(found);
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
