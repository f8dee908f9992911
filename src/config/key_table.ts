/**
 * Every key of the configuration, once: name, kind, default, reload rule, meaning.
 *
 * Validation, defaults, the reload plan, `docs/config.md`, `docs/config.json.example` and
 * `docs/config.schema.json` all come from here. A `live` key takes effect when the file
 * changes; a `restart` key is what other state refers to, or is built once at start.
 *
 * @module
 */

import { GIB } from "../core/units.ts";
import { backend, type BackendConfig } from "./backend_keys.ts";
import { type FieldsOf, live, restart } from "./key_spec.ts";
import { schedule } from "./schedule_key.ts";
import {
  absolutePath,
  boolean,
  fixed,
  integer,
  keyPrefix,
  listOf,
  logLevel,
  nullable,
  number,
  oneOf,
  socketMode,
} from "./value_kinds.ts";

const DEPOT_KEYS = {
  depot_path: restart(absolutePath(), undefined, {
    help: "Root of the depot tree, as `p4d` sees it. Perforce: the directory that the " +
      "depots' maps are relative to, usually `P4ROOT` or `server.depot.root`.",
  }),
  manage: restart(oneOf("archives", "all"), "archives", {
    help: "Which files are tiered: `archives` takes `*,v` and `*,d/*`, as `p4d` names " +
      "archives; `all` takes everything, for trees that are no Perforce depots, and needs " +
      "`P4CACHE_MANAGE=all` beside `LD_PRELOAD` as well: a shim without it does not tell of " +
      "deletes of other names, and such files come back. Under both, a " +
      "name `x,v` is an archive whatever `x` is, because clients choose it (`db.sql,v`, " +
      "`journal.c,v`). What is left out under both is the server's own: `db.*`, `journal`, " +
      "`journal.*`, `checkpoint.*`, `*.jnl`, `*.jnl.*`, `*.ckp`, `*.ckp.*`, `*.lck`, `tmp.*`, " +
      "and the directory `server.locks` in `depot_path` itself (further down it may be a " +
      "client's or another server's: of that, `x,v`, `x,d/1.2` and `x,d/1.2.gz` are taken).",
  }),
  read_only: restart(boolean(), false, {
    help: "Restore only: no watcher, no upload, no eviction.",
  }),
  primary: restart(backend(), undefined, {
    help: "The store that files are uploaded to. See [Stores](#stores).",
  }),
  secondary: restart(nullable(backend()), null, {
    help: "A store that is asked for what the primary does not have. Never written.",
  }),
  read_prefixes: restart(listOf(keyPrefix()), [], {
    help:
      "Prefixes of other instances in the primary's bucket, container or export, asked in " +
      "this order for what this instance does not have. Never written. Files from there " +
      "are borrowed: their owner is asked again at each restore.",
  }),
  borrowed_ttl_secs: live(integer(0, 31_536_000), 3_600, {
    help:
      "A borrowed `,v` that is local is evicted after this, so that the next open sees " +
      "what its owner has written since. 0: never.",
  }),
  store_lookup_on_miss: live(nullable(boolean()), null, {
    help:
      "Ask the store for a file that the manifest does not know, such as one that was " +
      "staged by another tool. Each open of a name that is really absent costs two requests " +
      "(HEAD, and LIST for later versions) per store that is asked: primary, secondary, read " +
      "prefixes. Of a primary that this daemon writes, both are asked at once. Absence is " +
      "not remembered, so that what was staged is found at once; a name that was deleted or " +
      "renamed here costs none.",
    defaultNote: "true with `read_only` or `read_prefixes`, else false",
  }),
  enforce_content_hash: live(boolean(), true, {
    help:
      "Refuse to restore a file whose hash nobody recorded. False takes it unchecked, " +
      "and records the hash it has then.",
  }),
} as const;

