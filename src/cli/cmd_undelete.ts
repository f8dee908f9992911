/**
 * `p4-cache undelete`: deleted files come back while their objects are kept.
 *
 * @module
 */

import { runOnFiles } from "./file_commands.ts";
import { CONFIG_HELP, type OperatorDeps } from "./operator_command.ts";

export const HELP = `\
Usage: p4-cache undelete PATH ... [--config FILE] [--dry-run] [--json]

Brings files back, evicted, that p4d deleted less than delete_grace_secs ago. Nothing that
has the name now is touched.

${CONFIG_HELP}
  --dry-run         say whether it could be done
  --json            one object a PATH, as docs/cli.md describes it

Exit status: 0 all are back, 1 some are not, 2 usage, 3 could not complete, 69 store
unavailable, 77 permission, 78 configuration.
`;

export function runUndelete(
  args: readonly string[],
  deps: OperatorDeps,
): Promise<number> {
  return runOnFiles(args, deps, {
    op: "undelete",
    done: "back, evicted",
    would: "would be back",
  });
}
