/**
 * The documents that are made from the table of keys. Pure.
 *
 * @module
 */

import { BACKEND_KEYS } from "./backend_keys.ts";
import type { KeySpec, KeyTable } from "./key_spec.ts";
import { KEYS, SECTIONS } from "./key_table.ts";
import { WINDOW_KEYS } from "./schedule_key.ts";
import { schemaOfTable } from "./schema.ts";
import type { JsonSchema } from "./value_kinds.ts";

/** `docs/config.md` */
export function renderConfigDocs(): string {
  const lines = [
    "# Configuration",
    "",
    "Generated from `src/config/key_table.ts`. JSON, by default `/etc/p4-cache/config.json`;",
    "`config.json.example` is a start, `config.schema.json` is for editors. `p4-cache config",
    "check` says everything that is wrong with a file. A key that is not known is an error.",
    "",
    "The file is looked at every 30 seconds and on SIGHUP. **live** keys take effect then; a",
    "changed **restart** key is named in the log and waits for one. A file that cannot be used",
    "changes nothing. `_mb` and `_gb` count 2^20 and 2^30 bytes.",
    "",
    'A secret is a text, `{"file": "/path"}` or `{"env": "NAME"}`. Wherever the',
    "configuration is shown it is `***`.",
  ];
  for (const [title, table] of SECTIONS) {
    lines.push("", ...sectionOf(`## ${title}`, table));
  }
  lines.push(
    "",
    ...sectionOf("### Windows of `bandwidth_schedule`", WINDOW_KEYS),
    "",
    "The first window that the moment lies in counts, for both directions.",
    "",
    "## Stores",
    "",
    "`primary` and `secondary` are objects with these keys.",
  );
  for (const [type, table] of Object.entries<KeyTable>(BACKEND_KEYS)) {
    lines.push("", ...sectionOf(`### \`"type": "${type}"\``, table));
  }
  return lines.join("\n") + "\n";
}

function sectionOf(title: string, table: KeyTable): string[] {
  const rows = Object.entries(table).map(([key, spec]) => rowOf(key, spec));
  return [
    title,
    "",
    "| key | value | default | takes effect | |",
    "|---|---|---|---|---|",
    ...rows,
  ];
}

function rowOf(key: string, spec: KeySpec<unknown>): string {
  const names = [`\`${key}\``];
  if (spec.gigabytes) names.push(`or \`${spec.gigabytes}\``);
  if (spec.alias) names.push(`or \`${spec.alias}\``);
  const cells = [
    names.join(" "),
    spec.kind.wanted,
    defaultOf(spec),
    spec.reload,
    spec.help,
  ];
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

function defaultOf(spec: KeySpec<unknown>): string {
  if (spec.default === undefined) return "**required**";
  const value = `\`${JSON.stringify(spec.default)}\``;
  return spec.defaultNote === undefined ? value : `${value}: ${spec.defaultNote}`;
}

/** `docs/config.json.example`: what an administrator has to decide, and nothing else. */
export function renderConfigExample(): string {
  const example = {
    "depot_path": "/p4/1/depots",
    "primary": {
      "type": "s3",
      "bucket": "example-perforce-archives",
      "region": "eu-central-1",
      "path_prefix": "p4-1",
      "access_key": { file: "/etc/p4-cache/access_key" },
      "secret_key": { file: "/etc/p4-cache/secret_key" },
    },
    "max_cache_gb": 2_000,
    "shim_allowed_uids": [],
    "watcher_allowed_uids": [],
    "metrics_file": "/var/lib/prometheus/node-exporter/p4-cache.prom",
    "log_level": "info",
  };
  return JSON.stringify(example, null, 2) + "\n";
}

/** `docs/config.schema.json`; rules that take two keys are not in it. */
export function renderConfigSchema(): string {
  const schema: JsonSchema = {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "Configuration of p4-cache",
    ...schemaOfTable(KEYS),
  };
  return JSON.stringify(schema, null, 2) + "\n";
}
