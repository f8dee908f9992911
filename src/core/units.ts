/**
 * Sizes that configuration and logs speak of, in bytes.
 *
 * @module
 */

export const KIB = 1_024;
export const MIB = 1_048_576;
export const GIB = 1_073_741_824;

const SUFFIXES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** For people: three significant digits at most, in binary units: `1.46 TiB`, `0 B`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // 999.5 and not 1,024: what would be printed as `1000 MiB` is `0.98 GiB`.
  while (Math.abs(value) >= 999.5 && unit < SUFFIXES.length - 1) {
    value /= KIB;
    unit++;
  }
  return `${Number(value.toPrecision(3))} ${SUFFIXES[unit]}`;
}
