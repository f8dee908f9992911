/**
 * Every metric that the daemon exports, in one table. `docs/metrics.md` is generated from
 * it, and a name or a label value that is not in it does not compile.
 *
 * Label values are closed sets: a label fed from user data grows without bound. Failure
 * counters count terminal failures only; what is still being retried is not one.
 *
 * @module
 */

export type MetricSpec = CounterSpec | GaugeSpec | HistogramSpec;

interface CommonSpec {
  /** One sentence: what it counts, or what a rising value means to an operator. */
  readonly help: string;
  readonly labels?: Readonly<Record<string, readonly string[]>>;
}

interface CounterSpec extends CommonSpec {
  readonly kind: "counter";
}

interface GaugeSpec extends CommonSpec {
  readonly kind: "gauge";
  /** It has no series until it is set, where 0 would be a statement. */
  readonly isOptional?: boolean;
}

interface HistogramSpec extends CommonSpec {
  readonly kind: "histogram";
  /** Upper bounds, ascending, in the unit that the name ends in. */
  readonly buckets: readonly number[];
}

const RESULT = ["success", "failure"] as const;

export const METRICS = {
  p4cache_uploads_total: {
    kind: "counter",
    help: "Uploads that ended: the store has the file, or the retries are used up.",
    labels: { result: RESULT },
  },
  p4cache_upload_bytes_total: {
    kind: "counter",
    help: "Bytes of files that the store has acknowledged.",
  },
  p4cache_upload_seconds: {
    kind: "histogram",
    help: "Time from the start of an upload to its end, retries included.",
    labels: { result: RESULT },
    buckets: [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1_800],
  },
  p4cache_restores_total: {
    kind: "counter",
    help: "Restores that ended, in the store's content on disk or in an error.",
    labels: { result: RESULT },
  },
  p4cache_restore_bytes_total: {
    kind: "counter",
    help: "Bytes of files that were restored.",
  },
  p4cache_restore_seconds: {
    kind: "histogram",
    help: "Time that the first reader of a file waited for its restore.",
    labels: { result: RESULT },
    buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300],
  },
  p4cache_restore_waiting: {
    kind: "gauge",
    help: "Restores that are queued or under way.",
  },
  p4cache_secondary_restores_total: {
    kind: "counter",
    help:
      "Restores asked of the secondary store, because the primary has no such object.",
    labels: { result: RESULT },
  },
  p4cache_manifest_copy_failures_total: {
    kind: "counter",
    help:
      "Copies of the manifest that could not be made, for want of room on the disk or because " +
      "they were not sound. Each one is tried again in an hour.",
  },
  p4cache_secondary_copies_total: {
    kind: "counter",
    help: "Files that came from the secondary store and were uploaded to the primary.",
  },
  p4cache_other_copy_restores_total: {
    kind: "counter",
    help:
      "Restores asked of another object of the primary with the same hash, because the one " +
      "that the manifest names is gone or damaged. Each one is a reason to look at the store.",
    labels: { result: RESULT },
  },
  p4cache_recalled_bytes_today: {
    kind: "gauge",
    help: "Bytes that were restored since 00:00 UTC.",
  },
  p4cache_recall_limit_bytes: {
    kind: "gauge",
    help: "Limit of such bytes in a day (recall_max_bytes_per_day); 0 is no limit.",
  },
  p4cache_recall_refused_total: {
    kind: "counter",
    help: "Restores refused because a recall limit is reached: programs got EDQUOT.",
  },
  p4cache_deletes_total: {
    kind: "counter",
    help: "Deletions by p4d that the manifest recorded, or failed to.",
    labels: { result: RESULT },
  },
  p4cache_store_deletes_total: {
    kind: "counter",
    help: "Objects removed from the store after the grace time, or that could not be.",
    labels: { result: RESULT },
  },
  p4cache_evictions_total: {
    kind: "counter",
    help: "Files whose local bytes were given up.",
  },
  p4cache_evicted_bytes_total: {
    kind: "counter",
    help: "Local bytes that evictions freed.",
  },
  p4cache_evict_refused_total: {
    kind: "counter",
    help:
      "Evictions refused because the store did not show the object as it should be, or has " +
      "archived it (each once).",
  },
  p4cache_files: {
    kind: "gauge",
    help: "Files in the manifest by state; total is all of them.",
    labels: { state: ["dirty", "uploading", "clean", "total"] },
  },
  p4cache_cache_bytes: {
    kind: "gauge",
    help: "Bytes of resident files.",
  },
  p4cache_cache_max_bytes: {
    kind: "gauge",
    help: "Limit of the cache; 0 is no limit.",
  },
  p4cache_read_once_bytes: {
    kind: "gauge",
    help:
      "Bytes of resident files that were restored and read once since: they are evicted first.",
  },
  p4cache_eviction_missing_bytes: {
    kind: "gauge",
    help:
      "Bytes that the last eviction pass, or one that has let nothing go for 10 s, wanted " +
      "gone and could not let go: not uploaded yet, too young, pinned, in use, or not " +
      "confirmed by the store.",
  },
  p4cache_dirty_over_limit_bytes: {
    kind: "gauge",
    help:
      "Bytes by which files that are not uploaded yet exceed max_cache_bytes by themselves: " +
      "uploads are too slow, or stand still. p4d is not throttled: the disk fills.",
  },
  p4cache_dirty_bytes: {
    kind: "gauge",
    help:
      "Bytes that wait for their upload. Only the local disk has them, and the local versions " +
      "of what p4cache_conflicts counts, which are not among these unless they wait, too.",
  },
  p4cache_oldest_dirty_seconds: {
    kind: "gauge",
    help:
      "Age of the oldest file that the store does not have yet; 0 when there is none.",
  },
  p4cache_tombstones: {
    kind: "gauge",
    help: "Deleted files that can still be undeleted.",
  },
  p4cache_held_objects: {
    kind: "gauge",
    help:
      "Objects of deleted files that stay though their grace is over, because a marker that " +
      "is not of the row of its name may stand for them.",
  },
  p4cache_all_objects_held: {
    kind: "gauge",
    help:
      "Whether (1) no object of a deleted file is removed, because a directory cannot be listed " +
      "or a socket says nothing of its file; p4-cache status says which.",
  },
  p4cache_conflicts: {
    kind: "gauge",
    help: "Files with two versions that wait for an operator's decision.",
  },
  p4cache_lost_files_total: {
    kind: "counter",
    help: "Files that vanished before any upload. Each one is a reason to be alarmed.",
  },
  p4cache_manifest_counter_drift_total: {
    kind: "counter",
    help: "Counters of the manifest that are not what a recount gives; each hour's anew.",
  },
  p4cache_opens_total: {
    kind: "counter",
    help: "Opens of depot files by p4d; hot / (hot + cold) is the hit ratio.",
    labels: { result: ["hot", "cold", "missing", "error"] },
  },
  p4cache_shim_requests_total: {
    kind: "counter",
    help:
      "Requests of the shim by the code of the daemon's answer. Those that the gate answers by " +
      "itself are in p4cache_shim_turned_away_total and p4cache_shim_bad_request_total.",
    labels: {
      op: ["FETCH", "STAT", "DELETE"],
      code: [
        "OK",
        "NOTFOUND",
        "DENIED",
        "CORRUPT",
        "UNAVAILABLE",
        "FULL",
        "QUOTA",
      ],
    },
  },
  p4cache_shim_bad_request_total: {
    kind: "counter",
    help:
      "Requests on the shim's socket that are no requests (BADREQ), name the daemon's own " +
      "directory (RESERVED), or were not finished in time.",
  },
  p4cache_shim_rejected_peer_total: {
    kind: "counter",
    help: "Peers on the shim's socket whose UID is not in shim_allowed_uids.",
  },
  p4cache_shim_turned_away_total: {
    kind: "counter",
    help:
      "Requests on the shim's socket that were told BUSY, because too many wait already, of all " +
      "users or of this one: see shim_max_requests.",
  },
  p4cache_shim_legacy_unprefixed_total: {
    kind: "counter",
    help: "Requests without a protocol version: a shim older than the daemon is loaded.",
  },
  p4cache_watcher_rejected_writer_total: {
    kind: "counter",
    help:
      "Files written by a UID that is not in watcher_allowed_uids, or by a process that had " +
      "exited where others than the file's owner may write it.",
  },
  p4cache_watcher_auth_by_fd_owner_total: {
    kind: "counter",
    help: "Writes told by the file's owner, because the writer had exited already.",
  },
  p4cache_watcher_overflow_total: {
    kind: "counter",
    help: "Overflows of the kernel's queue. Each loses events and starts a rescan.",
  },
  p4cache_rescans_total: {
    kind: "counter",
    help: "Walks of the whole depot, by what asked for them.",
    labels: {
      reason: ["startup", "overflow", "lost", "helper", "manifest", "requested"],
    },
  },
  p4cache_helper_restarts_total: {
    kind: "counter",
    help: "Helper processes that ended by themselves and were started again.",
    labels: { helper: ["gate", "fanotify"] },
  },
  p4cache_unmanaged_long_paths_total: {
    kind: "counter",
    help:
      "Archives, and directories too deep to be opened, that stay on the disk without a copy in the store because their path is longer than the manifest's keys, or has a line feed in it. The log names them.",
  },
  p4cache_requests_total: {
    kind: "counter",
    help: "Requests to a store, each attempt by itself, by how they ended.",
    labels: {
      backend: ["s3", "azure", "gcs", "nfs", "mem"],
      operation: ["upload", "download", "head", "delete", "list", "retrieve"],
      outcome: [
        "ok",
        "aborted",
        "error",
        "not-found",
        "denied",
        "precondition",
        "corrupt",
        "full",
        "throttled",
        "unavailable",
        "archived",
        "invalid",
      ],
    },
  },
  p4cache_credentials_left_seconds: {
    kind: "gauge",
    isOptional: true,
    help: "Time until the credentials of a store end (a SAS), below 0 once they have; " +
      "absent if they do not end, or renew themselves.",
    labels: { store: ["primary", "secondary"] },
  },
  p4cache_retries_total: {
    kind: "counter",
    help: "Requests to a store that were tried again.",
  },
  p4cache_access_log_dgram_dropped_total: {
    kind: "counter",
    help:
      "Datagrams of access events, or events, dropped: too long, more of a user than is taken in a second, of more files than are kept, access_max_pending_entries is too small, or the shim could not send them.",
  },
  p4cache_access_log_peer_rejected_total: {
    kind: "counter",
    help: "Datagrams on the access socket from a UID that is not allowed.",
  },
  p4cache_license_managed_bytes: {
    kind: "gauge",
    help: "Bytes of all files in the manifest, which is what the licence counts.",
  },
  p4cache_license_soft_ceiling_bytes: {
    kind: "gauge",
    help: "Managed capacity from which on the licence warns; +Inf is no ceiling.",
  },
  p4cache_license_hard_ceiling_bytes: {
    kind: "gauge",
    help:
      "Managed capacity from which on the licence refuses uploads; +Inf is no ceiling.",
  },
  p4cache_unhandled_errors_total: {
    kind: "counter",
    help:
      "Errors that nothing but the last guard caught. Each one is a bug; see the log.",
  },
} as const satisfies Readonly<Record<string, MetricSpec>>;