const CACHE_KEYS = {
  max_cache_bytes: live(integer(0), 0, {
    gigabytes: "max_cache_gb",
    help:
      "Local bytes above which the least recently used files are evicted. 0: no limit.",
    defaultNote: "no limit",
  }),
  low_watermark_bytes: live(nullable(integer(0)), null, {
    gigabytes: "low_watermark_gb",
    help: "Eviction goes on to 90 % of this. Must be below the maximum.",
    defaultNote: "80 % of the maximum",
  }),
  min_free_bytes: live(nullable(integer(0)), null, {
    help:
      "Free space on the depot's disk that restores leave alone, and below which files " +
      "are evicted whatever the maximum says.",
    defaultNote: "the larger of 5 % of the disk and 10 GiB",
  }),
  evict_min_age_secs: live(integer(5, 31_536_000), 60, {
    help: "A file stays local for this long after it was written, uploaded or restored.",
  }),
  recall_max_bytes_per_day: live(integer(0), 0, {
    gigabytes: "recall_max_gb_per_day",
    help:
      "Bytes that are restored in a day (UTC) at most. Beyond, opens of evicted files fail " +
      "with EDQUOT until midnight or until this is raised. A `p4d` is one user: to it this " +
      "is a wall for everybody, so set it far above a busy day. 0: no limit.",
    defaultNote: "no limit",
  }),
  recall_uid_share_percent: live(integer(1, 100), 100, {
    help:
      "What one user may have of `recall_max_bytes_per_day`. Counts the user of the process " +
      "that opens, not the Perforce user: it bounds a backup or a scanner that runs under a " +
      "user of its own.",
  }),
  evict_verify: live(oneOf("head", "full"), "head", {
    help:
      "How the store's copy is checked before the local one goes: `head` asks for its " +
      "size and hash, `full` reads all of it.",
  }),
} as const;

const TRANSFER_KEYS = {
  upload_threads: restart(integer(1, 64), 4, {
    help: "Files that are uploaded at a time.",
  }),
  upload_concurrency: restart(integer(1, 256), 16, {
    help: "Requests to a store in flight, besides those of restores.",
  }),
  upload_settle_ms: live(integer(0, 600_000), 2_000, {
    help: "A file is uploaded once it has not changed for this long.",
  }),
  restore_threads: restart(integer(1, 256), 16, {
    help: "Files that are restored at a time.",
  }),
  restore_chunk_threshold_mb: restart(integer(0, 1_048_576), 64, {
    help: "Objects from this size on are fetched in ranges. 0: never.",
  }),
  restore_chunk_threads: restart(integer(1, 64), 4, {
    help: "Ranges in flight for one object.",
  }),
  bandwidth_upload_mbps: live(number(0, 1_000_000), 0, {
    help: "Limit in megabits (10^6) a second. 0: no limit.",
    defaultNote: "no limit",
  }),
  bandwidth_download_mbps: live(number(0, 1_000_000), 0, {
    help: "Limit in megabits (10^6) a second. 0: no limit. Readers wait for it.",
    defaultNote: "no limit",
  }),
  bandwidth_schedule: live(schedule(), [], {
    help: "Other limits for hours of the week. See " +
      "[Windows](#windows-of-bandwidth_schedule).",
    defaultNote: "the same limits always",
  }),
  retry_max_attempts: live(integer(0, 20), 3, { help: "Retries after the first try." }),
  retry_base_ms: live(integer(1, 60_000), 500, {
    help: "Wait before the first retry. It doubles, with jitter.",
  }),
  retry_max_ms: live(integer(1, 600_000), 30_000, {
    help: "Longest wait between retries.",
  }),
  slow_retry_secs: live(integer(10, 86_400), 900, {
    help: "Wait before an upload that used up its retries is tried again.",
  }),
} as const;

const SOCKET_KEYS = {
  shim_allowed_uids: live(listOf(integer(0, 4_294_967_294)), [], {
    help:
      "Users whose processes may ask for files, besides root and the daemon's own. They " +
      "also need `shim_socket_mode` 0666, or the sockets' group.",
  }),
  watcher_allowed_uids: live(listOf(integer(0, 4_294_967_294)), [], {
    help:
      "Users whose writes are uploaded, besides root and the daemon's own. Of a writer that " +
      "ended before it could be asked, the file's owner counts, if nobody else may write in " +
      "the file (mode, access list) or the writer has made it.",
  }),
  shim_socket_mode: restart(socketMode(), "0660", {
    help: "Mode of `shim.sock` and `access.sock`.",
  }),
  shim_max_requests: restart(integer(1, 32_768), 1_024, {
    help:
      "FETCH requests of the shim in flight, three quarters of them for one user at most. As " +
      "many again wait their turn; more are asked to come again.",
  }),
} as const;

const DELETE_KEYS = {
  delete_grace_secs: live(integer(0, 31_536_000), 86_400, {
    help: "How long a file that `p4d` deleted can be undeleted.",
  }),
  delete_max_per_hour: live(integer(0), 1_000, {
    help: "Objects removed from the store in an hour at most. 0: none at all.",
  }),
  skip_startup_scan: restart(boolean(), false, {
    help:
      "Walk the depot slowly after the start, and not at full speed. What was written " +
      "while no daemon ran is then found late; `status` says how far that is.",
  }),
  background_scan_files_per_sec: live(integer(1, 10_000_000), 1_000, {
    help: "Files that the slow walk of `skip_startup_scan` looks at in a second.",
  }),
  rescan_cooldown_secs: live(integer(0, 86_400), 30, {
    help: "Time between two walks of the depot that lost events ask for.",
  }),
} as const;

