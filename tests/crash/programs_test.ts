/**
 * The programs beside the crash test, short: one cut of the power, one burst. By hand they
 * run longer (`make power-cut burst`).
 *
 * @module
 */

import { match, strictEqual } from "node:assert/strict";

async function lastLineOf(program: string, ...args: string[]): Promise<string> {
  const script = new URL(program, import.meta.url).pathname;
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-all", "--no-check", script, ...args],
  }).output();
  const text = new TextDecoder().decode(stdout);
  // deno-lint-ignore no-console -- the seed, for whoever reads a failure
  console.log(text);
  strictEqual(code, 0, text + new TextDecoder().decode(stderr));
  return text.trim().split("\n").at(-1)!;
}

Deno.test("a cut of the power loses nothing that was flushed, and leaves no half file", async () => {
  const line = await lastLineOf("power_cut.ts", "--runs", "1");
  match(line, /^power-cut: runs=1 files=[1-9]\d* in_flight_at_cut=\d+ lost=0 wrong=0$/);
});

Deno.test("of a burst of writes every file is queued and stored", async () => {
  const line = await lastLineOf("burst.ts", "--files", "1000");
  match(line, /^burst: files=1000 .* missing=0 wrong=0$/);
});
