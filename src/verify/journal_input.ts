/**
 * Opens checkpoints and journals: plain or gzip (by content, not by name), one file or the
 * directory of a parallel checkpoint, with the `.md5` file that `p4d` writes beside them.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { gunzip, hasGzipMagic } from "./gunzip.ts";

const READ_BYTES = 1 << 18;

/** One file of a checkpoint, or a journal. */
export interface InputFile {
  readonly path: string;
  /** As on disk, compressed. */
  readonly sizeBytes: number;
}

/** `jnl.9` stands before `jnl.10`. */
const BY_NUMBER = new Intl.Collator("en", { numeric: true });

/**
 * The files of `path`: itself, or every file of the directory but the `.md5` ones, in the
 * order of the numbers in their names.
 */
export async function listInput(path: string): Promise<InputFile[]> {
  const stat = await Deno.stat(path);
  if (!stat.isDirectory) return [{ path, sizeBytes: stat.size }];
  const files: InputFile[] = [];
  for await (const entry of Deno.readDir(path)) {
    const child = `${path}/${entry.name}`;
    const { isFile, size } = await Deno.stat(child);
    if (isFile && !entry.name.endsWith(".md5")) {
      files.push({ path: child, sizeBytes: size });
    }
  }
  return files.sort((a, b) => BY_NUMBER.compare(a.path, b.path));
}

/** The text of a file, decompressed, as it is read. `onRead` gets the bytes on disk. */
export async function* inputText(
  path: string,
  onRead: (chunk: Uint8Array) => void = () => {},
): AsyncGenerator<Uint8Array> {
  const file = await Deno.open(path);
  try {
    const magic = new Uint8Array(3);
    const isGzip = (await file.read(magic)) === 3 && hasGzipMagic(magic);
    await file.seek(0, Deno.SeekMode.Start);
    const raw = readChunks(file, onRead);
    yield* isGzip ? gunzip(raw) : raw;
  } finally {
    file.close();
  }
}

async function* readChunks(
  file: Deno.FsFile,
  onRead: (chunk: Uint8Array) => void,
): AsyncGenerator<Uint8Array> {
  for (;;) {
    const buffer = new Uint8Array(READ_BYTES);
    const count = await file.read(buffer);
    if (count === null) return;
    const chunk = buffer.subarray(0, count);
    onRead(chunk);
    yield chunk;
  }
}

/** What the `.md5` file beside an input says of it; null if there is none. */
export async function expectedMd5(path: string): Promise<string | null> {
  for (const name of [`${path}.md5`, `${path.replace(/\.gz$/, "")}.md5`]) {
    const text = await Deno.readTextFile(name).catch((error) => {
      if (error instanceof Deno.errors.NotFound) return "";
      throw error;
    });
    const digest = /(?:^|[^0-9A-Za-z])([0-9A-Fa-f]{32})(?![0-9A-Za-z])/.exec(text);
    if (digest !== null) return digest[1]!.toLowerCase();
  }
  return null;
}

/**
 * Whether `path` is what its `.md5` file says. The digest is that of the text as the server
 * wrote it, with LF or (Windows) CRLF line ends; of a compressed file some servers give that
 * of the compressed bytes.
 */
export async function matchesMd5(path: string, expected: string): Promise<boolean> {
  const raw = createHash("md5");
  const text = createHash("md5");
  for await (const chunk of inputText(path, (bytes) => raw.update(bytes))) {
    text.update(chunk);
  }
  if (raw.digest("hex") === expected || text.digest("hex") === expected) return true;
  const windows = createHash("md5");
  for await (const chunk of inputText(path)) windows.update(withCrLf(chunk));
  return windows.digest("hex") === expected;
}

function withCrLf(chunk: Uint8Array): Uint8Array {
  const text = new Uint8Array(2 * chunk.length);
  let at = 0;
  for (const byte of chunk) {
    if (byte === 10) text[at++] = 13;
    text[at++] = byte;
  }
  return text.subarray(0, at);
}
