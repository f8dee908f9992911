/**
 * Which stores are in this build.
 *
 * The bundler puts true or false in place of each name, so that the branches of stores
 * that are left out disappear, and their SDKs with them. From source all are in.
 *
 * @module
 */

declare const P4CACHE_WITH_NFS: boolean | undefined;
declare const P4CACHE_WITH_S3: boolean | undefined;
declare const P4CACHE_WITH_AZURE: boolean | undefined;
declare const P4CACHE_WITH_GCS: boolean | undefined;

/** Constants on their own, not fields of an object: the bundler sees through these. */
export const WITH_NFS: boolean = typeof P4CACHE_WITH_NFS === "undefined"
  ? true
  : P4CACHE_WITH_NFS;
export const WITH_S3: boolean = typeof P4CACHE_WITH_S3 === "undefined"
  ? true
  : P4CACHE_WITH_S3;
export const WITH_AZURE: boolean = typeof P4CACHE_WITH_AZURE === "undefined"
  ? true
  : P4CACHE_WITH_AZURE;
export const WITH_GCS: boolean = typeof P4CACHE_WITH_GCS === "undefined"
  ? true
  : P4CACHE_WITH_GCS;

/** For messages: the stores of this build. */
export function builtInStores(): string[] {
  return [
    ...(WITH_NFS ? ["nfs"] : []),
    ...(WITH_S3 ? ["s3"] : []),
    ...(WITH_AZURE ? ["azure"] : []),
    ...(WITH_GCS ? ["gcs"] : []),
  ];
}
