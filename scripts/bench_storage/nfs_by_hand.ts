/**
 * A cold open of 4 KiB from an NFS store next to what it takes by hand: read, write, fsync,
 * rename, fsync of the directory, in turns in one process. Ours goes through the shim, the
 * gate and the daemon.
 *
 * @module
 */

import { Site } from "../../tests/e2e/site.ts";

export interface NfsTimes {
  readonly oursMs: number;
  readonly byHandMs: number;
}

const SCRIPT = `
import os, sys, time
depot, store, out, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
os.mkdir(out)
ours, hand = [], []
for i in range(count):
    t = time.perf_counter()
    with open(f"{store}/d/{i}.bin,d/1.1", "rb") as f:
        data = f.read()
    fd = os.open(f"{out}/tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.write(fd, data); os.fsync(fd); os.close(fd)
    os.rename(f"{out}/tmp", f"{out}/{i}")
    fd = os.open(out, os.O_RDONLY); os.fsync(fd); os.close(fd)
    hand.append(time.perf_counter() - t)
    t = time.perf_counter()
    fd = os.open(f"{depot}/d/{i}.bin,d/1.1", os.O_RDONLY)
    ours.append(time.perf_counter() - t)
    got = os.read(fd, 8192); os.close(fd)
    assert got == data
print(sorted(ours)[count // 2], sorted(hand)[count // 2])
`;

/** Medians over `count` files. */
export async function measureNfs(count: number): Promise<NfsTimes> {
  await using site = await Site.open();
  await site.start();
  for (let i = 0; i < count; i++) {
    await Deno.mkdir(`${site.depot}/d/${i}.bin,d`, { recursive: true });
    const bytes = crypto.getRandomValues(new Uint8Array(4_096));
    await Deno.writeFile(`${site.depot}/d/${i}.bin,d/1.1`, bytes);
  }
  await site.uploaded(count);
  await site.evictAll();
  // What is restored stays until the end.
  await site.configure({ max_cache_bytes: 2 ** 40 });
  const { stdout } = await site.program([
    ...["python3", "-c", SCRIPT],
    ...[site.depot, site.store, `${site.directory}/by-hand`, String(count)],
  ], { shim: true });
  const [ours, byHand] = stdout.trim().split(" ").map(Number);
  return { oursMs: ours! * 1_000, byHandMs: byHand! * 1_000 };
}
