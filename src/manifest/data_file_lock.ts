/**
 * Keeps the commits of one process and the openings of others apart.
 *
 * Whoever opens an environment of LMDB, if only to read, writes the number of the newest
 * transaction that he has found in the file into the memory that all processes share
 * (`mdb_env_open2` of `lmdb` 3.5.6). If another process commits between the two, its next commit
 * begins from the older transaction: changes that were durable are lost, and pages are used twice.
 * So an opening has the data file alone (flock(2)), and a commit shares it with no opening.
 *
 * @module
 */

export class DataFileLock {
  readonly #file: Deno.FsFile;

  private constructor(file: Deno.FsFile) {
    this.#file = file;
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
    return new DataFileLock(Deno.openSync(path));
  }

  /** Runs `commit` while nobody opens: an opening takes milliseconds. */
  async whileCommitting<T>(commit: () => Promise<T>): Promise<T> {
    if (!this.#file.tryLockSync(false)) await this.#file.lock(false);
    try {
      return await commit();
    } finally {
      this.#file.unlockSync();
    }
  }

  close(): void {
    this.#file.close();
  }
}
