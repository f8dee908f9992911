/**
 * Finds where an archive stands: on disk, in the manifest, or under a name in another case.
 *
 * @module
 */

import { depotPathOrNull, displayPath } from "../core/names.ts";
import type { LocalEntry, LocalFiles, ManifestRow, ManifestView } from "./sources.ts";

/** Where an archive was found, and as what. */
export type Place =
  | { readonly kind: "file" | "evicted" | "odd"; path: string; entry: LocalEntry }
  | { readonly kind: "unmarked"; path: string } //  a row, and nothing on disk
  | { readonly kind: "absent" };

/** Names in another case that are looked for in a whole run: each reads directories. */
const HINTS_MAX = 1_000;

export class ArchiveFinder {
  readonly #files: LocalFiles;
  readonly #manifest: ManifestView | null;
  #hints = 0;

  constructor(files: LocalFiles, manifest: ManifestView | null) {
    this.#files = files;
    this.#manifest = manifest;
  }

  /** The first name at which there is a file or a marker, else a row, else anything. */
  locate(names: readonly string[]): Place {
    let odd: Place | null = null;
    for (const path of names) {
      const entry = this.#files.lstat(path);
      if (entry === null) continue;
      if (entry.kind === "file" || entry.kind === "evicted") {
        return { kind: entry.kind, path, entry };
      }
      odd ??= { kind: "odd", path, entry };
    }
    if (odd !== null) return odd;
    for (const path of names) {
      if (this.rowOf(path) !== null) return { kind: "unmarked", path };
    }
    return { kind: "absent" };
  }

  rowOf(path: string): ManifestRow | null {
    if (this.#manifest === null) return null;
    const name = depotPathOrNull(path);
    return name === null ? null : this.#manifest.get(name);
  }

  /** Says so where the name exists in another case: the commonest way to lose files in a copy. */
  hintOf(names: readonly string[]): string {
    if (++this.#hints > HINTS_MAX) return "";
    for (const name of names) {
      const other = this.#ignoringCase(name);
      if (other !== null) {
        return `; "${displayPath(other)}" is there, in another case`;
      }
    }
    return "";
  }

  #ignoringCase(path: string): string | null {
    const absolute = path.startsWith("/");
    let found = "";
    for (const segment of path.split("/").filter((part) => part !== "")) {
      const at = (name: string): string =>
        found === "" && !absolute ? name : `${found}/${name}`;
      if (this.#files.lstat(at(segment)) !== null) {
        found = at(segment);
        continue;
      }
      const lower = segment.toLowerCase();
      const match = this.#files.readDirectory(
        found === "" && absolute ? "/" : found,
      )
        ?.find((entry) => entry.name.toLowerCase() === lower);
      if (match === undefined) return null;
      found = at(match.name);
    }
    return found === path ? null : found;
  }
}
