import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { parseDepotPath } from "../core/names.ts";
import type { NativeReads } from "./page_file.ts";
import { RowFinder } from "./row_finder.ts";

const PATH = parseDepotPath("depot/a,v");
const ROW = { id: new Uint8Array(8), bytes: new Uint8Array(104), length: 104 };

/** A finder over a library that tells what is asked of it. */
function finderOver(asked: string[], isSound: () => boolean = () => true): RowFinder {
  const native: NativeReads = {
    openRead: (path) => asked.push(`open ${path}`),
    close: (fd) => void asked.push(`close ${fd}`),
    leafPages: () => {
      throw new Error("nobody asks for pages");
    },
    sealedRows: (fd) => {
      asked.push(`map ${fd}`);
      return {
        renew: () => asked.push("renew") > 0 && isSound(),
        find: (path) => asked.push(`find ${path}`) > 0 ? ROW : null,
        close: () => void asked.push("unmap"),
      };
    },
  };
  return new RowFinder(native, "/m/data.mdb");
}

Deno.test("rows are those of the newest commit, and nobody looks while one is under way", async () => {
  const asked: string[] = [];
  const finder = finderOver(asked);
  deepStrictEqual(asked.splice(0), ["open /m/data.mdb", "map 1"]);
  strictEqual(finder.find(PATH), ROW);
  strictEqual(finder.find(PATH), ROW);
  deepStrictEqual(asked.splice(0), ["renew", "find depot/a,v", "find depot/a,v"]);
  const { promise, resolve } = Promise.withResolvers<void>();
  const committed = finder.whileCommitting(() => promise);
  strictEqual(finder.find(PATH), null);
  deepStrictEqual(asked, []);
  resolve();
  await committed;
  strictEqual(finder.find(PATH), ROW);
  deepStrictEqual(asked.splice(0), ["renew", "find depot/a,v"]);
  finder.close();
  deepStrictEqual(asked, ["unmap", "close 1"]);
});

Deno.test("after a commit that failed, only LMDB is asked", async () => {
  const asked: string[] = [];
  const finder = finderOver(asked);
  asked.length = 0;
  await rejects(finder.whileCommitting(() => Promise.reject(new Error("no disk"))), {
    message: "no disk",
  });
  await finder.whileCommitting(() => Promise.resolve());
  strictEqual(finder.find(PATH), null);
  deepStrictEqual(asked, []);
});

Deno.test("a file that is not understood is looked at again after the next commit", async () => {
  const asked: string[] = [];
  let isSound = false;
  const finder = finderOver(asked, () => isSound);
  asked.length = 0;
  strictEqual(finder.find(PATH), null);
  strictEqual(finder.find(PATH), null);
  deepStrictEqual(asked.splice(0), ["renew"]);
  isSound = true;
  await finder.whileCommitting(() => Promise.resolve());
  strictEqual(finder.find(PATH), ROW);
});
