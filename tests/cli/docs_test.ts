/**
 * docs/cli.md and the program say the same.
 *
 * @module
 */

import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { runCli } from "../../src/cli/main_cli.ts";

const PAGE = await Deno.readTextFile(new URL("../../docs/cli.md", import.meta.url));

/** Runs a command that needs nothing around it. */
async function typed(...args: string[]): Promise<[code: number, out: string]> {
  let out = "";
  const write = (text: string): void => void (out += text);
  const code = await runCli("p4-cache", args, {
    write,
    writeError: write,
    print: (line) => write(`${line}\n`),
    printError: (line) => write(`${line}\n`),
  });
  return [code, out];
}

async function commandNames(): Promise<string[]> {
  const [, usage] = await typed("--help");
  return [...usage.matchAll(/^ {2}(\S+) {2}/gm)].map(([, name]) => name!);
}

Deno.test("docs/cli.md names every command, and each has a help", async () => {
  const names = await commandNames();
  ok(names.length > 15);
  for (const name of names) {
    ok(
      new RegExp(`\`(?:p4-cache )?${name}\``).test(PAGE),
      `${name} is not in docs/cli.md`,
    );
    const [code, help] = await typed(name, "--help");
    strictEqual(code, 0);
    match(help, new RegExp(`^Usage: p4-cache ${name === "unpin" ? "pin" : name}\\b`));
  }
});

Deno.test("a wrong command line is status 2 with the reason first", async () => {
  const wrong: readonly (readonly [args: string[], reason: string])[] = [
    [["conflicts"], "p4-cache conflicts: list, accept or restore is wanted"],
    [["failed-ops", "rm"], "p4-cache failed-ops: list or retry is wanted"],
    [["evict", "--all", "x"], "p4-cache evict: --all or PATHs"],
    [
      ["rehydrate", "--jobs", "0"],
      "p4-cache rehydrate: --jobs 0: a number from 1 to 256 is wanted",
    ],
    [["frobnicate"], 'p4-cache: there is no command "frobnicate"'],
  ];
  for (const [args, reason] of wrong) {
    const [code, out] = await typed(...args);
    deepStrictEqual([code, out.split("\n")[0]], [2, reason]);
  }
});
