/**
 * Documents that are generated stand in the repository and are compared here.
 *
 * @module
 */

import { strictEqual } from "node:assert/strict";

/**
 * Compares `docs/<name>` with what it is to be. `UPDATE_DOCS=1` writes it instead.
 */
export function checkDocument(name: string, wanted: string): void {
  const url = new URL(`../../docs/${name}`, import.meta.url);
  if (Deno.env.get("UPDATE_DOCS") === "1") Deno.writeTextFileSync(url, wanted);
  const hint = `docs/${name} is not what its table says; UPDATE_DOCS=1 writes it`;
  strictEqual(Deno.readTextFileSync(url), wanted, hint);
}
