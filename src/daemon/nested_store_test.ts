import { deepStrictEqual, match } from "node:assert/strict";
import type { Config } from "../config/key_table.ts";
import { parseConfig } from "../config/parse_config.ts";
import { nestedStores } from "./nested_store.ts";

const NO_MOUNTS = "";

function configOf(depotPath: string, storePath: string): Config {
  const parsed = parseConfig({
    "depot_path": depotPath,
    "primary": { "type": "nfs", "path": "/nowhere/of/the/kind" },
    "secondary": { "type": "nfs", "path": storePath },
  });
  if (!("config" in parsed)) throw new Error(JSON.stringify(parsed.problems));
  return parsed.config;
}

async function inTree(work: (root: string) => Promise<void>): Promise<void> {
  const root = await Deno.realPath(await Deno.makeTempDir());
  try {
    for (const path of ["real/depot/store", "real/depot2", "real/store/depot", "other"]) {
      await Deno.mkdir(`${root}/${path}`, { recursive: true });
    }
    await Deno.symlink("real/depot", `${root}/link`);
    await Deno.symlink("real/depot/store", `${root}/to-store`);
    await work(root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

Deno.test("nestedStores() follows the links of either path", () =>
  inTree(async (root) => {
    const found = async (depot: string, store: string): Promise<string[]> =>
      (await nestedStores(configOf(`${root}/${depot}`, `${root}/${store}`), NO_MOUNTS))
        .map(([role, why]) => `${role} ${/ (in|above) the depot /.exec(why)![1]}`);
    deepStrictEqual(await found("link", "real/depot/store"), ["secondary in"]);
    deepStrictEqual(await found("real/depot", "to-store"), ["secondary in"]);
    deepStrictEqual(await found("link", "real/depot"), ["secondary in"]);
    deepStrictEqual(await found("link", "real"), ["secondary above"]);
    // Beside it, and what is not there, is nobody's business.
    deepStrictEqual(await found("link", "real/store"), []);
    deepStrictEqual(await found("link", "real/depot2"), []);
    deepStrictEqual(await found("link", "absent"), []);
    deepStrictEqual(await found("absent", "real/store"), []);
    const [[, why]] = await nestedStores(
      configOf(`${root}/link`, `${root}/to-store`),
    ) as [[string, string]];
    match(
      why,
      /^Cannot use ".*\/to-store" as a store: it is .*\/real\/depot\/store, in the/,
    );
  }));

Deno.test("nestedStores() knows a part of the depot that is mounted elsewhere, by the kernel's list", () =>
  inTree(async (root) => {
    const config = configOf(`${root}/real/depot`, `${root}/other`);
    const mounts = (device: string, path: string): string =>
      `22 1 8:1 / / rw - ext4 /dev/sda1 rw\n` +
      `23 22 8:2 /depots ${root}/real rw - xfs /dev/sdb1 rw\n` +
      `24 22 ${device} ${path} ${root}/other rw - xfs /dev/sdb1 rw\n`;
    for (
      const [device, path, count] of [
        ["8:2", "/depots/depot/store", 1],
        ["8:2", "/depots/depot", 1],
        ["8:2", "/", 1],
        ["8:2", "/depots/depot2", 0],
        ["8:3", "/depots/depot/store", 0],
      ] as const
    ) {
      const found = await nestedStores(config, mounts(device, path));
      deepStrictEqual([device, path, found.length], [device, path, count]);
    }
  }));
