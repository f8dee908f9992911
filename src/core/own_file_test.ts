import { deepStrictEqual, match, strictEqual, throws } from "node:assert/strict";
import { openOwnFile, OwnFileError } from "./own_file.ts";

const HOW = { read: true, append: true, mode: 0o600 };

async function inDirectory(work: (directory: string) => void): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "own-file-" });
  try {
    work(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

function append(path: string, text: string): void {
  using file = openOwnFile(path, HOW);
  file.writeSync(new TextEncoder().encode(text));
}

Deno.test("openOwnFile() makes a file with its mode, and opens the one that is there", () =>
  inDirectory((directory) => {
    append(`${directory}/a`, "1");
    append(`${directory}/a`, "2");
    strictEqual(Deno.readTextFileSync(`${directory}/a`), "12");
    strictEqual(Deno.lstatSync(`${directory}/a`).mode! & 0o777, 0o600);
  }));

Deno.test("openOwnFile() follows no link, to a file, to nothing, or to a directory", () =>
  inDirectory((directory) => {
    Deno.writeTextFileSync(`${directory}/other`, "other's");
    Deno.mkdirSync(`${directory}/d`);
    for (const target of ["other", "missing", "d"]) {
      Deno.symlinkSync(`${directory}/${target}`, `${directory}/to-${target}`);
      const open = (): void => append(`${directory}/to-${target}`, "ours");
      throws(open, { name: "OwnFileError", message: /to-\w+: it is a symbolic link/ });
    }
    strictEqual(Deno.readTextFileSync(`${directory}/other`), "other's");
    const names = [...Deno.readDirSync(directory)].map(({ name }) => name).sort();
    deepStrictEqual(names, ["d", "other", "to-d", "to-missing", "to-other"]);
  }));

Deno.test("openOwnFile() takes no directory and no socket for a file", () =>
  inDirectory((directory) => {
    using listener = Deno.listen({ transport: "unix", path: `${directory}/s` });
    Deno.mkdirSync(`${directory}/d`);
    for (const name of ["d", "s"]) {
      throws(() => append(`${directory}/${name}`, "x"), OwnFileError);
    }
    match(listener.addr.transport, /unix/);
  }));

Deno.test({
  name: "openOwnFile() as root takes no file that has a second name",
  ignore: Deno.uid() !== 0, // Others can change by a second name what they can change anyway.
  fn: () =>
    inDirectory((directory) => {
      Deno.writeTextFileSync(`${directory}/other`, "other's");
      Deno.linkSync(`${directory}/other`, `${directory}/a`);
      throws(() => append(`${directory}/a`, "x"), /second name/);
      strictEqual(Deno.readTextFileSync(`${directory}/other`), "other's");
    }),
});
