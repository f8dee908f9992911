import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import {
  type ConditionRule,
  KeyTurns,
  probeConditionalPut,
  type PutProbe,
} from "./conditional_writes.ts";

/** A service with a rule of its own. */
function serviceOf(rule: ConditionRule, exists: boolean): PutProbe & {
  isThere(): boolean;
  requests: string[];
} {
  let isThere = exists;
  const requests: string[] = [];
  return {
    requests,
    putNew(): ReturnType<PutProbe["putNew"]> {
      requests.push("put");
      if (rule === "refused") return Promise.resolve("refused");
      if (isThere && rule === "enforced") return Promise.resolve("exists");
      isThere = true;
      return Promise.resolve("put");
    },
    remove(): Promise<void> {
      requests.push("remove");
      isThere = false;
      return Promise.resolve();
    },
    isThere: () => isThere,
  };
}

Deno.test("probeConditionalPut() tells who enforces, and leaves nothing", async () => {
  for (const exists of [false, true]) {
    for (const rule of ["enforced", "ignored"] as const) {
      const service = serviceOf(rule, exists);
      strictEqual(await probeConditionalPut(service), rule);
      strictEqual(service.isThere(), false);
    }
  }
});

Deno.test("probeConditionalPut() asks once who does not know the header", async () => {
  const service = serviceOf("refused", false);
  strictEqual(await probeConditionalPut(service), "refused");
  deepStrictEqual(service.requests, ["put"]);
});

Deno.test("probeConditionalPut() does without the right to delete", async () => {
  const service = serviceOf("enforced", false);
  const remove = (): Promise<void> => Promise.reject(new Error("AccessDenied"));
  strictEqual(await probeConditionalPut({ ...service, remove }), "enforced");
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
