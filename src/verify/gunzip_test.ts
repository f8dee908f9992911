import { rejects, strictEqual } from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { gunzip, GzipError } from "./gunzip.ts";

async function* inChunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) {
    await Promise.resolve();
    yield bytes.slice(at, at + size);
  }
}

async function text(bytes: Uint8Array, size = 7): Promise<string> {
  let out = "";
  for await (const chunk of gunzip(inChunks(bytes, size))) {
    out += new TextDecoder("latin1").decode(chunk);
  }
  return out;
}

const A = gzipSync("hello ");
const B = gzipSync("world");

Deno.test("gunzip() reads one member, several, and zeros behind the last", async () => {
  strictEqual(await text(A), "hello ");
  strictEqual(await text(new Uint8Array([...A, ...B])), "hello world");
  strictEqual(await text(new Uint8Array([...A, 0, 0, 0])), "hello ");
  strictEqual(await text(gzipSync("")), "");
});

Deno.test("gunzip() refuses every truncation", async () => {
  const two = new Uint8Array([...A, ...B]);
  for (let length = 0; length < two.length; length++) {
    if (length === A.length) continue; // exactly one whole member
    await rejects(text(two.subarray(0, length)), GzipError, `${length} bytes`);
  }
});

Deno.test("gunzip() refuses a wrong checksum, and bytes that belong to no member", async () => {
  for (const at of [A.length - 6, A.length - 2]) {
    const damaged = new Uint8Array(A);
    damaged[at]! ^= 1;
    await rejects(text(damaged), GzipError);
  }
  await rejects(text(new Uint8Array([...A, 1, 2, 3, 4])), GzipError);
  await rejects(
    text(new TextEncoder().encode("plain text that is long enough")),
    GzipError,
  );
});

Deno.test("gunzip() passes on the error of its source", async () => {
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield A.slice(0, 10);
    await Promise.resolve();
    throw new RangeError("the disk");
  }
  await rejects(async () => {
    for await (const _ of gunzip(failing())) continue;
  }, RangeError);
});

Deno.test("gunzip() closes its source when the reader stops early", async () => {
  let isClosed = false;
  async function* endless(): AsyncGenerator<Uint8Array> {
    try {
      const big = gzipSync("x".repeat(1 << 20), { level: 0 });
      for (let at = 0; at < big.length; at += 4_096) {
        await Promise.resolve();
        yield big.slice(at, at + 4_096);
      }
    } finally {
      isClosed = true;
    }
  }
  for await (const _ of gunzip(endless())) break;
  strictEqual(isClosed, true);
});
