/**
 * What all commands share: output, the usage error, and the default of `--config`.
 *
 * @module
 */

export const DEFAULT_CONFIG_PATH = "/etc/p4-cache/config.json";

export interface CommandOutput {
  print(line: string): void;
  printError(line: string): void;
}

/** The command line is wrong: exit status 2 and the command's help. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Whether `error` says that a permission is missing. */
export function isDenied(error: unknown): boolean {
  return error instanceof Deno.errors.PermissionDenied ||
    (error instanceof Error && "code" in error && error.code === "EACCES");
}
