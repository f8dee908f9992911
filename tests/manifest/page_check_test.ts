import { deepStrictEqual, ok } from "node:assert/strict";
import { inspectPages } from "../../src/manifest/page_check.ts";
import {
  type NativePages,
  openPageFile,
  readMetas,
} from "../../src/manifest/page_file.ts";
import { nativeFile } from "../../src/posix/native_files.ts";
import { openPosix } from "../../src/posix/posix.ts";
import { damage, randomFrom } from "./corrupt_child.ts";
import { makeSample } from "./sample_manifest.ts";

const FILES = 1_500;
const RUNS = 400;

function faultsOf(path: string, native: NativePages | null): readonly string[] {
  const file = openPageFile(path, native);
  try {
    const metas = readMetas(file);
    return typeof metas === "string"
      ? [metas]
      : inspectPages(file, metas[0], { leaves: true }).faults;
  } finally {
    file.close();
  }
}

Deno.test("leaf pages looked at in C have the faults that they have in TypeScript", async () => {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-pages-" });
  using posix = openPosix(nativeFile("libp4posix.so"));
  let calls = 0;
  const counted: NativePages = {
    openRead: (path) => posix.openRead(path),
    close: (fd) => posix.close(fd),
    leafPages: (fd, question) => {
      calls++;
      return posix.leafPages(fd, question);
    },
  };
  try {
    await makeSample(`${root}/m`, FILES);
    const path = `${root}/m/data.mdb`;
    const good = await Deno.readFile(path);
    deepStrictEqual(faultsOf(path, counted), []);
    ok(calls > 0, "there is no branch page above leaf pages");
    let damaged = 0;
    for (let seed = 0; seed < RUNS; seed++) {
      await Deno.writeFile(path, damage(good, good, randomFrom(seed)));
      const faults = faultsOf(path, null);
      deepStrictEqual(faultsOf(path, counted), faults, `seed ${seed}`);
      if (faults.length > 0) damaged++;
    }
    ok(damaged > RUNS / 4, `only ${damaged} files had faults`);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("a meta page that would lead LMDB out of its map, or to a cipher, is refused", async () => {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-pages-" });
  try {
    await makeSample(`${root}/m`, 100);
    const path = `${root}/m/data.mdb`;
    const good = await Deno.readFile(path);
    // Address, map size from 64 TiB on, flags of both trees, and the last page as far.
    const wholes = [32, 33, 34, 35, 36, 37, 38, 39, 46, 47, 52, 53, 100, 101, 150, 151];
    const bits = wholes.flatMap((at) => [0, 1, 2, 3, 4, 5, 6, 7].map((bit) => [at, bit]));
    bits.push([45, 6], [45, 7], ...[1, 2, 3, 4, 5, 6, 7].map((bit) => [148, bit]));
    for (const page of [0, 8_192]) {
      for (const [at, bit] of bits) {
        const bytes = good.slice();
        bytes[page + at!]! ^= 1 << bit!;
        await Deno.writeFile(path, bytes);
        ok(faultsOf(path, null).length > 0, `page at ${page}, byte ${at}, bit ${bit}`);
      }
    }
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
