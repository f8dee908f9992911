import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { openEngineFixture } from "../../tests/support/engine_fixture.ts";
import { parseDepotPath } from "../core/names.ts";
import { createMemoryLogger } from "../obs/logger.ts";
import { StorageError, type StorageFault } from "../storage/storage_error.ts";
import { observe, REPORTED } from "./observe.ts";
import { ToldUploads } from "./told_uploads.ts";
import { upload } from "./upload.ts";

Deno.test("an upload that fails is told once a content and a kind of failure, and when it is done after all", async () => {
  await using fixture = await openEngineFixture();
  const log = createMemoryLogger();
  const failed: Record<string, unknown>[] = [];
  const failedUploads = { append: (it: object): void => void failed.push({ ...it }) };
  const context = { ...fixture.context, log, failedUploads };
  const path = fixture.path("d/a,v");
  const { primary } = fixture;
  const works = primary.upload.bind(primary);
  const told: unknown[] = [];
  const attempt = async (fault: StorageFault | null): Promise<void> => {
    primary.upload = (request) =>
      fault === null ? works(request) : Promise.reject(
        new StorageError(fault, { operation: "upload", key: "k", detail: "no" }),
      );
    const before = [failed.length, fixture.failures.length, log.records.length];
    strictEqual(await upload(context, path), fault === null ? "uploaded" : "failed");
    const after = [failed.length, fixture.failures.length, log.records.length];
    told.push(after.map((count, i) => count - before[i]!).join(" "));
  };
  const write = async (content: string): Promise<void> => {
    await fixture.write("d/a,v", content);
    await observe(context, path, REPORTED);
  };
  await write("1");
  await attempt("denied");
  await attempt("denied");
  await attempt("unavailable");
  await attempt("throttled");
  await attempt("denied");
  await write("1 2");
  await attempt("denied");
  await attempt("denied");
  const once = "1 1 1";
  const not = "0 0 0";
  deepStrictEqual(told.splice(0), [once, not, once, not, once, once, not]);
  deepStrictEqual(failed, fixture.failures);
  await attempt(null);
  await write("1 2 3");
  await attempt("denied");
  await write("1 2 3 4");
  await attempt(null);
  deepStrictEqual(told, ["0 0 1", once, "0 0 1"]);
  strictEqual(log.records.at(-1)!.message, "uploaded, after it had failed");
});

Deno.test("so many failed uploads are remembered at most; of those beyond it is told once", () => {
  const uploads = new ToldUploads(2);
  const stat = { sizeBytes: 1, mtimeNs: 1n } as Parameters<ToldUploads["note"]>[1];
  const note = (name: string, error = new Error("no")): string =>
    uploads.note(parseDepotPath(name), stat, error);
  const round = (): string[] => ["a,v", "b,v", "c,v", "d,v"].map((it) => note(it));
  deepStrictEqual(round(), ["new", "new", "full", "many"]);
  deepStrictEqual(round(), ["told", "told", "many", "many"]);
  strictEqual(note("a,v", new TypeError("no")), "new");
  deepStrictEqual([uploads.forget(parseDepotPath("c,v")), note("d,v")], [false, "many"]);
  deepStrictEqual([uploads.forget(parseDepotPath("a,v")), note("d,v")], [true, "new"]);
  strictEqual(note("c,v"), "full");
});
