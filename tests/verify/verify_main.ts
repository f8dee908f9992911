/**
 * Runs `p4-cache verify` from the source tree, without the dispatcher: for tests.
 *
 * @module
 */

import { runVerify } from "../../src/cli/cmd_verify.ts";
import { SYSTEM_CLOCK } from "../../src/core/clock.ts";
import { nativeFile } from "../../src/posix/native_files.ts";
import { openPosix } from "../../src/posix/posix.ts";
import { posixFiles } from "../../src/verify/posix_files.ts";

const encoder = new TextEncoder();

function writeTo(
  stream: { writeSync(bytes: Uint8Array): number },
): (text: string) => void {
  return (text) => {
    const bytes = encoder.encode(text);
    for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
  };
}

if (import.meta.main) {
  Deno.exit(
    await runVerify(Deno.args, {
      openConfigured: () => Promise.reject(new Error("this entry has no configuration")),
      openFiles: (root) => posixFiles(openPosix(nativeFile("libp4posix.so")), root),
      clock: SYSTEM_CLOCK,
      signal: new AbortController().signal,
      stdout: writeTo(Deno.stdout),
      stderr: writeTo(Deno.stderr),
      isTerminal: Deno.stderr.isTerminal(),
      scratchDirectory: Deno.env.get("TMPDIR") ?? "/tmp",
    }),
  );
}
