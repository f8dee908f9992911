import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { Site } from "./site.ts";

/** renameat2 of a program that the shim does not see: RENAME_EXCHANGE is 2, AT_FDCWD -100. */
const EXCHANGE = `
import ctypes, sys
a, b = (name.encode() for name in sys.argv[1:])
libc = ctypes.CDLL(None, use_errno=True)
sys.exit(libc.renameat2(-100, a, -100, b, 2) and ctypes.get_errno())
`;

Deno.test("files that a program without the shim exchanges are read under their new names, evicted or not", async () => {
  await using site = await Site.open();
  await site.start();
  for (const name of ["a", "b"]) {
    await Deno.writeTextFile(`${site.depot}/${name},v`, `content of ${name}`);
  }
  await site.uploaded(2);
  await site.evictAll();
  const names = ["a,v", "b,v"].map((name) => `${site.depot}/${name}`);
  const exchange = async (): Promise<void> => {
    const { code } = await site.program(["python3", "-c", EXCHANGE, ...names], {
      shim: false,
    });
    strictEqual(code, 0);
  };
  const read = async (): Promise<string> =>
    (await site.program(["tail", "-qn", "+1", ...names], { shim: true })).stdout;

  await exchange();
  strictEqual(await read(), "content of bcontent of a");
  await exchange();
  strictEqual(await read(), "content of acontent of b");
  const config = ["--config", `${site.directory}/config.json`];
  await site.cli("drain", "--wait", ...config);
  const { stdout } = await site.cli("status", "--json", ...config);
  const { tombstones, undecidedFiles } = JSON.parse(stdout);
  deepStrictEqual({ tombstones, undecidedFiles }, { tombstones: 0, undecidedFiles: 0 });
});
