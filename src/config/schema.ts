/**
 * JSON Schema from a table of keys. Pure.
 *
 * @module
 */

import type { KeyTable } from "./key_spec.ts";
import type { JsonSchema } from "./value_kinds.ts";

/** JSON Schema of an object with these keys and no others. */
export function schemaOfTable(table: KeyTable): JsonSchema {
  const properties: Record<string, JsonSchema> = {};
  for (const [key, spec] of Object.entries(table)) {
    const description = { description: spec.help };
    properties[key] = { ...spec.kind.schema, ...description };
    if (spec.alias) properties[spec.alias] = { ...spec.kind.schema, deprecated: true };
    if (spec.gigabytes) {
      properties[spec.gigabytes] = { type: "number", minimum: 0, ...description };
    }
  }
  const required = Object.keys(table).filter((key) => table[key]!.default === undefined);
  return { type: "object", properties, required, additionalProperties: false };
}
