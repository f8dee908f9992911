/**
 * `p4-cache config`: checks a configuration, or prints an example or the schema.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { loadConfig, warningsAbout } from "../config/load_config.ts";
import { storesOf } from "../config/parse_config.ts";
import { renderConfigExample, renderConfigSchema } from "../config/render_docs.ts";
import { nestedStores } from "../daemon/nested_store.ts";
import { EXIT } from "../daemon/start_error.ts";
import { notBuiltIn } from "../storage/open_backend.ts";
import { builtInStores } from "../storage/features.ts";
import { type CommandOutput, DEFAULT_CONFIG_PATH, UsageError } from "./command.ts";

export const HELP = `\
Usage: p4-cache config check [--config FILE]
       p4-cache config example
       p4-cache config schema

check     says everything that is wrong with the file (default ${DEFAULT_CONFIG_PATH}),
          and whether a store in a directory lies in the depot, by whatever path
example   prints a configuration to start from
schema    prints the JSON Schema, for editors

Exit status: 0 good, 2 usage, 78 the configuration has problems.
`;

export async function runConfig(
  args: readonly string[],
  output: CommandOutput,
): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { config: { type: "string", default: DEFAULT_CONFIG_PATH } },
    allowPositionals: true,
  });
  switch (positionals[0]) {
    case "check": {
      const config = loadConfig(values.config);
      for (const [role, { type }] of storesOf(config)) {
        if (builtInStores().includes(type)) continue;
        output.printError(`${values.config}: ${role}: ${notBuiltIn(type).message}`);
        return EXIT.configuration;
      }
      for (const [role, why] of await nestedStores(config)) {
        output.printError(`${values.config}: ${role}.path: ${why}`);
        return EXIT.configuration;
      }
      for (const warning of warningsAbout(values.config, config)) {
        output.printError(`warning: ${warning}`);
      }
      output.print(`${values.config}: good`);
      return 0;
    }
    case "example":
      output.print(renderConfigExample().trimEnd());
      return 0;
    case "schema":
      output.print(renderConfigSchema().trimEnd());
      return 0;
    default:
      throw new UsageError("check, example or schema is wanted");
  }
}
