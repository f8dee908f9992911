/**
 * What the disk gives by itself, for benchmarks of what is written to it durably.
 *
 * @module
 */

/** Bytes of a page of the manifest. */
const PAGE_BYTES = 8_192;

/** Pages that one file grows by, each by an fdatasync of its own. */
export async function fsyncRate(directory: string): Promise<number> {
  const file = await Deno.open(`${directory}/fsync`, { write: true, create: true });
  const block = new Uint8Array(PAGE_BYTES);
  const count = 1_000;
  const start = performance.now();
  for (let i = 0; i < count; i++) {
    file.writeSync(block);
    file.syncDataSync();
  }
  const rate = count / (performance.now() - start) * 1000;
  file.close();
  await Deno.remove(`${directory}/fsync`);
  return rate;
}

export interface BareCommit {
  readonly pages: number;
  /** They are anywhere in a file of so many. */
  readonly rangePages: number;
}

/** As LMDB commits: pages anywhere, fdatasync, the meta page, synced. The disk alone. */
export async function bareCommitRate(
  directory: string,
  { pages, rangePages }: BareCommit,
): Promise<number> {
  const path = `${directory}/commits`;
  using file = await Deno.open(path, { write: true, create: true });
  const page = crypto.getRandomValues(new Uint8Array(PAGE_BYTES));
  for (let i = 0; i < rangePages; i++) file.writeSync(page);
  file.syncSync();
  const count = 300;
  let place = 1;
  const start = performance.now();
  for (let commit = 0; commit < count; commit++) {
    for (let i = 0; i < pages; i++) {
      place = Math.imul(place, 1_664_525) + 1_013_904_223 >>> 0;
      file.seekSync((1 + place % (rangePages - 1)) * page.length, Deno.SeekMode.Start);
      file.writeSync(page);
    }
    file.syncDataSync();
    file.seekSync(0, Deno.SeekMode.Start);
    file.writeSync(page.subarray(0, 200));
    file.syncDataSync();
  }
  const rate = count / (performance.now() - start) * 1000;
  await Deno.remove(path);
  return rate;
}
