/**
 * What each kind of store needs to be opened: the configuration's keys, in our spelling.
 *
 * Types only, so that an nfs build can name a cloud store in its configuration and be told
 * that it is not built in.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import type { Posix } from "../posix/posix.ts";
import type { RetryTools } from "./retrying_backend.ts";

export interface NfsOptions {
  readonly type: "nfs";
  /** `path`: absolute directory, which must exist. */
  readonly path: string;
  readonly pathPrefix?: string;
  /** See NfsBackendOptions.initialize. */
  readonly initialize?: boolean;
}

/** Keys that all cloud stores share. */
export interface CloudOptions {
  /** URL of a service of your own or a private endpoint; null for the vendor's. */
  readonly endpoint?: string | null;
  /** Must be true with an endpoint: no request goes to another host. */
  readonly endpointPin?: boolean;
  /** Put before each key, with a slash between; "" for none. */
  readonly pathPrefix?: string;
  /** PEM file of further certificate authorities. */
  readonly caCertPath?: string | null;
  /** There only to refuse false, with the reason. */
  readonly verifySsl?: boolean;
  /** Objects from this size on are fetched in ranges; 0: never. Default 64. */
  readonly restoreChunkThresholdMb?: number;
  /** Ranges in flight for one object. Default 4. */
  readonly restoreChunkThreads?: number;
  /** Objects over this size are sent in parts of it. Default 8. */
  readonly uploadPartMb?: number;
  /** Parts in flight for one object. Default 4. */
  readonly uploadPartThreads?: number;
  /** Longest time without any progress, in seconds. Default 60. */
  readonly stallSecs?: number;
}

export interface S3Options extends CloudOptions {
  readonly type: "s3";
  readonly bucket: string;
  /** Default: the SDK's (AWS_REGION, profile); `us-east-1` with an endpoint. */
  readonly region?: string | null;
  /** Null for both keys: the SDK's default chain. */
  readonly accessKey?: string | null;
  readonly secretKey?: string | null;
  readonly sessionToken?: string | null;
  /** `endpoint/bucket/key` instead of `bucket.endpoint/key`. Default: with an endpoint. */
  readonly forcePathStyle?: boolean;
  /** SSE-S3 (AES256); with `kmsKeyId` SSE-KMS. */
  readonly serverSideEncryption?: boolean;
  readonly kmsKeyId?: string | null;
  readonly storageClass?: string | null;
}

export interface AzureOptions extends CloudOptions {
  readonly type: "azure";
  readonly container: string;
  readonly accountName: string;
  /** One of the two, or neither for the SDK's default chain. */
  readonly accountKey?: string | null;
  readonly sasToken?: string | null;
  /** Access tier: Hot, Cool, Cold. Null for the account's. */
  readonly storageClass?: string | null;
}

export interface GcsOptions extends CloudOptions {
  readonly type: "gcs";
  readonly bucket: string;
  /** Project that pays for the requests. */
  readonly projectId?: string | null;
  /** Service account key; null for Application Default Credentials. */
  readonly credentialsFile?: string | null;
  readonly storageClass?: string | null;
}

export type BackendOptions = NfsOptions | S3Options | AzureOptions | GcsOptions;

/** What a backend is given besides its options. */
export interface BackendTools {
  readonly clock: Clock;
  /** For stores that are directories. */
  readonly posix: Pick<Posix, "readFile">;
  /**
   * For the pages of a listing and the parts of an upload; everything else is retried by
   * `withRetry`.
   */
  readonly retry: RetryTools;
  /** Metadata that every object of a cloud store gets; the licence's watermark. */
  readonly watermark: Readonly<Record<string, string>>;
  /** Added to the user agent; "" for nothing. */
  readonly userAgent: string;
  /** Told what an operator should know, such as credentials that end soon. */
  readonly onWarning: (message: string) => void;
  /**
   * Told at the opening when the credentials end, in milliseconds since the epoch; null if
   * they do not say, or renew themselves.
   */
  readonly onExpiry?: (endMs: number | null) => void;
}
