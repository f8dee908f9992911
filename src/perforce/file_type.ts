/**
 * The 32-bit type of a revision or archive: how its content is stored, and which keywords
 * are expanded in it. Pure.
 *
 *     0x0000000f  storage: see STORAGE
 *     0x00000010  +ko: Id and Header        0x00000020  the other keywords as well (+k)
 *     0x00000040  +l       0x00000080  +S   0x00000f00  how many revisions +S keeps
 *     0x000f0000 and 0x01000000  what the client sees: text, binary, symlink, unicode ...
 *
 * Where an archive lies follows from `lbrType`, never from `type`: a text file over 10 MB, or
 * shelved, or on a server with `lbr.autocompress`, is of type text and stored compressed.
 *
 * @module
 */

/** How the content of a revision is stored. */
export type ArchiveForm =
  | "rcs" //         <file>,v, all revisions in one file
  | "plain" //       <file>,d/<rev>
  | "gzip" //        <file>,d/<rev>.gz
  | "tiny" //        in tiny.db, no file of its own
  | "temporary" //   of old servers: head revision only, in ,d with or without .gz
  | "external"; //   behind an archive trigger (+X): no file is promised

const STORAGE: readonly (ArchiveForm | null)[] = [
  "rcs", //        0
  "plain", //      1
  "tiny", //       2
  "gzip", //       3
  "temporary", //  4
  "plain", //      5  old one-revision form
  "temporary", //  6
  "plain", //      7  "binary access"
  "external", //   8
  null,
  null,
  null,
  null,
  null,
  null,
  null,
];

/** The form that `lbrType` says; null for one that no known server writes. */
export function archiveForm(lbrType: number): ArchiveForm | null {
  return STORAGE[lbrType & 0xf] ?? null;
}

/** Which keywords the server expands: none, Id and Header only, or all. */
export function keywordMode(type: number): "none" | "ko" | "k" {
  if ((type & 0x20) !== 0) return "k";
  return (type & 0x10) !== 0 ? "ko" : "none";
}

/** How many of the newest revisions keep their content (+S, +Sn); null for all. */
export function revisionsKept(type: number): number | null {
  if ((type & 0x80) === 0) return null;
  const code = (type >> 8) & 0xf;
  return code <= 9 ? code + 1 : 16 << (code - 10);
}

const CLIENT_TYPES: Readonly<Record<number, string>> = {
  0x0000000: "text",
  0x0010000: "binary",
  0x0040000: "symlink",
  0x0050000: "resource",
  0x0080000: "unicode",
  0x0090000: "rawtext",
  0x00c0000: "apple",
  0x00d0000: "apple",
  0x1040000: "utf8",
  0x1080000: "utf16",
};

/** As `p4 files` writes it, near enough for people: `text+ko`, `binary+l`. */
export function describeType(type: number): string {
  const executable = (type & 0x20000) !== 0;
  const base = CLIENT_TYPES[type & 0x10d0000 & ~0x20000] ??
    `0x${(type >>> 0).toString(16)}`;
  const kept = revisionsKept(type);
  const modifiers = [
    (type & 0x100000) !== 0 ? "w" : "",
    (type & 0x200000) !== 0 ? "m" : "",
    executable ? "x" : "",
    { none: "", ko: "ko", k: "k" }[keywordMode(type)],
    (type & 0x40) !== 0 ? "l" : "",
    kept === null ? "" : kept === 1 ? "S" : `S${kept}`,
    (type & 0xf) === 8 ? "X" : "",
  ].join("");
  return modifiers === "" ? base : `${base}+${modifiers}`;
}
