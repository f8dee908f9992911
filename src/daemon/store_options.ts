/**
 * From the configuration of a store to what the storage layer opens it with: the same
 * fields, secrets revealed.
 *
 * @module
 */

import type { BackendConfig } from "../config/backend_keys.ts";
import { Secret } from "../config/secret.ts";
import type { BackendOptions } from "../storage/backend_options.ts";

/** @throws {SecretError} If a secret's file or variable is not there. */
export function storeOptionsOf(config: BackendConfig): BackendOptions {
  const entries = Object.entries(config).map(([name, value]) =>
    [name, value instanceof Secret ? value.reveal() : value] as const
  );
  return Object.fromEntries(entries) as unknown as BackendOptions;
}
