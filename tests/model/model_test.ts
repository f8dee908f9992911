import { strictEqual } from "node:assert/strict";
import { runSeed } from "../verify/random.ts";
import { runModel } from "./run_model.ts";

const SECONDS = 10;

Deno.test("nothing is lost and nothing reads wrong, whatever happens in whatever order", async () => {
  const endsAtMs = performance.now() + SECONDS * 1000;
  const { failure } = await runModel(
    { operationCount: Infinity, seed: runSeed() },
    () => performance.now() > endsAtMs,
  );
  const operations = failure?.operations.map((operation) => JSON.stringify(operation));
  strictEqual(failure, null, `${failure?.message}\n${operations?.join("\n")}`);
});
