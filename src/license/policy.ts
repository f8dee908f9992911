/**
 * What the licence allows. The daemon asks it before uploads and for the watermark;
 * restores, verification and rehydration never ask.
 *
 * @module
 */

export type LicenseAnswer =
  | { readonly allowed: true }
  /** `why` is for the operator: what is, and what is wanted. */
  | { readonly allowed: false; readonly why: string };

export interface LicensePolicy {
  /** One line for the log at start-up: for whom, until when. */
  banner(): string;
  /** Whether an upload may begin while `managedBytes` are under management. */
  mayUpload(managedBytes: number): LicenseAnswer;
  /** Managed bytes from which on it warns, and refuses uploads; Infinity for no ceiling. */
  readonly softCeilingBytes: number;
  readonly hardCeilingBytes: number;
  /** Metadata for every object of a cloud store; empty for none. */
  readonly watermark: Readonly<Record<string, string>>;
}

/** The development licence: for a build without vendor keys. Allows all, marks nothing. */
export function developmentLicense(): LicensePolicy {
  return {
    banner: () => "Development licence: no ceiling, no watermark, not for production",
    mayUpload: () => ({ allowed: true }),
    softCeilingBytes: Infinity,
    hardCeilingBytes: Infinity,
    watermark: {},
  };
}
