/**
 * Opens the store that a configuration names. The only place that knows all of them.
 *
 * What comes back is bare: whoever composes the daemon puts `withRetry`, `withConcurrency`,
 * `withBandwidth` and `withMetering` around it.
 *
 * @module
 */

import { unreachable } from "../core/assert.ts";
import type { StorageBackend } from "./backend.ts";
import type { BackendOptions, BackendTools } from "./backend_options.ts";
import { SettingsError } from "./cloud_settings.ts";
import { builtInStores } from "./features.ts";

// Written out in each branch: the bundler drops an import only where the condition itself
// is a constant, not where it names one of another file.
declare const P4CACHE_WITH_NFS: boolean | undefined;
declare const P4CACHE_WITH_S3: boolean | undefined;
declare const P4CACHE_WITH_AZURE: boolean | undefined;
declare const P4CACHE_WITH_GCS: boolean | undefined;

/**
 * Opens the store, without asking it anything but, for a directory, whether it is there.
 *
 * @throws {SettingsError} If a setting cannot be used, or the store is not in this build.
 */
export async function openBackend(
  options: BackendOptions,
  tools: BackendTools,
): Promise<StorageBackend> {
  switch (options.type) {
    case "nfs": {
      if (typeof P4CACHE_WITH_NFS === "undefined" || P4CACHE_WITH_NFS) {
        const { openNfsBackend } = await import("./nfs/nfs_backend.ts");
        return await openNfsBackend({
          root: options.path,
          prefix: options.pathPrefix ?? "",
          initialize: options.initialize ?? false,
          clock: tools.clock,
          posix: tools.posix,
        });
      }
      throw notBuiltIn(options.type);
    }
    case "s3": {
      if (typeof P4CACHE_WITH_S3 === "undefined" || P4CACHE_WITH_S3) {
        const { openS3Backend } = await import("./s3/s3_backend.ts");
        return await openS3Backend(options, tools);
      }
      throw notBuiltIn(options.type);
    }
    case "azure": {
      if (typeof P4CACHE_WITH_AZURE === "undefined" || P4CACHE_WITH_AZURE) {
        const { openAzureBackend } = await import("./azure/azure_backend.ts");
        return await openAzureBackend(options, tools);
      }
      throw notBuiltIn(options.type);
    }
    case "gcs": {
      if (typeof P4CACHE_WITH_GCS === "undefined" || P4CACHE_WITH_GCS) {
        const { openGcsBackend } = await import("./gcs/gcs_backend.ts");
        return await openGcsBackend(options, tools);
      }
      throw notBuiltIn(options.type);
    }
    default:
      return unreachable(options);
  }
}

/** What to say of a configuration that names a store of another build. */
export function notBuiltIn(type: string): SettingsError {
  return new SettingsError(
    `this build has no ${type} store, only ${builtInStores().join(", ")}; install the ` +
      `p4-cache package for ${type}, or the one for all`,
  );
}
