/**
 * Entry point of p4-cache. Everything is in src/.
 *
 * @module
 */

import { runCli } from "./src/cli/main_cli.ts";

const encoder = new TextEncoder();

function writerTo(stream: typeof Deno.stdout): (text: string) => void {
  return (text) => {
    const bytes = encoder.encode(text);
    try {
      for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
    } catch (error) {
      // The reader has left (`| head`): nobody is there to be told, as with SIGPIPE.
      if (error instanceof Deno.errors.BrokenPipe) Deno.exit(141);
      throw error;
    }
  };
}

const write = writerTo(Deno.stdout);
const writeError = writerTo(Deno.stderr);
/** As typed, so that a link such as `p4-cache-verify` acts by its name. */
function invokedAs(): string {
  const [first] = Deno.readTextFileSync("/proc/self/cmdline").split("\0");
  return (first ?? "").replace(/^.*\//, "");
}

const status = await runCli(invokedAs(), Deno.args, {
  write,
  writeError,
  print: (line) => write(`${line}\n`),
  printError: (line) => writeError(`${line}\n`),
});
Deno.exit(status);
