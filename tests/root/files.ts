/**
 * Files and other users' processes for the tests that run as root.
 *
 * @module
 */

import { equal } from "node:assert/strict";
import { fileURLToPath } from "node:url";

/** An ordinary user and group that Debian has everywhere. */
export const NOBODY_UID = 65_534;

export function fromFileUrl(relative: string, base: string): string {
  return fileURLToPath(new URL(relative, base));
}

/** A directory that every user can reach, on a disk: /tmp may be a tmpfs. */
export async function withDirectory(
  run: (directory: string) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "p4cache-root-" });
  await Deno.chmod(directory, 0o777);
  try {
    await run(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Runs a shell text as `uid`, with `$1...` as given; its output. Bytes in names: use printf. */
export async function runAs(
  uid: number,
  text: string,
  ...args: readonly string[]
): Promise<string> {
  const identity = [`--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"];
  const { code, stdout, stderr } = await new Deno.Command("setpriv", {
    args: [...identity, "sh", "-ec", text, "sh", ...args],
  }).output();
  equal(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

export function sh(text: string, ...args: readonly string[]): Promise<string> {
  return runAs(0, text, ...args);
}
