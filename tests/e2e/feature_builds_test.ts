/**
 * Builds with one store each: whole bundles, as an installed program has them. Each holds its
 * own vendor's code and no other's, and says so of a configuration that names another.
 *
 * @module
 */

import { match, ok, strictEqual } from "node:assert/strict";
import { run } from "./site.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const DENO = `${ROOT}build/toolchain/deno`;

/**
 * What only that vendor's code says: the configuration's help names all of them, and
 * Google's library for signing in knows Amazon's hosts.
 */
const MARKS: Readonly<Record<string, RegExp>> = {
  s3: /aws-sdk/,
  azure: /core\.windows\.net|azsdk|msal\.js/,
  gcs: /googleapis\.com|google-auth-library/,
};

const STORES: Readonly<Record<string, object>> = {
  s3: { type: "s3", bucket: "b", "access_key": "a", "secret_key": "s" },
  azure: { type: "azure", container: "c", "account_name": "a", "account_key": "aw==" },
  gcs: { type: "gcs", bucket: "b" },
};

/** The real bundler, into a directory of its own; the native parts are the build's. */
async function bundle(store: string): Promise<string> {
  const out = await Deno.makeTempDir({ prefix: "p4cache-features-" });
  for (const name of ["libp4shim.so", "libp4posix.so", "p4-cache-gate"]) {
    await Deno.symlink(`${ROOT}build/${name}`, `${out}/${name}`);
  }
  await Deno.symlink(`${ROOT}build/p4-cache-fanotify`, `${out}/p4-cache-fanotify`);
  const script = `${ROOT}scripts/build/bundle.ts`;
  const { stdout } = await run(
    [DENO, "run", "--allow-all", script, "--features", store, "--out", out],
  );
  match(stdout, new RegExp(`stores: ${store}$`, "m"));
  return out;
}

for (const store of ["nfs", "s3", "azure", "gcs"]) {
  Deno.test(`a build for ${store} holds no other vendor's code, and refuses their stores`, async () => {
    const out = await bundle(store);
    const main = `${out}/bundle/main.js`;
    const text = await Deno.readTextFile(main);
    for (const [vendor, mark] of Object.entries(MARKS)) {
      strictEqual(mark.test(text), vendor === store, `${vendor} in a build for ${store}`);
    }
    const program = [DENO, "run", "--no-config", "--no-lock", "--allow-all", main];
    ok((await run([...program, "version"])).stdout.includes(store));
    const other = Object.keys(STORES).find((it) => it !== store)!;
    await Deno.mkdir(`${out}/depot`);
    const config = { "depot_path": `${out}/depot`, primary: STORES[other] };
    await Deno.writeTextFile(`${out}/config.json`, JSON.stringify(config));
    for (const command of [["config", "check"], ["run"]]) {
      const { code, stderr } = await run(
        [...program, ...command, "--config", `${out}/config.json`],
        {},
        true,
      );
      strictEqual(code, 78, stderr);
      match(stderr, new RegExp(`this build has no ${other} store, only ${store};`));
    }
    await Deno.remove(out, { recursive: true });
  });
}
