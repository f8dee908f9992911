// deno-lint-ignore-file no-sync-fn-in-async-fn -- small files of a test's own directory
import { deepStrictEqual, match, rejects, strictEqual } from "node:assert/strict";
import { checkDocument } from "../../tests/support/document.ts";
import { METRICS, type MetricSpec, renderMetricDocs } from "./metric_table.ts";
import { createMetrics } from "./metrics.ts";
import { writeMetricsFile } from "./textfile.ts";

/** What monitoring that exists reads. Never edited. */
const PUBLISHED: Readonly<Record<string, string>> = {
  "p4cache_uploads_total": "result=success|failure",
  "p4cache_restores_total": "result=success|failure",
  "p4cache_deletes_total": "result=success|failure",
  "p4cache_evictions_total": "",
  "p4cache_manifest_counter_drift_total": "",
  "p4cache_files": "state=dirty|uploading|clean|total",
  "p4cache_cache_bytes": "",
  "p4cache_cache_max_bytes": "",
  "p4cache_shim_rejected_peer_total": "",
  "p4cache_shim_legacy_unprefixed_total": "",
  "p4cache_watcher_rejected_writer_total": "",
  "p4cache_watcher_auth_by_fd_owner_total": "",
  "p4cache_access_log_dgram_dropped_total": "",
  "p4cache_access_log_peer_rejected_total": "",
  "p4cache_license_managed_bytes": "",
  "p4cache_license_soft_ceiling_bytes": "",
  "p4cache_license_hard_ceiling_bytes": "",
};

function labelsOf(spec: MetricSpec | undefined): string | undefined {
  return spec && Object.entries(spec.labels ?? {})
    .map(([label, values]) => `${label}=${values.join("|")}`).join(" ");
}

const TABLE = METRICS as Readonly<Record<string, MetricSpec>>;

Deno.test("METRICS has every published name with its labels", () => {
  const found = Object.keys(PUBLISHED).map((name) => [name, labelsOf(TABLE[name])]);
  deepStrictEqual(Object.fromEntries(found), PUBLISHED);
});

Deno.test("METRICS keeps to the conventions of Prometheus", () => {
  for (const [name, spec] of Object.entries(TABLE)) {
    match(name, /^p4cache_[a-z_]+$/);
    match(spec.help, /^[A-Z].*\.$/, name);
    strictEqual(name.endsWith("_total"), spec.kind === "counter", name);
    if (spec.kind !== "histogram") continue;
    deepStrictEqual([...spec.buckets], [...spec.buckets].sort((a, b) => a - b), name);
  }
});

Deno.test("docs/metrics.md says what the table says", () => {
  checkDocument("metrics.md", renderMetricDocs());
});

Deno.test("createMetrics() shows every series at zero before anything has happened, but optional ones", async () => {
  const lines = (await createMetrics().render()).split("\n");
  const samples = lines.filter((line) => line !== "" && !line.startsWith("#"));
  for (const [name, spec] of Object.entries(TABLE)) {
    const combinations = Object.values(spec.labels ?? {})
      .reduce((product, values) => product * values.length, 1);
    // A bucket each, one for infinity, the sum and the count.
    const each = spec.kind === "histogram" ? spec.buckets.length + 3 : 1;
    const own = samples.filter((line) => seriesOf(line) === name);
    const isOptional = spec.kind === "gauge" && spec.isOptional === true;
    strictEqual(own.length, isOptional ? 0 : combinations * each, name);
    strictEqual(own.every((line) => line.endsWith(" 0")), true, name);
  }
});

function seriesOf(line: string): string {
  const name = /^\w+/.exec(line)![0];
  return name in TABLE ? name : name.replace(/_(?:bucket|sum|count)$/, "");
}

