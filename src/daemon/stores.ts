/**
 * Opens the configured stores with everything around them: limits innermost, so that a
 * retry waits outside of its place; metering inside the retry, so that each attempt counts.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import type { Config } from "../config/key_table.ts";
import { revealSecrets, Secret } from "../config/secret.ts";
import type { Logger } from "../obs/logger.ts";
import type { Metrics } from "../obs/metrics.ts";
import type { Posix } from "../posix/posix.ts";
import type { StorageBackend } from "../storage/backend.ts";
import { WEEK_DAYS } from "../config/schedule_key.ts";
import {
  type BandwidthLimits,
  planBandwidth,
  weekMinuteOf,
} from "../storage/bandwidth.ts";
import { SettingsError } from "../storage/cloud_settings.ts";
import { openBackend } from "../storage/open_backend.ts";
import { withConcurrency } from "../storage/limiting_backend.ts";
import { withMetering } from "../storage/metered_backend.ts";
import { withRenewal } from "../storage/renewing_backend.ts";
import { type RetryPolicy, withRetry } from "../storage/retrying_backend.ts";
import { withBandwidth } from "../storage/throttling_backend.ts";
import { nestedStores } from "./nested_store.ts";
import { tellingIfSlow } from "./slow_wait.ts";
import { EXIT, StartError } from "./start_error.ts";
import { messageOf } from "./state_directory.ts";

export interface StoreTools {
  readonly config: () => Config;
  readonly clock: Clock;
  readonly posix: Pick<Posix, "readFile">;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly watermark: Readonly<Record<string, string>>;
  readonly userAgent: string;
}

type BackendName = "s3" | "azure" | "gcs" | "nfs" | "mem";

export type StoreRole = "primary" | "secondary";

export interface Stores {
  readonly primary: StorageBackend;
  readonly secondary: StorageBackend | null;
  /**
   * When the credentials of each end, in milliseconds since the epoch; null: they do not, or
   * renew themselves. Another one after they were replaced.
   */
  readonly credentialEnds: Readonly<Record<StoreRole, number | null>>;
  /** One for each of `read_prefixes`, in their order, with the primary's credentials. */
  readonly readStores: readonly StorageBackend[];
}

/** @throws {StartError} 69 or 78, naming the store. */
export async function openStores(tools: StoreTools): Promise<Stores> {
  const { primary, secondary, readPrefixes } = tools.config();
  const ends: Record<StoreRole, number | null> = { primary: null, secondary: null };
  const stores = {
    primary: await openStore(tools, ends, "primary", primary),
    secondary: secondary === null
      ? null
      : await openStore(tools, ends, "secondary", secondary),
    credentialEnds: ends,
  };
  const readStores: StorageBackend[] = [];
  for (const pathPrefix of readPrefixes) {
    const options = primary.type === "nfs"
      ? { ...primary, pathPrefix, initialize: false }
      : { ...primary, pathPrefix };
    readStores.push(await openStore(tools, ends, "primary", options));
  }
  // Now that their directories have answered.
  for (const [, why] of await nestedStores(tools.config())) {
    throw new StartError(EXIT.configuration, why);
  }
  return { ...stores, readStores };
}

/** One of the two alone. Null: it is not configured. @throws {StartError} as `openStores` */
export async function openOneStore(
  tools: StoreTools,
  role: StoreRole,
): Promise<StorageBackend | null> {
  const config = tools.config();
  const options = config[role];
  if (options === null) return null;
  const store = await openStore(tools, { primary: null, secondary: null }, role, options);
  // The other one is not looked at: it may hang.
  const alone = role === "primary" ? { ...config, secondary: null } : config;
  const why = (await nestedStores(alone)).find(([nested]) => nested === role)?.[1];
  if (why === undefined) return store;
  await store.close();
  throw new StartError(EXIT.configuration, why);
}

/** Another text whenever a secret is another; null if the store has none of ours. */
function fingerprintOf(options: Config["primary"]): string | null {
  const secrets = Object.values(options).filter((it) => it instanceof Secret);
  if (secrets.length === 0) return null;
  return JSON.stringify(secrets.map((it) => it.reveal()));
}

async function openStore(
  tools: StoreTools,
  ends: Record<StoreRole, number | null>,
  role: StoreRole,
  options: Config["primary"],
): Promise<StorageBackend> {
  const { clock, posix, metrics, log, config, watermark, userAgent } = tools;
  const policy = retryPolicy(tools);
  try {
    const onWarning = (message: string): void => log.warn(message, { store: role });
    const open = (): Promise<StorageBackend> =>
      openBackend(revealSecrets(options), {
        clock,
        posix,
        retry: { policy, clock, random: Math.random },
        watermark,
        userAgent,
        onWarning,
        onExpiry: (endMs) => void (ends[role] = endMs),
      });
    const fingerprint = (): string | null => fingerprintOf(options);
    const backend = await tellingIfSlow(
      `the ${role} store`,
      tools,
      () =>
        options.type === "nfs"
          ? open()
          : withRenewal({ open, fingerprint, onWarning, clock }),
    );
    const limited = withConcurrency(
      backend,
      config().uploadConcurrency + config().restoreThreads,
    );
    const metered = withMetering(limited, {
      onRequest: ({ backend, operation, outcome }) =>
        metrics.count("p4cache_requests_total", {
          backend: backend as BackendName,
          operation,
          outcome,
        }),
    }, clock);
    return withRetry(
      withBandwidth(metered, bandwidthOf(config, clock), clock),
      policy,
      clock,
      Math.random,
    );
  } catch (error) {
    throw new StartError(
      error instanceof SettingsError ? EXIT.configuration : EXIT.storeUnavailable,
      `Cannot open the ${role} store: ${messageOf(error)}`,
      { cause: error },
    );
  }
}

/** Read anew at each failure: the numbers change with the configuration. */
function retryPolicy({ config, metrics, log }: StoreTools): RetryPolicy {
  return {
    get attemptsMax(): number {
      return config().retryMaxAttempts + 1;
    },
    get delayMsMin(): number {
      return config().retryBaseMs;
    },
    get delayMsMax(): number {
      return config().retryMaxMs;
    },
    retryAfterMsMax: 120_000,
    onRetry: (error, attemptCount, delayMs) => {
      metrics.count("p4cache_retries_total");
      log.debug(`trying again: ${error.message}`, { attemptCount, delayMs });
    },
  };
}

/** Asked again for each chunk: a new configuration or another hour counts at once. */
function bandwidthOf(config: () => Config, clock: Clock): () => BandwidthLimits {
  return () => {
    const { bandwidthUploadMbps, bandwidthDownloadMbps, bandwidthSchedule } = config();
    const windows = bandwidthSchedule.map((window) => ({
      days: window.days?.map((day) => WEEK_DAYS.indexOf(day)) ?? null,
      fromMinute: window.from,
      toMinute: window.to,
      ...limitsOf(window.uploadMbps, window.downloadMbps),
    }));
    const otherwise = limitsOf(bandwidthUploadMbps, bandwidthDownloadMbps);
    if (windows.length === 0) return otherwise;
    return planBandwidth({ windows, otherwise }, weekMinuteOf(clock.nowMs()));
  };
}

/** 0: no limit. */
function limitsOf(uploadMbps: number, downloadMbps: number): BandwidthLimits {
  const bytesPerSecond = (megabits: number): number | null =>
    megabits === 0 ? null : megabits * 125_000;
  return {
    uploadBytesPerSecond: bytesPerSecond(uploadMbps),
    downloadBytesPerSecond: bytesPerSecond(downloadMbps),
  };
}