const LOG_KEYS = {
  log_file: live(nullable(absolutePath()), null, {
    help: "Rotated each day (UTC) and beyond `log_rotate_max_mb`.",
    defaultNote: "standard output",
  }),
  log_format: live(oneOf("text", "json"), "text", { help: "One line a record in both." }),
  log_level: live(logLevel(), "info", {
    help: "`debug`, `info`, `warn` or `error`, and exceptions for modules: " +
      "`info,engine=debug`.",
  }),
  verbose: live(boolean(), false, { help: "The same as `log_level` `debug`." }),
  log_rotate_max_mb: live(integer(0, 1_048_576), 100, { help: "0: by day only." }),
  log_retention_days: live(integer(0, 36_500), 14, {
    help:
      "Rotated files that are older are removed, if as many later days have any. 0: keep all.",
  }),
  failed_log_rotate_max_mb: restart(integer(0, 1_048_576), 50, {
    help: "For `p4-cache-failed-ops.log` and `p4-cache-failed-uploads.log`. 0: never.",
  }),
  stats_interval_secs: live(integer(0, 86_400), 60, {
    alias: "stats_interval",
    help: "How often a summary is logged. 0: never.",
  }),
  metrics_file: live(nullable(absolutePath()), null, {
    help: "File for the textfile collector of `node_exporter`, such as " +
      "`/var/lib/prometheus/node-exporter/p4-cache.prom`.",
    defaultNote: "none",
  }),
  metrics_interval_secs: live(integer(1, 3_600), 15, {
    alias: "metrics_interval",
    help: "How often `metrics_file` is written.",
  }),
} as const;

const ACCESS_KEYS = {
  access_log_enabled: restart(boolean(), false, {
    help: "Send each open of a depot file to the sink.",
  }),
  access_sink: restart(fixed(null, "this build has no access log sink"), null, {
    help: "Where access events go. No sink is in this build.",
  }),
  access_batch_size: restart(integer(1, 100_000), 500, { help: "Events in one write." }),
  access_flush_interval_secs: restart(integer(1, 3_600), 5, {
    help: "Longest time that an event waits for its batch to fill.",
  }),
  access_max_pending_entries: restart(integer(1, 10_000_000), 100_000, {
    help: "Events in memory. When there are as many, new ones are dropped and counted.",
  }),
  access_spool_dir: restart(nullable(absolutePath()), null, {
    help: "Where batches wait while the sink is down.",
    defaultNote: "none: they are dropped and counted",
  }),
  access_spool_max_bytes: restart(integer(0), GIB, {
    help: "Over this, new batches are dropped and counted.",
  }),
} as const;

const PROCESS_KEYS = {
  daemon: restart(
    fixed(false, "systemd or another supervisor keeps the process in the background"),
    false,
    { help: "Always false: a supervisor such as systemd keeps the process." },
  ),
  pid_file: restart(nullable(absolutePath()), null, {
    help: "Written at start, removed at the end.",
    defaultNote: "none",
  }),
} as const;

/** The keys in the order of the documentation. */
export const SECTIONS = [
  ["The depot and its stores", DEPOT_KEYS],
  ["The cache", CACHE_KEYS],
  ["Transfers", TRANSFER_KEYS],
  ["Deletion and scans", DELETE_KEYS],
  ["Who may talk to the daemon", SOCKET_KEYS],
  ["Logs and metrics", LOG_KEYS],
  ["Access events", ACCESS_KEYS],
  ["The process", PROCESS_KEYS],
] as const;

export const KEYS = {
  ...DEPOT_KEYS,
  ...CACHE_KEYS,
  ...TRANSFER_KEYS,
  ...DELETE_KEYS,
  ...SOCKET_KEYS,
  ...LOG_KEYS,
  ...ACCESS_KEYS,
  ...PROCESS_KEYS,
} as const;

/** Name of a key, as it stands in the file. */
export type ConfigKey = keyof typeof KEYS;

/** As the file has it, before what follows from other keys is put in. */
export type ConfigFields = FieldsOf<typeof KEYS>;

/**
 * The configuration, checked and complete: each key in camelCase. `logLevel` is `debug`
 * where `verbose` says so, and `lowWatermarkBytes` is 0 where the cache has no limit.
 */
export type Config =
  & Omit<ConfigFields, "primary" | "secondary" | "lowWatermarkBytes">
  & {
    readonly primary: BackendConfig;
    readonly secondary: BackendConfig | null;
    readonly lowWatermarkBytes: number;
  };
