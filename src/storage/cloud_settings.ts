/**
 * The settings that all cloud stores share, checked and in our units. Pure.
 *
 * @module
 */

import type { CloudOptions } from "./backend_options.ts";
import type { HostRule } from "./http/transport.ts";
import type { DownloadTuning } from "./range_download.ts";

const MIB = 1_048_576;

export interface CloudSettings {
  /** Without a slash at the end; null for the vendor's. */
  readonly endpoint: string | null;
  /** "" or ends with a slash. */
  readonly prefix: string;
  readonly caCertPath: string | null;
  readonly download: DownloadTuning;
  readonly partBytes: number;
  readonly partThreads: number;
  readonly stallMs: number;
}

/** A setting that cannot be used: what is, what is wanted, and why. */
export class SettingsError extends Error {
  override readonly name = "SettingsError";
}

/** @throws {SettingsError} */
export function planCloudSettings(options: CloudOptions): CloudSettings {
  if (options.verifySsl === false) {
    throw new SettingsError(
      "verify_ssl = false is not allowed: anybody between here and the store could read " +
        "the history and replace it; name the store's authority in ca_cert_path instead",
    );
  }
  const endpoint = options.endpoint?.replace(/\/+$/, "") ?? null;
  if (endpoint !== null) {
    if (
      !/^https?:\/\/[^/?#@]+(?:\/[^?#@]*)?$/.test(endpoint) || !URL.canParse(endpoint)
    ) {
      throw new SettingsError(
        `endpoint "${endpoint}" is not usable: https://host or https://host:port is wanted`,
      );
    }
    if (options.endpointPin !== true) {
      throw new SettingsError(
        `endpoint "${endpoint}" needs endpoint_pin = true, which says that no request may ` +
          "go to any other host",
      );
    }
  }
  return {
    endpoint,
    prefix: prefixOf(options.pathPrefix ?? ""),
    caCertPath: options.caCertPath ?? null,
    download: {
      chunkThresholdBytes: (options.restoreChunkThresholdMb ?? 64) * MIB,
      chunkThreads: options.restoreChunkThreads ?? 4,
      rangeBytes: 16 * MIB,
    },
    partBytes: (options.uploadPartMb ?? 8) * MIB,
    partThreads: options.uploadPartThreads ?? 4,
    stallMs: (options.stallSecs ?? 60) * 1_000,
  };
}

function prefixOf(pathPrefix: string): string {
  const trimmed = pathPrefix.replace(/^\/+|\/+$/g, "");
  if (trimmed === "") return "";
  for (const segment of trimmed.split("/")) {
    if (segment === "" || segment === "." || segment === "..") {
      throw new SettingsError(`path_prefix "${pathPrefix}" has a "${segment}" segment`);
    }
  }
  return `${trimmed}/`;
}

/** The rule of `endpoint_pin`, or of the vendor's own domains where there is no endpoint. */
export function hostRuleFor(
  endpoint: string | null,
  bucketHostPrefix: string,
  vendorHosts: RegExp,
): HostRule {
  if (endpoint === null) {
    return {
      allows: (host) => vendorHosts.test(host),
      description: "the store is the vendor's own; a service of yours needs an endpoint",
    };
  }
  const { host: pinned } = new URL(endpoint);
  return {
    allows: (host) => host === pinned || host === `${bucketHostPrefix}.${pinned}`,
    description: `endpoint_pin allows ${pinned} only`,
  };
}
