/**
 * Keeps the commits of one process and the openings of others apart.
 *
 * Whoever opens an environment of LMDB, if only to read, writes the number of the newest
 * transaction that he has found in the file into the memory that all processes share
 * (`mdb_env_open2` of `lmdb` 3.5.6). If another process commits between the two, its next commit
 * begins from the older transaction: changes that were durable are lost, and pages are used twice.
 * So an opening has the data file alone (flock(2)), and a commit shares it with no opening.
 *
 * The lock is the file's, not its name's. Once somebody has put another file there, it keeps nobody
 * apart, and what is committed to the file that is open is gone when it is closed: so nothing is.
 *
 * @module
 */

export class DataFileLock {
  readonly #path: string;
  readonly #file: Deno.FsFile;
  readonly #opened: Deno.FileInfo;

  private constructor(path: string, file: Deno.FsFile) {
    this.#path = path;
    this.#file = file;
    this.#opened = file.statSync();
  }

  /** Runs `open` while nobody commits. A file that is not there yet nobody else can have open. */
  static async whileOpening<T>(path: string, open: () => T): Promise<T> {
    let lock: DataFileLock;
    try {
      lock = DataFileLock.of(path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return open();
      throw error;
    }
    try {
      await lock.#file.lock(true);
      return open();
    } finally {
      lock.close();
    }
  }

  static of(path: string): DataFileLock {
    return new DataFileLock(path, Deno.openSync(path));
  }

  /**
   * Runs `commit` while nobody opens: an opening takes milliseconds.
   *
   * @throws {Error} If the file is not there any more; nothing was committed.
   */
  async whileCommitting<T>(commit: () => Promise<T>): Promise<T> {
    this.#refuseReplaced();
    if (!this.#file.tryLockSync(false)) await this.#file.lock(false);
    try {
      return await commit();
    } finally {
      this.#file.unlockSync();
    }
  }

  #refuseReplaced(): void {
    const { dev, ino } = this.#opened;
    const there = statOrNull(this.#path);
    if (there?.dev === dev && there.ino === ino) return;
    throw new Error(
      `${this.#path} ${
        there === null ? "is gone" : "is another file"
      }, which it was not ` +
        "when it was opened; stop the daemon and run `p4-cache rebuild-manifest`",
    );
  }

  close(): void {
    this.#file.close();
  }
}

function statOrNull(path: string): Deno.FileInfo | null {
  try {
    return Deno.statSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
