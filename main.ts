/**
 * Entry point of p4-cache. Everything is in src/.
 *
 * @module
 */

import { runCli } from "./src/cli/main_cli.ts";

const encoder = new TextEncoder();
const executable = Deno.build.standalone ? Deno.execPath() : "p4-cache";

const status = await runCli(executable.replace(/^.*\//, ""), Deno.args, {
  print: (line) => void Deno.stdout.writeSync(encoder.encode(`${line}\n`)),
  printError: (line) => void Deno.stderr.writeSync(encoder.encode(`${line}\n`)),
});
Deno.exit(status);
