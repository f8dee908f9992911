import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { checkDocument } from "../../tests/support/document.ts";
import { BACKEND_KEYS } from "./backend_keys.ts";
import type { KeyTable } from "./key_spec.ts";
import { KEYS, SECTIONS } from "./key_table.ts";
import { parseConfig } from "./parse_config.ts";
import {
  renderConfigDocs,
  renderConfigExample,
  renderConfigSchema,
} from "./render_docs.ts";

/** Names that configurations in use have. Never edited. */
const PUBLISHED = "depot_path read_only primary secondary max_cache_gb max_cache_bytes " +
  "low_watermark_gb low_watermark_bytes upload_threads upload_concurrency restore_threads " +
  "restore_chunk_threshold_mb restore_chunk_threads enforce_content_hash verbose " +
  "stats_interval stats_interval_secs metrics_file metrics_interval metrics_interval_secs " +
  "access_log_enabled access_batch_size access_flush_interval_secs " +
  "access_max_pending_entries access_spool_dir access_spool_max_bytes pid_file log_file " +
  "log_rotate_max_mb daemon skip_startup_scan shim_allowed_uids watcher_allowed_uids";

interface Schema {
  readonly properties: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly required: readonly string[];
}

const SCHEMA: Schema = JSON.parse(renderConfigSchema());

Deno.test("docs/config.md, its example and its schema say what the table says", () => {
  checkDocument("config.md", renderConfigDocs());
  checkDocument("config.json.example", renderConfigExample());
  checkDocument("config.schema.json", renderConfigSchema());
});

Deno.test("The schema knows every published name and asks for what has no default", () => {
  const missing = PUBLISHED.split(" ").filter((name) => !(name in SCHEMA.properties));
  deepStrictEqual(missing, []);
  deepStrictEqual(SCHEMA.required, ["depot_path", "primary"]);
});

Deno.test("The example is a configuration without problems", () => {
  const parsed = parseConfig(JSON.parse(renderConfigExample()));
  deepStrictEqual("problems" in parsed ? parsed.problems : [], []);
});

Deno.test("Every key stands in one section, has a meaning, and a default that it would take", () => {
  const listed = SECTIONS.flatMap(([, table]) => Object.keys(table));
  deepStrictEqual(listed.toSorted(), Object.keys(KEYS).toSorted());
  strictEqual(new Set(listed).size, listed.length);
  const secrets = { file: (): string => "x", env: (): string => "x" };
  for (const table of [KEYS, ...Object.values(BACKEND_KEYS)] as readonly KeyTable[]) {
    for (const [key, spec] of Object.entries(table)) {
      match(spec.help, /^[A-Z0-9`].*[.:`]$/s, key);
      if (spec.default === undefined) continue;
      deepStrictEqual(
        spec.kind.read(spec.default, { key, secrets }),
        { value: spec.default },
        key,
      );
    }
  }
});
