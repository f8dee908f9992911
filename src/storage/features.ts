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

/** The stores of this build, for messages and `version`. */
export function builtInStores(): string[] {
  const isIn: Readonly<Record<string, boolean>> = {
    nfs: typeof P4CACHE_WITH_NFS === "undefined" || P4CACHE_WITH_NFS,
    s3: typeof P4CACHE_WITH_S3 === "undefined" || P4CACHE_WITH_S3,
    azure: typeof P4CACHE_WITH_AZURE === "undefined" || P4CACHE_WITH_AZURE,
    gcs: typeof P4CACHE_WITH_GCS === "undefined" || P4CACHE_WITH_GCS,
  };
  return Object.keys(isIn).filter((type) => isIn[type] === true);
}
