/**
 * From S3's error codes to faults. The one place that reads a code of S3.
 *
 * A bucket that does not exist is `invalid`, never `not-found`: a wrong setting must not
 * look as if every object were gone.
 *
 * @module
 */

import {
  dateMsOf,
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
  NoSuchKey: "not-found",
  NoSuchVersion: "not-found",
  NotFound: "not-found",
  NoSuchBucket: "invalid",
  // A multipart upload that somebody aborted, or that expired: a new one may succeed.
  NoSuchUpload: "unavailable",

  AccessDenied: "denied",
  AllAccessDisabled: "denied",
  AccountProblem: "denied",
  InvalidAccessKeyId: "denied",
  SignatureDoesNotMatch: "denied",
  ExpiredToken: "denied",
  InvalidToken: "denied",
  TokenRefreshRequired: "denied",
  CredentialsProviderError: "denied",
  AuthorizationHeaderMalformed: "denied",
  "KMS.DisabledException": "denied",
  "KMS.NotFoundException": "invalid",

  PreconditionFailed: "precondition",
  // Another write to the key is under way: the retry is told how it ended.
  ConditionalRequestConflict: "unavailable",
  OperationAborted: "unavailable",

  BadDigest: "corrupt",
  InvalidDigest: "corrupt",
  XAmzContentSHA256Mismatch: "corrupt",
  XAmzContentChecksumMismatch: "corrupt",
  InvalidRange: "corrupt",
  InvalidPart: "corrupt",
  IncompleteBody: "unavailable",

  InvalidObjectState: "archived",
  RestoreAlreadyInProgress: "archived",
  // No capacity for this speed just now; another speed, or later.
  GlacierExpeditedRetrievalNotAvailable: "throttled",
  QuotaExceeded: "full",
  XMinioStorageFull: "full",
  ServiceQuotaExceeded: "full",

  SlowDown: "throttled",
  ServiceUnavailable: "throttled",
  Throttling: "throttled",
  ThrottlingException: "throttled",
  RequestLimitExceeded: "throttled",
  TooManyRequests: "throttled",
  BandwidthLimitExceeded: "throttled",

  InternalError: "unavailable",
  RequestTimeout: "unavailable",
  // The SDK corrects its clock by this answer, so that a retry succeeds.
  RequestTimeTooSkewed: "unavailable",

  // No header or request of this kind is known there: waiting does not help.
  NotImplemented: "invalid",
  MissingContentMD5: "invalid",
  InvalidRequest: "invalid",
  InvalidArgument: "invalid",
  EntityTooSmall: "invalid",
  EntityTooLarge: "invalid",
  InvalidPartOrder: "invalid",
  MalformedXML: "invalid",

  PermanentRedirect: "invalid",
  TemporaryRedirect: "invalid",
  IllegalLocationConstraintException: "invalid",
};

const ADVICE: Readonly<Record<string, string>> = {
  NoSuchBucket:
    "the bucket does not exist; create it, or correct bucket, region, endpoint",
  PermanentRedirect: "the bucket is in another region; set region",
  TemporaryRedirect:
    "the store points to another host, which is not followed; set region",
  InvalidObjectState: "the object is archived; `p4-cache restore-archived` asks for it",
  RequestTimeTooSkewed: "this machine's clock is wrong; check NTP",
  SignatureDoesNotMatch: "the secret key is not the access key's",
};

/** As far as the SDK's errors tell. */
interface SdkError extends Error {
  readonly Code?: string;
  readonly $metadata?: { readonly httpStatusCode?: number };
  readonly $response?: { readonly headers?: Readonly<Record<string, string>> };
}

/** The StorageError of what an S3 request threw; an abort's reason comes back as it is. */
export function s3Error(
  operation: StorageOperation,
  key: string,
  error: unknown,
  signal: AbortSignal | undefined,
): unknown {
  if (signal?.aborted === true) return signal.reason;
  if (error instanceof StorageError || !(error instanceof Error)) return error;
  const transport = transportStorageError(error, operation, key);
  if (transport !== null) return transport;
  const { name, Code, $metadata, $response } = error as SdkError;
  const code = Code ?? name;
  const status = $metadata?.httpStatusCode ?? null;
  const known = faultOfCode(code, operation);
  // The answer to a HEAD has no body, and so no code: Amazon says no more than 400 to a token
  // that expired, and to who asks another region.
  const isSilent = operation === "head" && status === 400 && known === undefined;
  // Neither a code nor a status: not the store's words, so a bug or our caller's own.
  if (known === undefined && status === null) return error;
  const headers = $response?.headers ?? {};
  const nowMs = dateMsOf(headers.date) ?? Date.parse("1970-01-01");
  const advice = isSilent
    ? "the credentials have expired, or region is wrong"
    : ADVICE[code];
  const what = `${code}${status === null ? "" : ` (HTTP ${status})`}: ${error.message}`;
  return new StorageError(known ?? (isSilent ? "denied" : faultOfStatus(status!)), {
    operation,
    key,
    detail: advice === undefined ? what : `${what}; ${advice}`,
    retryAfterMs: retryAfterMsOf(headers["retry-after"], nowMs),
    cause: error,
  });
}

/** The multipart upload is over: no part of it can be sent any more, but a new one may. */
export function isUploadGone(error: unknown): boolean {
  const { Code, name } = error as SdkError;
  return (Code ?? name) === "NoSuchUpload";
}

const FINAL: ReadonlySet<StorageFault> = new Set([
  "denied",
  "precondition",
  "corrupt",
  "full",
  "invalid",
]);

/**
 * The service says in its own words that it did not do what was asked, and will not. An error
 * without a code of S3, whatever its status, is perhaps of something in between.
 */
export function isRefusal(error: unknown): boolean {
  const { Code, name } = error as SdkError;
  const fault = FAULT_OF_CODE[Code ?? name];
  return fault !== undefined && FINAL.has(fault);
}

/** The service does not know the header, or the request. */
export function isNotImplemented(error: unknown): boolean {
  const { Code, name } = error as SdkError;
  return (Code ?? name) === "NotImplemented";
}

/**
 * The bucket takes no content without a checksum in a header of its own, as those with a
 * default retention (Object Lock): the SHA-256 that is signed does not count.
 */
export function isMd5Wanted(error: unknown): boolean {
  const { Code, name, message } = error as SdkError;
  const code = Code ?? name;
  return code === "MissingContentMD5" ||
    (code === "InvalidRequest" && /content-md5/i.test(message));
}

/** Whether an answer that is an error carries what S3 and its likes put into each answer. */
export function hasRequestId(error: unknown): boolean {
  return (error as SdkError).$response?.headers?.["x-amz-request-id"] !== undefined;
}

/**
 * The answer to a HEAD has no body, so that the SDK makes this code up from its status; to
 * anything else the store would have said which thing it does not find.
 */
function faultOfCode(
  code: string,
  operation: StorageOperation,
): StorageFault | undefined {
  return code === "NotFound" && operation !== "head" ? undefined : FAULT_OF_CODE[code];
}