export type MetricName = keyof typeof METRICS;

type OfKind<K extends MetricSpec["kind"]> = {
  [N in MetricName]: typeof METRICS[N]["kind"] extends K ? N : never;
}[MetricName];

export type CounterName = OfKind<"counter">;
export type GaugeName = OfKind<"gauge">;
export type HistogramName = OfKind<"histogram">;

/** The labels of a metric, each with its closed set of values; none for one without. */
export type LabelsOf<N extends MetricName> = typeof METRICS[N] extends
  { readonly labels: infer L extends Readonly<Record<string, readonly string[]>> }
  ? { readonly [K in keyof L]: L[K][number] }
  : Readonly<Record<string, never>>;

/** Generates `docs/metrics.md`. */
export function renderMetricDocs(): string {
  const lines = [
    "# Metrics",
    "",
    "Generated from `src/obs/metric_table.ts`. Written to `metrics_file` every",
    "`metrics_interval_secs` in the Prometheus text format, for the textfile collector of",
    "`node_exporter`. Failures are counted once the retries are used up, not before.",
    "",
    "| metric | kind | labels | meaning |",
    "|---|---|---|---|",
  ];
  for (const [name, spec] of Object.entries<MetricSpec>(METRICS)) {
    const labels = Object.entries(spec.labels ?? {})
      .map(([label, values]) => `\`${label}\`: ${values.join(", ")}`).join("; ");
    lines.push(`| \`${name}\` | ${spec.kind} | ${labels} | ${spec.help} |`);
  }
  return lines.join("\n") + "\n";
}
