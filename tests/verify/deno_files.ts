/**
 * The depot tree through Deno's own calls, which know only names that are UTF-8: for hosts
 * where libp4posix.so cannot be loaded, and for tests. A name that is not UTF-8 is an error,
 * never "absent".
 *
 * @module
 */

import { bytePathOf, bytesOf } from "../../src/core/names.ts";
import {
  type DirectoryEntry,
  type LocalEntry,
  LocalFileError,
  type LocalFiles,
  type ReadableFile,
} from "../../src/verify/sources.ts";

/** @param root Absolute path of the depot, one character per byte. */
export function denoFiles(root: string): LocalFiles {
  const base = unicodeOf(root);
  const nameOf = (path: string): string => {
    const name = unicodeOf(path);
    return name.startsWith("/") ? name : name === "" ? base : `${base}/${name}`;
  };
  return {
    lstat(path: string): LocalEntry | null {
      return orNull(path, () => entryOf(Deno.lstatSync(nameOf(path))));
    },
    async open(path: string): Promise<ReadableFile> {
      try {
        const before = Deno.lstatSync(nameOf(path));
        if (!before.isFile) throw new LocalFileError("gone", `${path} is no file now`);
        return new OpenFile(await Deno.open(nameOf(path)));
      } catch (error) {
        throw translated(path, error);
      }
    },
    readDirectory(path: string): DirectoryEntry[] | null {
      return orNull(
        path,
        () =>
          [...Deno.readDirSync(nameOf(path))].map((entry) => {
            if (entry.name.includes("\ufffd")) {
              throw new LocalFileError("other", `A name in ${path} is not UTF-8`);
            }
            return { name: bytePathOf(entry.name), isDirectory: entry.isDirectory };
          }),
      );
    },
    async *walk(skip: readonly string[]): AsyncGenerator<string> {
      const directories = [""];
      for (let at = directories.pop(); at !== undefined; at = directories.pop()) {
        for await (const entry of Deno.readDir(nameOf(at))) {
          const name = bytePathOf(entry.name);
          const path = at === "" ? name : `${at}/${name}`;
          if (!entry.isDirectory) yield path;
          else if (!skip.includes(path)) directories.push(path);
        }
      }
    },
  };
}

function unicodeOf(path: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
      bytesOf(path),
    );
  } catch {
    throw new LocalFileError("other", `Cannot look at a name that is not UTF-8: ${path}`);
  }
}

function entryOf(stat: Deno.FileInfo): LocalEntry {
  const kind = stat.isFile
    ? "file"
    : stat.isSocket
    ? "evicted"
    : stat.isDirectory
    ? "directory"
    : "other";
  return { kind, sizeBytes: stat.size, mtimeMs: stat.mtime?.getTime() ?? 0 };
}

function orNull<T>(path: string, ask: () => T): T | null {
  try {
    return ask();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    if (error instanceof Deno.errors.NotADirectory) return null;
    throw translated(path, error);
  }
}

function translated(path: string, error: unknown): unknown {
  if (error instanceof LocalFileError || !(error instanceof Error)) return error;
  const fault = error instanceof Deno.errors.PermissionDenied
    ? "denied"
    : error instanceof Deno.errors.NotFound || /os error 6\b/.test(error.message)
    ? "gone"
    : /os error 5\b/.test(error.message)
    ? "io"
    : "other";
  return new LocalFileError(fault, `Cannot read ${path}: ${error.message}`, {
    cause: error,
  });
}

class OpenFile implements ReadableFile {
  readonly #file: Deno.FsFile;
  readonly sizeBytes: number;

  constructor(file: Deno.FsFile) {
    this.#file = file;
    this.sizeBytes = file.statSync().size;
  }

  read(buffer: Uint8Array, offset: number): Promise<number> {
    return Promise.resolve(this.readSync(buffer, offset));
  }

  readSync(buffer: Uint8Array, offset: number): number {
    this.#file.seekSync(offset, Deno.SeekMode.Start);
    for (let at = 0; at < buffer.length;) {
      const count = this.#file.readSync(buffer.subarray(at));
      if (count === null) return at;
      at += count;
    }
    return buffer.length;
  }

  close(): void {
    this.#file.close();
  }
}
