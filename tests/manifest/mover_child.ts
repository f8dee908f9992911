/**
 * Renames in a manifest at the test's word: each line of its input is
 * `{"kind":"move"|"moveTree","from":...,"to":...}`; a line comes back for each once it is durable.
 * Ends with its input.
 *
 *     mover_child.ts <manifest directory>
 *
 * @module
 */

import { parseDepotPath } from "../../src/core/names.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import { LineSplitter } from "../../src/wire/json_lines.ts";

export interface Rename {
  readonly kind: "move" | "moveTree";
  readonly from: string;
  readonly to: string;
}

if (import.meta.main) {
  const manifest = await openManifest({ directory: Deno.args[0]! });
  const splitter = new LineSplitter();
  for await (const chunk of Deno.stdin.readable) {
    for (const line of splitter.push(chunk)) {
      const { kind, from, to }: Rename = JSON.parse(line);
      await manifest[kind](parseDepotPath(from), parseDepotPath(to), 1);
      Deno.stdout.writeSync(new TextEncoder().encode("done\n"));
    }
  }
  await manifest.close();
}
