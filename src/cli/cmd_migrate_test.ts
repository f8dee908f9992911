import { deepStrictEqual } from "node:assert/strict";
import { reportLines } from "./cmd_migrate.ts";

Deno.test("reportLines() says what was copied, what is left, and what is other instances'", () => {
  const none = {
    presentObjects: 0,
    copiedObjects: 0,
    copiedBytes: 0,
    missingObjects: 0,
    differingObjects: 0,
    archivedObjects: 0,
    failedObjects: 0,
    borrowedObjects: 0,
  };
  const copied = { presentObjects: 2, copiedObjects: 1, copiedBytes: 4 };
  deepStrictEqual(reportLines({ ...none, ...copied, borrowedObjects: 3 }, false), [
    "copied 1 object, 4 B; the primary had 2",
    "not copied: 3 objects of other instances (read_prefixes)",
  ]);
  deepStrictEqual(reportLines({ ...none, missingObjects: 1, archivedObjects: 2 }, true), [
    "would copy 0 objects, 0 B; the primary had 0",
    "left 1 object: in neither store",
    "left 2 objects: archived in the secondary store",
  ]);
});
