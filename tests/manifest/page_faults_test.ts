import { deepStrictEqual, ok, rejects } from "node:assert/strict";
import { checkManifest } from "../../src/manifest/check_manifest.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import type { NativeReads } from "../../src/manifest/page_file.ts";
import { nativeFile } from "../../src/posix/native_files.ts";
import { openPosix } from "../../src/posix/posix.ts";
import { makeSample, pathOf, writeFile } from "./sample_manifest.ts";

const FILES = 400;

async function inDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-page-faults-" });
  try {
    await makeSample(`${root}/manifest`, FILES);
    await run(`${root}/manifest`);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

/** Runs `meanwhile` once, when the pages are about to be looked at. */
function onceLookedAt(
  posix: NativeReads,
  meanwhile: () => void,
): NativeReads {
  let left = 1;
  return {
    openRead: (path) => {
      if (left-- > 0) meanwhile();
      return posix.openRead(path);
    },
    close: (fd) => posix.close(fd),
    leafPages: (fd, question) => posix.leafPages(fd, question),
    sealedRows: (fd) => posix.sealedRows(fd),
  };
}

Deno.test("pages that a commit has added while a manifest was opened to be looked at are no fault", () =>
  inDirectory(async (directory) => {
    using posix = openPosix(nativeFile("libp4posix.so"));
    const data = `${directory}/data.mdb`;
    const before = await Deno.readFile(data);
    const manifest = await openManifest({ directory });
    const rows = Array.from({ length: 4 * FILES }, (_, i) => writeFile(manifest, i));
    await Promise.all(rows);
    await manifest.close();
    const after = await Deno.readFile(data);
    ok(after.length > before.length, "the file did not grow");
    await Deno.writeFile(data, before);
    const native = onceLookedAt(posix, () => Deno.writeFileSync(data, after));
    const faults = await Array.fromAsync(checkManifest(directory, { native }));
    deepStrictEqual(faults, []);
    await Deno.writeFile(data, before);
    const again = onceLookedAt(posix, () => Deno.writeFileSync(data, after));
    const reader = await openManifest({ directory, readOnly: true, native: again });
    ok(reader.get(pathOf(4 * FILES - 1)) !== null);
    await reader.close();
  }));

Deno.test("a manifest that is cut short, or has lost a page of rows, is not opened to be read", () =>
  inDirectory(async (directory) => {
    const data = `${directory}/data.mdb`;
    const good = await Deno.readFile(data);
    const refused = {
      fault: "damaged",
      message: /data\.mdb has .* damaged pages?, .*p4-cache rebuild-manifest/,
    };
    for (const length of [100, 8_192, 5 * 8_192, good.length / 2]) {
      await Deno.writeFile(data, good.subarray(0, length));
      await rejects(openManifest({ directory, readOnly: true }), refused);
    }
    const text = new TextDecoder("latin1").decode(good);
    const page = Math.floor(text.lastIndexOf(pathOf(1)) / 8_192);
    const bad = good.slice();
    bad.fill(0xff, page * 8_192 + 24, page * 8_192 + 64);
    await Deno.writeFile(data, bad);
    await rejects(openManifest({ directory, readOnly: true }), refused);
    deepStrictEqual(await Deno.readFile(data), bad);
  }));
