import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { parseDepotPath } from "../../src/core/names.ts";
import { decodeRow, encodeRow, versionOf } from "../../src/manifest/file_entry_codec.ts";
import { TABLES } from "../../src/manifest/key_value.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import { summarizeManifest } from "../../src/manifest/summary.ts";
import { decodeTombstone, encodeTombstone } from "../../src/manifest/tombstone_codec.ts";

import { makeSample } from "./sample_manifest.ts";

const PATH = parseDepotPath("depot/a,v");
const text = await Deno.readTextFile(new URL("../../docs/formats.md", import.meta.url));

/** The bytes of each hex dump: lines of an offset and bytes; offset 0 begins one. */
function dumpsOf(markdown: string): Uint8Array[] {
  const dumps: string[] = [];
  for (const [, offset, bytes] of markdown.matchAll(/^ {4}([0-9a-f]{4}) {2}(.*)$/gm)) {
    const hex = bytes!.replaceAll(" ", "");
    if (Number(`0x${offset}`) === 0) dumps.push(hex);
    else dumps.push(dumps.pop()! + hex);
  }
  return dumps.map((hex) => Uint8Array.fromHex(hex));
}

Deno.test("the examples of docs/formats.md are what the codecs read and write", () => {
  const dumps = dumpsOf(text);
  const rows = dumps.slice(0, 5);
  const versions = rows.map((bytes) => versionOf(bytes, "any"));
  deepStrictEqual(versions, ["pre-magic", "v0", "v1", "v2", "v2"]);
  for (const bytes of rows.slice(1)) {
    const row = decodeRow(PATH, bytes, "any");
    deepStrictEqual(encodeRow(PATH, row), bytes);
  }
  deepStrictEqual(decodeRow(PATH, rows[0]!, "any"), decodeRow(PATH, rows[1]!, "any"));
  const tombstone = decodeTombstone(PATH, dumps[5]!);
  deepStrictEqual(encodeTombstone(tombstone), dumps[5]);
  strictEqual(dumps.length, 6);
});

Deno.test("docs/formats.md names every table", () => {
  for (const table of TABLES) {
    strictEqual(text.includes(`| \`${table}\` |`), true, table);
  }
});

/** The names of all fields, at every depth. */
function fieldsOf(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(fieldsOf);
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => [name, ...fieldsOf(inner)]);
}

Deno.test("docs/formats.md names every field of manifest-summary --json", async () => {
  const directory = await Deno.makeTempDir({ prefix: "p4-cache-summary-" });
  try {
    await makeSample(`${directory}/m`, 200);
    const manifest = await openManifest({ directory: `${directory}/m`, readOnly: true });
    const options = { nowMs: 99_000_000, top: 5, depth: 1 };
    const summary = await summarizeManifest(manifest, options);
    await manifest.close();
    const [section] = text.split("## manifest-summary --json")[1]!.split("\n## ");
    const missing = fieldsOf(summary)
      .filter((name) => !new RegExp("`[^`]*\\b" + name + "\\b[^`]*`").test(section!));
    deepStrictEqual([...new Set(missing)], []);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
