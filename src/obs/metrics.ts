/**
 * Counts what the daemon does, under the names of the metric table.
 *
 * @module
 */

import { Counter, Gauge, Histogram, Registry } from "prom-client";
import {
  type CounterName,
  type GaugeName,
  type HistogramName,
  type LabelsOf,
  type MetricName,
  METRICS,
  type MetricSpec,
} from "./metric_table.ts";

type NoLabels = Readonly<Record<string, never>>;

/** May be left out where the metric has none. */
type LabelArgument<N extends MetricName> = LabelsOf<N> extends NoLabels
  ? [labels?: NoLabels]
  : [labels: LabelsOf<N>];

type CountArguments<N extends MetricName> = LabelsOf<N> extends NoLabels
  ? [labels?: NoLabels, n?: number]
  : [labels: LabelsOf<N>, n?: number];

export interface Metrics {
  /** Adds `n`, 1 unless given, which must not be negative. */
  count<N extends CounterName>(name: N, ...rest: CountArguments<N>): void;
  set<N extends GaugeName>(name: N, value: number, ...labels: LabelArgument<N>): void;
  observe<N extends HistogramName>(
    name: N,
    value: number,
    ...labels: LabelArgument<N>
  ): void;
  /** What was counted so far, since the start. */
  counted<N extends CounterName>(name: N, ...labels: LabelArgument<N>): number;
  /** All of it in the Prometheus text format. */
  render(): Promise<string>;
}

type Labels = Readonly<Record<string, string>>;

/**
 * Each call makes a registry of its own. Every combination of labels exists from the
 * start, so that a rate over the first failure ever is not missing; but those of gauges that
 * are optional.
 */
export function createMetrics(): Metrics {
  const registry = new Registry();
  const counters = new Map<string, Counter>();
  const gauges = new Map<string, Gauge>();
  const histograms = new Map<string, Histogram>();
  for (const [name, spec] of Object.entries<MetricSpec>(METRICS)) {
    const labelNames = Object.keys(spec.labels ?? {});
    const options = { name, help: spec.help, labelNames, registers: [registry] };
    const combinations = combinationsOf(spec.labels ?? {});
    if (spec.kind === "counter") {
      const counter = new Counter(options);
      for (const labels of combinations) counter.inc(labels, 0);
      counters.set(name, counter);
    } else if (spec.kind === "gauge") {
      const gauge = new Gauge(options);
      if (!spec.isOptional) { for (const labels of combinations) gauge.set(labels, 0); }
      gauges.set(name, gauge);
    } else {
      const histogram = new Histogram({ ...options, buckets: [...spec.buckets] });
      for (const labels of combinations) histogram.zero(labels);
      histograms.set(name, histogram);
    }
  }
  const sums = new Map<string, number>();
  return {
    count: (name, ...[labels, n = 1]) => {
      counters.get(name)!.inc(labels ?? {}, n);
      const series = seriesOf(name, labels);
      sums.set(series, (sums.get(series) ?? 0) + n);
    },
    counted: (name, ...[labels]) => sums.get(seriesOf(name, labels)) ?? 0,
    set: (name, value, ...[labels]) => gauges.get(name)!.set(labels ?? {}, value),
    observe: (name, value, ...[labels]) =>
      histograms.get(name)!.observe(labels ?? {}, value),
    render: () => registry.metrics(),
  };
}

function seriesOf(name: string, labels: Labels = {}): string {
  return [name, ...Object.keys(labels).sort().map((label) => labels[label])].join(" ");
}

function combinationsOf(labels: Readonly<Record<string, readonly string[]>>): Labels[] {
  let combinations: Labels[] = [{}];
  for (const [label, values] of Object.entries(labels)) {
    combinations = combinations.flatMap((it) =>
      values.map((v) => ({ ...it, [label]: v }))
    );
  }
  return combinations;
}
