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
import { builtInStores, WITH_AZURE, WITH_GCS, WITH_NFS, WITH_S3 } from "./features.ts";

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
      if (!WITH_NFS) throw notBuiltIn(options.type);
      const { openNfsBackend } = await import("./nfs/nfs_backend.ts");
      return await openNfsBackend({
        root: options.path,
        prefix: options.pathPrefix ?? "",
        initialize: options.initialize ?? false,
        clock: tools.clock,
      });
    }
    case "s3": {
      if (!WITH_S3) throw notBuiltIn(options.type);
      const { openS3Backend } = await import("./s3/s3_backend.ts");
      return await openS3Backend(options, tools);
    }
    case "azure": {
      if (!WITH_AZURE) throw notBuiltIn(options.type);
      const { openAzureBackend } = await import("./azure/azure_backend.ts");
      return await openAzureBackend(options, tools);
    }
    case "gcs": {
      if (!WITH_GCS) throw notBuiltIn(options.type);
      const { openGcsBackend } = await import("./gcs/gcs_backend.ts");
      return await openGcsBackend(options, tools);
    }
    default:
      return unreachable(options);
  }
}

function notBuiltIn(type: string): SettingsError {
  return new SettingsError(
    `this build has no ${type} store, only ${builtInStores().join(", ")}; install the ` +
      `p4-cache package for ${type}, or the one for all`,
  );
}
