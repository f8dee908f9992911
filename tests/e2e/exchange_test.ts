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

Deno.test("directories that a program without the shim exchanges are read under their new names, and written", async () => {
  await using site = await Site.open();
  await site.start();
  for (const name of ["d", "e"]) {
    await Deno.mkdir(`${site.depot}/${name}/sub`, { recursive: true });
    for (const file of ["a,v", `sub/${name},v`]) {
      await Deno.writeTextFile(
        `${site.depot}/${name}/${file}`,
        `content of ${name}/${file};`,
      );
    }
  }
  await site.uploaded(4);
  await site.evictAll();
  const directories = ["d", "e"].map((name) => `${site.depot}/${name}`);
  const exchanged = await site.program(["python3", "-c", EXCHANGE, ...directories], {
    shim: false,
  });
  strictEqual(exchanged.code, 0);
  const names = ["d/a,v", "d/sub/e,v", "e/a,v", "e/sub/d,v"];
  const paths = names.map((name) => `${site.depot}/${name}`);
  const { stdout } = await site.program(["tail", "-qn", "+1", ...paths], { shim: true });
  strictEqual(
    stdout,
    "content of e/a,v;content of e/sub/e,v;content of d/a,v;content of d/sub/d,v;",
  );
  // The watcher, too, knows which directory has which name.
  for (const name of ["d/new,v", "d/sub/new,v", "e/new,v", "e/sub/new,v"]) {
    await Deno.writeTextFile(`${site.depot}/${name}`, `new in ${name}`);
  }
  await site.uploaded(8);
  const config = ["--config", `${site.directory}/config.json`];
  await site.cli("drain", "--wait", ...config);
  const status = JSON.parse((await site.cli("status", "--json", ...config)).stdout);
  const { tombstones, undecidedFiles } = status;
  deepStrictEqual({ tombstones, undecidedFiles }, { tombstones: 0, undecidedFiles: 0 });
});
