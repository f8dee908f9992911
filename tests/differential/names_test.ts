// deno-lint-ignore-file no-console -- the seed is printed
/**
 * Which names are managed is decided twice: by isManaged() in the daemon, by p4shim_is_managed() in
 * `p4d`. Where they differ, what one evicts the other does not bring back.
 */

import fc from "fast-check";
import { strictEqual } from "node:assert/strict";
import { bytesOf, depotPathOrNull, isManaged } from "../../src/core/names.ts";

const NAMES_C = new URL("../../shim/names.c", import.meta.url).pathname;

const SYMBOLS = {
  p4shim_is_managed: { parameters: ["buffer", "usize", "u8"], result: "u8" },
  p4shim_may_be_managed: { parameters: ["buffer", "u8"], result: "u8" },
} as const;

async function buildNames(directory: string): Promise<string> {
  const library = `${directory}/names.so`;
  const { code, stderr } = await new Deno.Command(Deno.env.get("CC") ?? "gcc", {
    args: ["-std=gnu11", "-O2", "-fPIC", "-shared", "-o", library, NAMES_C],
  }).output();
  strictEqual(code, 0, new TextDecoder().decode(stderr));
  return library;
}

/** Whatever the rule knows, before, between and behind letters. */
const PART = fc.constantFrom(
  ...["db.", "tmp.", "journal", "journal.", "checkpoint.", "server.locks", ".p4cache"],
  ...[
    ".jnl",
    ".jnl.",
    ".ckp",
    ".ckp.",
    ".lck",
    ",v",
    ",d",
    ",",
    "v",
    "d",
    ".",
    "1.2",
    ".gz",
  ],
  ...["a", " ", "\n", "\xe9", ".p4cache-bad"],
);
const SEGMENT = fc.array(PART, { maxLength: 4 }).map((parts) => parts.join(""))
  .filter((text) => text !== "." && text !== "..");
const PATH = fc.oneof(
  fc.array(SEGMENT, { minLength: 1, maxLength: 4 }).map((segments) => segments.join("/")),
  fc.tuple(SEGMENT, fc.integer({ min: 3_880, max: 3_905 }))
    .map(([end, bytes]) => end.padStart(bytes, "x")),
);

Deno.test("the daemon and the shim agree on which names are managed", async () => {
  const directory = await Deno.makeTempDir({ prefix: "p4cache-names-" });
  const names = Deno.dlopen(await buildNames(directory), SYMBOLS);
  const seed = Number(Deno.env.get("SEED") ?? Date.now() % 2 ** 31);
  console.log(`seed ${seed}`);
  const met = [0, 0];
  try {
    fc.assert(
      fc.property(PATH, fc.boolean(), (text, all) => {
        const path = depotPathOrNull(text);
        const wanted = path !== null && isManaged(path, all ? "all" : "archives");
        const bytes = bytesOf(`${text}\0`);
        const asked = names.symbols.p4shim_is_managed(
          bytes,
          BigInt(text.length),
          all ? 1 : 0,
        );
        strictEqual(asked !== 0, wanted, JSON.stringify(text));
        met[asked]!++;
        // The cheap question, which is asked of the end of a path first, never says no to one.
        if (wanted) {
          const may = names.symbols.p4shim_may_be_managed(
            bytesOf(`/x/${text}\0`),
            all ? 1 : 0,
          );
          strictEqual(may !== 0, true, JSON.stringify(text));
        }
      }),
      { seed, numRuns: 50_000 },
    );
    // Neither answer is rare, or the names are not random enough.
    strictEqual(Math.min(...met) > 5_000, true, `${met}`);
  } finally {
    names.close();
    await Deno.remove(directory, { recursive: true });
  }
});