Deno.test("count(), set() and observe() change the series that they name, and no other", async () => {
  const metrics = createMetrics();
  const before = (await metrics.render()).split("\n");
  metrics.count("p4cache_evictions_total");
  metrics.count("p4cache_evicted_bytes_total", {}, 4_096);
  metrics.count("p4cache_uploads_total", { result: "failure" });
  metrics.count("p4cache_uploads_total", { result: "failure" }, 2);
  metrics.set("p4cache_files", 7, { state: "dirty" });
  metrics.set("p4cache_cache_bytes", 9);
  metrics.set("p4cache_credentials_left_seconds", -1, { store: "primary" });
  metrics.set("p4cache_license_hard_ceiling_bytes", Infinity);
  metrics.observe("p4cache_restore_seconds", 45, { result: "success" });
  const after = (await metrics.render()).split("\n");
  deepStrictEqual(after.filter((line) => !before.includes(line)), [
    'p4cache_uploads_total{result="failure"} 3',
    'p4cache_restore_seconds_bucket{le="60",result="success"} 1',
    'p4cache_restore_seconds_bucket{le="300",result="success"} 1',
    'p4cache_restore_seconds_bucket{le="+Inf",result="success"} 1',
    'p4cache_restore_seconds_sum{result="success"} 45',
    'p4cache_restore_seconds_count{result="success"} 1',
    "p4cache_evictions_total 1",
    "p4cache_evicted_bytes_total 4096",
    'p4cache_files{state="dirty"} 7',
    "p4cache_cache_bytes 9",
    'p4cache_credentials_left_seconds{store="primary"} -1',
    "p4cache_license_hard_ceiling_bytes +Inf",
  ]);
  strictEqual(metrics.counted("p4cache_uploads_total", { result: "failure" }), 3);
  strictEqual(metrics.counted("p4cache_uploads_total", { result: "success" }), 0);
  strictEqual(metrics.counted("p4cache_evicted_bytes_total"), 4_096);
});

Deno.test("createMetrics() shares nothing between two of them", async () => {
  const [one, other] = [createMetrics(), createMetrics()];
  one.count("p4cache_retries_total");
  match(await one.render(), /^p4cache_retries_total 1$/m);
  match(await other.render(), /^p4cache_retries_total 0$/m);
});

Deno.test("writeMetricsFile() replaces the file, readable by the collector", async () => {
  const directory = Deno.makeTempDirSync();
  const umask = Deno.umask(0o077);
  try {
    const path = `${directory}/p4-cache.prom`;
    Deno.writeTextFileSync(path, "old", { mode: 0o600 });
    Deno.writeTextFileSync(`${path}.tmp`, "left behind by a crash");
    await writeMetricsFile(path, { render: () => Promise.resolve("new\n") });
    strictEqual(Deno.readTextFileSync(path), "new\n");
    strictEqual(Deno.statSync(path).mode! & 0o777, 0o644);
    deepStrictEqual([...Deno.readDirSync(directory)].map((it) => it.name), [
      "p4-cache.prom",
    ]);
  } finally {
    Deno.umask(umask);
    Deno.removeSync(directory, { recursive: true });
  }
});

Deno.test("writeMetricsFile() does not write through a link, and cleans up when it fails", async () => {
  const directory = Deno.makeTempDirSync();
  try {
    const victim = `${directory}/victim`;
    Deno.writeTextFileSync(victim, "untouched");
    Deno.symlinkSync(victim, `${directory}/a.prom.tmp`);
    await writeMetricsFile(`${directory}/a.prom`, {
      render: () => Promise.resolve("new"),
    });
    strictEqual(Deno.readTextFileSync(victim), "untouched");
    Deno.mkdirSync(`${directory}/b.prom`); // A file cannot be renamed over a directory.
    const render = (): Promise<string> => Promise.resolve("new");
    await rejects(writeMetricsFile(`${directory}/b.prom`, { render }));
    const names = [...Deno.readDirSync(directory)].map((it) => it.name).sort();
    deepStrictEqual(names, ["a.prom", "b.prom", "victim"]);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
