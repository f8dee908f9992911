import { equal } from "node:assert/strict";
import { posixTest } from "./posix_fixture.ts";

/** In the word before a block of glibc's: it is a mapping of its own. */
const IS_MAPPED = 2n;

const LIBC = {
  malloc: { parameters: ["usize"], result: "pointer" },
  free: { parameters: ["pointer"], result: "void" },
} as const;

posixTest(
  "boundMemory() gives large buffers mappings of their own, whatever was freed",
  (posix) => {
    const libc = Deno.dlopen("libc.so.6", LIBC);
    const isMapped = (bytes: number): boolean => {
      const block = libc.symbols.malloc(BigInt(bytes))!;
      const before = Deno.UnsafePointer.offset(block, -8)!;
      const size = new Deno.UnsafePointerView(before).getBigUint64();
      libc.symbols.free(block);
      return (size & IS_MAPPED) !== 0n;
    };
    posix.boundMemory();
    // No heap has room for these that was freed before.
    equal(isMapped(25_165_824), true);
    equal(isMapped(20_971_520), true, "glibc has raised its bound");
    libc.close();
  },
);
