import { equal } from "node:assert/strict";
import { posixTest } from "./posix_fixture.ts";

/** In the word before a block of glibc's: it is a mapping of its own. */
const IS_MAPPED = 2n;

/** Of memory that nothing touches. */
const BLOCKS_MAX = 64;

const LIBC = {
  malloc: { parameters: ["usize"], result: "pointer" },
  free: { parameters: ["pointer"], result: "void" },
} as const;

posixTest(
  "boundMemory() gives large buffers mappings of their own, whatever was freed",
  (posix) => {
    const libc = Deno.dlopen("libc.so.6", LIBC);
    const held: Deno.PointerObject[] = [];
    /** What has room in a heap, freed by whatever ran before, is taken from there. */
    const isMappedAtLast = (bytes: number): boolean => {
      for (let i = 0; i < BLOCKS_MAX; i++) {
        const block = libc.symbols.malloc(BigInt(bytes))!;
        const before = Deno.UnsafePointer.offset(block, -8)!;
        const size = new Deno.UnsafePointerView(before).getBigUint64();
        if ((size & IS_MAPPED) !== 0n) {
          // Without a bound of ours, this would raise glibc's.
          libc.symbols.free(block);
          return true;
        }
        held.push(block);
      }
      return false;
    };
    posix.boundMemory();
    equal(isMappedAtLast(25_165_824), true);
    equal(isMappedAtLast(20_971_520), true, "glibc has raised its bound");
    for (const block of held) libc.symbols.free(block);
    libc.close();
  },
);
