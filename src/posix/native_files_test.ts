import { deepStrictEqual, notStrictEqual, strictEqual } from "node:assert/strict";
import { placeNative } from "./native_files.ts";

const CONTENT = new TextEncoder().encode("a library, says this test");

async function withDirectory(run: (directory: string) => void): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "p4cache-native-" });
  try {
    run(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

for (
  const [what, content, mode] of [
    ["empty, as a power cut leaves it", new Uint8Array(), 0o755],
    ["cut short", CONTENT.subarray(0, -1), 0o755],
    ["as long and another", CONTENT.map((byte) => byte ^ 1), 0o755],
    ["not executable", CONTENT, 0o600],
  ] as const
) {
  Deno.test(`a native part that is ${what} is written anew`, () =>
    withDirectory((directory) => {
      const path = `${directory}/0123-part.so`;
      Deno.writeFileSync(path, content);
      Deno.chmodSync(path, mode);
      placeNative(path, CONTENT);
      deepStrictEqual(Deno.readFileSync(path), CONTENT);
      strictEqual(Deno.statSync(path).mode! & 0o777, 0o755);
      deepStrictEqual([...Deno.readDirSync(directory)].map(({ name }) => name), [
        "0123-part.so",
      ]);
    }));
}

Deno.test("a native part that is right stays, and one that is missing is written", () =>
  withDirectory((directory) => {
    const path = `${directory}/0123-part.so`;
    placeNative(path, CONTENT);
    const { ino } = Deno.statSync(path);
    notStrictEqual(ino, null);
    placeNative(path, CONTENT);
    strictEqual(Deno.statSync(path).ino, ino);
    deepStrictEqual(Deno.readFileSync(path), CONTENT);
  }));

Deno.test("a native part is on the disk before it has its name, and then the name", () =>
  withDirectory((directory) => {
    const path = `${directory}/0123-part.so`;
    const calls: string[] = [];
    const { openSync, renameSync } = Deno;
    const { syncSync } = Deno.FsFile.prototype;
    try {
      Deno.openSync = (at, options): Deno.FsFile => {
        calls.push(`open ${at === directory ? "directory" : "temporary"}`);
        return openSync(at, options);
      };
      Deno.FsFile.prototype.syncSync = function (): void {
        calls.push("sync");
        syncSync.call(this);
      };
      Deno.renameSync = (from, to): void => {
        calls.push("rename");
        renameSync(from, to);
      };
      placeNative(path, CONTENT);
    } finally {
      Object.assign(Deno, { openSync, renameSync });
      Deno.FsFile.prototype.syncSync = syncSync;
    }
    const expected = ["open temporary", "sync", "rename", "open directory", "sync"];
    deepStrictEqual(calls, expected);
  }));
