/**
 * From Azure's error codes to faults. The one place that reads a code of Azure.
 *
 * @module
 */

import {
  faultOfStatus,
  retryAfterMsOf,
  transportStorageError,
} from "../http/http_fault.ts";
import {
  StorageError,
  type StorageFault,
  type StorageOperation,
} from "../storage_error.ts";

const FAULT_OF_CODE: Readonly<Record<string, StorageFault>> = {
  BlobNotFound: "not-found",
  // A container that is not there is a wrong setting, never an absent object.
  ContainerNotFound: "invalid",
  ContainerDisabled: "invalid",
  ContainerBeingDeleted: "unavailable",
  ResourceNotFound: "invalid",

  AccountIsDisabled: "denied",
  AuthenticationFailed: "denied",
  AuthorizationFailure: "denied",
  AuthorizationPermissionMismatch: "denied",
  AuthorizationProtocolMismatch: "denied",
  AuthorizationServiceMismatch: "denied",
  AuthorizationSourceIPMismatch: "denied",
  InsufficientAccountPermissions: "denied",
  InvalidAuthenticationInfo: "denied",
  NoAuthenticationInformation: "denied",
  BlobImmutableDueToPolicy: "denied",
  OperationNotAllowedOnRootBlob: "denied",
  // Of @azure/identity: no credential was found, or the one found was refused.
  CredentialUnavailableError: "denied",
  AuthenticationError: "denied",
  AuthenticationRequiredError: "denied",
  AggregateAuthenticationError: "denied",

  BlobAlreadyExists: "precondition",
  ConditionNotMet: "precondition",
  TargetConditionNotMet: "precondition",
  UnauthorizedBlobOverwrite: "precondition",

  Md5Mismatch: "corrupt",
  Crc64Mismatch: "corrupt",
  InvalidRange: "corrupt",
  // Another upload to the name committed, and our blocks went with it.
  InvalidBlockList: "unavailable",
  InvalidBlobOrBlock: "unavailable",

  BlobArchived: "archived",
  BlobBeingRehydrated: "archived",
  BlobNotInReadyState: "archived",

  ServerBusy: "throttled",
  InternalError: "unavailable",
  OperationTimedOut: "unavailable",
};

/** An identity whose endpoint does not answer is no refusal; it is named in words only. */
const IDENTITY_AWAY = /network_error|network unreachable|ECONN|ETIMEDOUT|timed out/i;

const ADVICE: Readonly<Record<string, string>> = {
  ContainerNotFound:
    "the container does not exist; create it, or correct container, account_name, endpoint",
  AuthenticationFailed:
    "account_key or sas_token is wrong or has expired, or this machine's clock is wrong",
  BlobArchived: "the object is archived; `p4-cache restore-archived` asks for it",
  BlobBeingRehydrated:
    "the object is on its way; `p4-cache restore-archived --wait` tells when it is there",
};

/** As far as the SDK's errors tell. */
interface SdkError extends Error {
  readonly code?: unknown;
  readonly statusCode?: unknown;
  readonly response?: { readonly headers?: { get(name: string): string | undefined } };
}

/** The StorageError of what a request threw; an abort's reason comes back as it is. */
export function azureError(
  operation: StorageOperation,
  key: string,
  error: unknown,
  signal: AbortSignal | undefined,
): unknown {
  if (signal?.aborted === true) return signal.reason;
  if (error instanceof StorageError || !(error instanceof Error)) return error;
  const transport = transportStorageError(error, operation, key);
  if (transport !== null) return transport;
  if (error instanceof RangeError && /response doesn't contain/.test(error.message)) {
    // The SDK's only words for an answer to a GET that is not Azure's.
    return new StorageError("unavailable", { operation, key, detail: error.message });
  }
  const { statusCode, response, name } = error as SdkError;
  const header = (field: string): string | undefined => response?.headers?.get(field);
  const code = codeOf(error as SdkError) ?? header("x-ms-error-code") ?? name;
  const status = typeof statusCode === "number" ? statusCode : null;
  const isAway = status === null && IDENTITY_AWAY.test(error.message);
  const known = isAway ? "unavailable" : FAULT_OF_CODE[code];
  // Neither a code nor a status: not the store's words, so a bug or our caller's own.
  if (known === undefined && status === null) return error;
  const advice = ADVICE[code];
  const what = `${code}${status === null ? "" : ` (HTTP ${status})`}: ${
    error.message.split("\n")[0]
  }`;
  return new StorageError(known ?? faultOfStatus(status!), {
    operation,
    key,
    detail: advice === undefined ? what : `${what}; ${advice}`,
    retryAfterMs: retryAfterMsOf(
      header("retry-after"),
      Date.parse(header("date") ?? "1970-01-01"),
    ),
    // Not the SDK's own error, which carries the request, and with it a SAS.
    cause: new Error(error.message),
  });
}

/** A DELETE by version id was refused because that version is the current one. */
export function isOfCurrentVersion(error: unknown): boolean {
  return error instanceof Error && codeOf(error) === "OperationNotAllowedOnRootBlob";
}

function codeOf(error: SdkError): string | null {
  return typeof error.code === "string" && error.code !== "" ? error.code : null;
}
