/**
 * What this build is. The bundler puts the facts in; a source tree has none of them.
 *
 * @module
 */

declare const P4CACHE_BUILD: BuildInfo | undefined;

export interface BuildInfo {
  readonly version: string;
  readonly commit: string;
  /** Of the executable: a release is `official` (docs/build.md). */
  readonly base: string;
  readonly features: readonly string[];
}

export const BUILD: BuildInfo = typeof P4CACHE_BUILD === "undefined"
  ? {
    version: "0.0.0",
    commit: "source",
    base: "none",
    features: ["nfs", "s3", "azure", "gcs"],
  }
  : P4CACHE_BUILD;

/** The lines of `p4-cache version`. */
export function describeBuild(build: BuildInfo): string[] {
  return [
    `p4-cache ${build.version} (${build.commit})`,
    `stores: ${build.features.join(" ")}`,
    `runtime: Deno ${Deno.version.deno}, ${
      Deno.build.standalone ? `compiled on the ${build.base} base` : "not compiled"
    }`,
    "licence: development build (allows everything, not for production)",
  ];
}
