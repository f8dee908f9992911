import { ok, rejects, strictEqual } from "node:assert/strict";
import { open } from "lmdb";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import { pathOf, writeFile } from "./sample_manifest.ts";

const ROWS = 300;

async function inDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-manifest-readers-" });
  try {
    await run(`${root}/manifest`);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

async function sizeOf(directory: string): Promise<number> {
  return (await Deno.stat(`${directory}/data.mdb`)).size;
}

/** Every row anew, `rounds` times: as many pages are freed as are taken. */
async function writeAll(directory: string, rounds: number): Promise<void> {
  const manifest = await openManifest({ directory });
  for (let round = 0; round < rounds; round++) {
    await Promise.all(Array.from({ length: ROWS }, (_, i) => writeFile(manifest, i)));
  }
  await manifest.close();
}

/** A process that holds a snapshot, and is killed with it. */
async function dieWithSnapshot(directory: string): Promise<void> {
  const reader = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--no-check",
      new URL("reader_child.ts", import.meta.url).pathname,
      directory,
    ],
    stdout: "piped",
  }).spawn();
  const output = reader.stdout.getReader();
  const { done } = await output.read();
  strictEqual(done, false, "the reader did not get its snapshot");
  reader.kill("SIGKILL");
  await output.cancel();
  strictEqual((await reader.status).signal, "SIGKILL");
}

Deno.test("a reader that died with its snapshot keeps no space once the manifest is opened again", () =>
  inDirectory(async (directory) => {
    await writeAll(directory, 3);
    const before = await sizeOf(directory);
    await dieWithSnapshot(directory);
    await writeAll(directory, 40);
    const after = await sizeOf(directory);
    ok(after < 3 * before, `the file grew from ${before} to ${after} bytes`);
  }));

Deno.test("when all places for readers are taken, one more is refused, and the writer goes on", () =>
  inDirectory(async (directory) => {
    const manifest = await openManifest({ directory });
    await writeFile(manifest, 1);
    const root = open({
      path: directory,
      noSubdir: false,
      pageSize: 8_192,
      readOnly: true,
    });
    const held: { done(): void }[] = [];
    // Each transaction takes a place of its own; those of one commit would be one.
    const takeAll = async (): Promise<void> => {
      for (let i = 0; i < 400; i++) {
        await writeFile(manifest, 1);
        root.resetReadTxn();
        held.push(root.useReadTransaction());
      }
    };
    await rejects(takeAll(), /MDB_READERS_FULL/);
    ok(held.length > 200, `${held.length} places`);
    const refused = { name: "ManifestError", fault: "unavailable" };
    await rejects(openManifest({ directory, readOnly: true }), refused);
    await writeFile(manifest, 2);
    strictEqual(manifest.get(pathOf(2))?.state, "dirty");
    for (const transaction of held) transaction.done();
    await manifest.recount();
    await root.close();
    await manifest.close();
  }));
