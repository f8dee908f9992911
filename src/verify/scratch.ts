/**
 * Temporary files without a name: created, opened and unlinked at once, so that nothing is
 * left behind whatever ends the process.
 *
 * @module
 */

/** A directory for temporary files, removed by {@linkcode Scratch.close}. */
export class Scratch {
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  /** @param parent Where to make the directory: room for the whole index is needed there. */
  static open(parent: string): Scratch {
    return new Scratch(Deno.makeTempDirSync({ dir: parent, prefix: "p4-cache-verify." }));
  }

  /** An empty file, open for reading and writing; gone once it is closed. */
  createFile(): Deno.FsFile {
    const path = Deno.makeTempFileSync({ dir: this.#directory });
    const file = Deno.openSync(path, { read: true, write: true });
    Deno.removeSync(path);
    return file;
  }

  close(): void {
    Deno.removeSync(this.#directory, { recursive: true });
  }
}

/** Writes all of `bytes`. */
export function writeAllSync(file: Deno.FsFile, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
}
