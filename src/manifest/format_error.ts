/**
 * The error of the manifest's codecs. Never leaves src/manifest/: the store turns it into
 * a ManifestError that names the row.
 *
 * @module
 */

/** damaged: not what was written. newer: a version that this build does not know. */
export class FormatError extends Error {
  override readonly name = "FormatError";
  readonly fault: "damaged" | "newer";

  constructor(fault: "damaged" | "newer", message: string) {
    super(message);
    this.fault = fault;
  }
}
