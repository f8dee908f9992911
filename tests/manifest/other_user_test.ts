// deno-lint-ignore-file no-sync-fn-in-async-fn -- a test looks at files
/**
 * A manifest whose files belong to another user: a message, and no crash.
 *
 * @module
 */

import { match, strictEqual } from "node:assert/strict";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";

const P4D_UID = 12_345;

/** Runs `run` with the directory of a manifest that belongs to `P4D_UID`. */
async function inManifest(run: (directory: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-manifest-other-" });
  try {
    await Deno.chmod(root, 0o755);
    const directory = `${root}/manifest`;
    await (await openManifest({ directory })).close();
    for (const name of ["", "/data.mdb", "/lock.mdb"]) {
      await Deno.chown(directory + name, P4D_UID, P4D_UID);
    }
    await run(directory);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

async function openedAs(directory: string, mode: "read" | "write"): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--no-check",
      new URL("other_user_child.ts", import.meta.url).pathname,
      directory,
      String(P4D_UID),
      mode,
    ],
  }).output();
  strictEqual(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout).trim();
}

/** Runs `test`, or says why not. */
async function asRoot(t: Deno.TestContext, test: () => Promise<void>): Promise<void> {
  if (Deno.uid() === 0) return await test();
  await t.step({ name: "giving files away needs root", ignore: true, fn(): void {} });
}

Deno.test("a manifest with a file of root is refused by name, and does not end the process", (t) =>
  asRoot(t, () =>
    inManifest(async (directory) => {
      strictEqual(await openedAs(directory, "write"), "opened");
      for (const name of ["lock.mdb", "data.mdb"]) {
        await Deno.chown(`${directory}/${name}`, 0, 0);
        await Deno.chmod(`${directory}/${name}`, 0o600);
        for (const mode of ["write", "read"] as const) {
          match(
            await openedAs(directory, mode),
            new RegExp(`^unavailable: Cannot use \\S*/${name} .*\\(UID 0\\)`),
          );
        }
        await Deno.chown(`${directory}/${name}`, P4D_UID, P4D_UID);
      }
    })));

Deno.test("root who looks at the manifest of another leaves the locks to whom it belongs", (t) =>
  asRoot(t, () =>
    inManifest(async (directory) => {
      await Deno.remove(`${directory}/lock.mdb`);
      await (await openManifest({ directory, readOnly: true })).close();
      strictEqual(Deno.statSync(`${directory}/lock.mdb`).uid, P4D_UID);
      strictEqual(await openedAs(directory, "write"), "opened");
    })));
