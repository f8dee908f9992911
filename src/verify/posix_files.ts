/**
 * The depot tree through libp4posix.so, which takes names of any bytes and never follows a
 * symlink.
 *
 * @module
 */

import type { FileKind, Posix, WalkEntry } from "../posix/posix.ts";
import { PosixError } from "../posix/posix.ts";
import {
  type DirectoryEntry,
  type LocalEntry,
  LocalFileError,
  type LocalFiles,
  type ReadableFile,
} from "./sources.ts";

const KINDS: Readonly<Record<FileKind, LocalEntry["kind"]>> = {
  file: "file",
  socket: "evicted",
  directory: "directory",
  symlink: "other",
  other: "other",
};

/** @param root Absolute path of the depot, one character per byte. */
export function posixFiles(posix: Posix, root: string): LocalFiles {
  const nameOf = (path: string): string =>
    path.startsWith("/") ? path : path === "" ? root : `${root}/${path}`;
  return {
    lstat(path: string): LocalEntry | null {
      const stat = translated(() => posix.lstat(nameOf(path)));
      if (stat === null) return null;
      const mtimeMs = Number(stat.mtimeNs / 1_000_000n);
      return { kind: KINDS[stat.kind], sizeBytes: stat.sizeBytes, mtimeMs };
    },
    open(path: string): Promise<ReadableFile> {
      return Promise.resolve().then(() =>
        translated(() => new OpenFile(posix, posix.openRead(nameOf(path))))
      );
    },
    readDirectory(path: string): DirectoryEntry[] | null {
      const entries = translated(() => posix.readDirectory(nameOf(path)));
      return entries?.map((entry) => directoryEntryOf(entry, path)) ?? null;
    },
    async *walk(skip: readonly string[]): AsyncGenerator<string> {
      const walk = translated(() => posix.openWalk(root, { skip, crossDevices: true }));
      try {
        for (;;) {
          const batch = await walk.nextBatch().catch((error) => {
            throw localFileError(error);
          });
          if (batch.length === 0) return;
          for (const entry of batch) {
            const { path, isDirectory } = withPath(entry);
            if (!isDirectory) yield path;
          }
        }
      } finally {
        await walk.close();
      }
    },
  };
}

function directoryEntryOf(entry: WalkEntry, directory: string): DirectoryEntry {
  const { path, isDirectory } = withPath(entry, directory);
  return { name: path, isDirectory };
}

function withPath(
  entry: WalkEntry,
  directory = "",
): { path: string; isDirectory: boolean } {
  if (entry.kind === "unreadable") {
    throw new LocalFileError(
      entry.code === "EIO" ? "io" : "denied",
      `Cannot look at "${directory}${entry.path}": ${entry.code}`,
    );
  }
  return { path: entry.path, isDirectory: entry.kind === "directory" };
}

/** What each error of the kernel says of a file. */
const FAULTS: Readonly<Record<string, LocalFileError["fault"]>> = {
  EACCES: "denied",
  EPERM: "denied",
  EIO: "io",
  ENOENT: "gone",
  ENOTDIR: "gone",
  // A marker, a symlink or a directory stands where a file was a moment ago.
  ENXIO: "gone",
  ELOOP: "gone",
  EISDIR: "gone",
};

function localFileError(error: unknown): unknown {
  if (!(error instanceof PosixError)) return error;
  return new LocalFileError(FAULTS[error.code] ?? "other", error.message, {
    cause: error,
  });
}

function translated<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw localFileError(error);
  }
}

class OpenFile implements ReadableFile {
  readonly #posix: Posix;
  readonly #fd: number;
  readonly sizeBytes: number;

  constructor(posix: Posix, fd: number) {
    this.#posix = posix;
    this.#fd = fd;
    this.sizeBytes = posix.fstat(fd).sizeBytes;
  }

  async read(buffer: Uint8Array<ArrayBuffer>, offset: number): Promise<number> {
    try {
      return await this.#posix.read(this.#fd, buffer, offset);
    } catch (error) {
      throw localFileError(error);
    }
  }

  readSync(buffer: Uint8Array<ArrayBuffer>, offset: number): number {
    return translated(() => this.#posix.readSync(this.#fd, buffer, offset));
  }

  close(): void {
    this.#posix.close(this.#fd);
  }
}
