/**
 * From the answers of Google's JSON API to faults. The one place that reads its reasons.
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

/** An answer that is not what was asked for. */
export class GcsAnswerError extends Error {
  override readonly name = "GcsAnswerError";
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly reason: string;

  constructor(
    status: number,
    headers: Readonly<Record<string, string>>,
    text: string,
  ) {
    const { reason, message } = parsedError(text);
    super(message);
    this.status = status;
    this.headers = headers;
    this.reason = reason;
  }
}

/** No token could be had: the credentials are wrong, or who gives tokens is away. */
export class GcsAuthError extends Error {
  override readonly name = "GcsAuthError";
  readonly fault: "denied" | "unavailable";

  constructor(fault: GcsAuthError["fault"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.fault = fault;
  }
}

const FAULT_OF_REASON: Readonly<Record<string, StorageFault>> = {
  authError: "denied",
  forbidden: "denied",
  required: "denied",
  insufficientPermissions: "denied",
  accountDisabled: "denied",
  userProjectMissing: "invalid",
  userProjectInvalid: "invalid",
  notFound: "not-found",
  conditionNotMet: "precondition",
  // Google says 403 and not 429 to who is too fast.
  rateLimitExceeded: "throttled",
  userRateLimitExceeded: "throttled",
  quotaExceeded: "throttled",
  backendError: "unavailable",
  internalError: "unavailable",
  uploadBrokenConnection: "unavailable",
  requestedRangeNotSatisfiable: "corrupt",
  retentionPolicyNotMet: "denied",
  objectUnderActiveHold: "denied",
};

/**
 * Whether a session takes nothing more: it expired, was cancelled, or the service did not
 * make an object of what it got.
 */
export function isSessionGone(error: unknown): boolean {
  return error instanceof GcsAnswerError && [400, 404, 410, 499].includes(error.status);
}

/** The StorageError of what a request threw; an abort's reason comes back as it is. */
export function gcsError(
  operation: StorageOperation,
  key: string,
  error: unknown,
  signal: AbortSignal | undefined,
): unknown {
  if (signal?.aborted === true) return signal.reason;
  const transport = transportStorageError(error, operation, key);
  if (transport !== null) return transport;
  if (error instanceof GcsAuthError) {
    const detail = `no access token: ${error.message}`;
    return new StorageError(error.fault, { operation, key, detail, cause: error });
  }
  if (!(error instanceof GcsAnswerError)) return error;
  const { status, reason, headers, message } = error;
  const nowMs = Date.parse(headers.date ?? "1970-01-01");
  return new StorageError(faultOf(error), {
    operation,
    key,
    detail: `${reason} (HTTP ${status}): ${message}`,
    retryAfterMs: retryAfterMsOf(headers["retry-after"], nowMs),
    cause: error,
  });
}

function faultOf({ status, reason, message }: GcsAnswerError): StorageFault {
  // "The specified bucket does not exist.": a wrong setting, never an absent object.
  if (status === 404 && /bucket does not exist/i.test(message)) return "invalid";
  // A media answer's errors are plain text.
  if (status === 404 && message.startsWith("No such object")) return "not-found";
  if (status === 400 && /hash|crc32c|md5/i.test(message)) return "corrupt";
  // The session of a resumable upload is over; a new one may succeed.
  if (status === 410 || status === 499) return "unavailable";
  if (status === 416) return "corrupt";
  return FAULT_OF_REASON[reason] ?? faultOfStatus(status);
}

function parsedError(text: string): { reason: string; message: string } {
  try {
    const { error } = JSON.parse(text);
    const reason = error?.errors?.[0]?.reason ?? error?.status ?? "error";
    return { reason: String(reason), message: String(error?.message ?? text) };
  } catch {
    // A media answer's errors are plain text.
    return { reason: "error", message: text.slice(0, 300) };
  }
}
