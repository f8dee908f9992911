import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { KeyTurns, probeConditionalPut } from "./conditional_writes.ts";

/** A service that refuses to overwrite, or does not. */
function serviceOf(isEnforcing: boolean, exists: boolean): {
  putNew(): Promise<boolean>;
  remove(): Promise<void>;
  isThere(): boolean;
} {
  let isThere = exists;
  return {
    putNew(): Promise<boolean> {
      if (isThere && isEnforcing) return Promise.resolve(false);
      isThere = true;
      return Promise.resolve(true);
    },
    remove(): Promise<void> {
      isThere = false;
      return Promise.resolve();
    },
    isThere: () => isThere,
  };
}

Deno.test("probeConditionalPut() tells who enforces, and leaves nothing", async () => {
  for (const exists of [false, true]) {
    for (const isEnforcing of [false, true]) {
      const service = serviceOf(isEnforcing, exists);
      strictEqual(await probeConditionalPut(service), isEnforcing);
      strictEqual(service.isThere(), false);
    }
  }
});

Deno.test("probeConditionalPut() does without the right to delete", async () => {
  const service = serviceOf(true, false);
  const remove = (): Promise<void> => Promise.reject(new Error("AccessDenied"));
  strictEqual(await probeConditionalPut({ ...service, remove }), true);
});

Deno.test("one key's work runs one at a time, another's beside it", async () => {
  const turns = new KeyTurns();
  const gate = Promise.withResolvers<void>();
  const begun: string[] = [];
  const first = turns.run("a", () => {
    begun.push("a1");
    return gate.promise;
  });
  const second = turns.run("a", () => Promise.resolve(begun.push("a2")));
  await turns.run("b", () => Promise.resolve(begun.push("b")));
  deepStrictEqual(begun, ["a1", "b"]);
  gate.reject(new Error("no"));
  await rejects(() => first, /no/);
  await second;
  deepStrictEqual(begun, ["a1", "b", "a2"]);
});
