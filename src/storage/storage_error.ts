/**
 * The one error type that leaves src/storage/.
 *
 * Vendors have hundreds of error codes. The engine needs to know two things: can waiting
 * help, and what should the operator do. Each vendor folder maps its codes to a fault
 * once, next to the call; nobody above it reads a vendor code.
 *
 * @module
 */

/** What went wrong, in our words. */
export type StorageFault =
  | "not-found" //    no such object; the bucket or container that should hold it exists
  | "denied" //       credentials are valid but not allowed, or are not valid
  | "precondition" // the object exists already, or is not the one that was asked for
  | "corrupt" //      checksum or length mismatch, in either direction
  | "full" //         quota or disk space exhausted, at the store or at the local target
  | "throttled" //    the store asks us to slow down
  | "unavailable" //  timeout, connection loss, or a 5xx answer
  | "archived" //     the object is in an archive class and must be retrieved first
  | "invalid"; //     the store refuses the request as such: a key, a size, a setting, a bucket

/**
 * Whether the same request may succeed by itself. `corrupt` is transient because a torn
 * transfer is far more common than a damaged object, and a second read tells them apart.
 */
const IS_TRANSIENT: Readonly<Record<StorageFault, boolean>> = {
  "not-found": false,
  "denied": false,
  "precondition": false,
  "corrupt": true,
  "full": false,
  "throttled": true,
  "unavailable": true,
  "archived": false,
  "invalid": false,
};

export type StorageOperation =
  | "upload"
  | "download"
  | "head"
  | "delete"
  | "list"
  | "retrieve";

export interface StorageErrorOptions {
  readonly operation: StorageOperation;
  readonly key: string;
  /** What is, and what is wanted, in plain words without a final period. No secrets. */
  readonly detail: string;
  /** How long the store asked us to wait, in milliseconds. */
  readonly retryAfterMs?: number | null;
  /** The same request cannot succeed, whatever its fault usually means. Default false. */
  readonly isPermanent?: boolean;
  readonly cause?: unknown;
}

/** A request to the store failed. */
export class StorageError extends Error {
  override readonly name = "StorageError";
  readonly fault: StorageFault;
  readonly operation: StorageOperation;
  readonly key: string;
  readonly retryAfterMs: number | null;
  readonly #detail: string;
  readonly #isPermanent: boolean;

  constructor(fault: StorageFault, options: StorageErrorOptions) {
    super(`Cannot ${options.operation} "${options.key}": ${options.detail}`, {
      cause: options.cause,
    });
    this.fault = fault;
    this.operation = options.operation;
    this.key = options.key;
    this.retryAfterMs = options.retryAfterMs ?? null;
    this.#detail = options.detail;
    this.#isPermanent = options.isPermanent ?? false;
  }

  /** True if the same request may succeed later without anybody's help. */
  get isTransient(): boolean {
    return IS_TRANSIENT[this.fault] && !this.#isPermanent;
  }

  /** The same, of something that has been tried as often as it is worth. */
  givenUp(): StorageError {
    const { fault, operation, key, retryAfterMs } = this;
    const detail = this.#detail;
    const more = { retryAfterMs, isPermanent: true, cause: this };
    return new StorageError(fault, { operation, key, detail, ...more });
  }
}
