import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { JournalScanner } from "./journal_scanner.ts";

interface Seen {
  readonly calls: unknown[];
  readonly end: ReturnType<JournalScanner["finish"]>;
}

function scan(
  text: string,
  chunkBytes = 1_000_000,
  wanted = /^db\.(?:rev|depot)$/,
): Seen {
  const calls: unknown[] = [];
  const scanner = new JournalScanner({
    wants: (table) => wanted.test(table),
    row: ({ op, version, table, fields }) => calls.push([op, version, table, ...fields]),
    mark: (kind, timeS) => calls.push([kind, timeS]),
    note: (type, timeS, fields) => calls.push(["nx", type, timeS, ...fields]),
    unknown: (op) => calls.push(["unknown", op]),
    malformed: (offset, why) => calls.push(["malformed", offset, why]),
  });
  const bytes = Uint8Array.from(text, (char) => char.charCodeAt(0));
  // One buffer for all chunks: the scanner must not hold on to it.
  const buffer = new Uint8Array(Math.min(chunkBytes, bytes.length));
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    const part = bytes.subarray(at, at + chunkBytes);
    buffer.set(part);
    scanner.push(buffer.subarray(0, part.length));
    buffer.fill(64);
  }
  return { calls, end: scanner.finish() };
}

const SAMPLE = "@nx@ 0 1600000000 @50@ 9 0 0 0 0 @/p4/root@ @journal@ @@ @@ @@ \n" +
  "@pv@ 0 @db.desc@ 1 @two\nlines with @@ and\n\n@@pv@@ inside@ \n" +
  "@pv@ 9 @db.rev@ @//d/a b@@c@ 1 0 @@ \n" +
  "@rv@ 1 @db.depot@ depot 0 @@ @depot/...@ \r\n" +
  "@dv@ 9 @db.rev@ @//d/x@ 2 \n" +
  "@ex@ 12 1600000001\n" +
  "@mx@ 12 1600000002\n" +
  "@zz@ 1 2\n";

const CALLS = [
  ["nx", 0, 1600000000, "50", "9", "0", "0", "0", "0", "/p4/root", "journal", "", "", ""],
  ["pv", 9, "db.rev", "//d/a b@c", "1", "0", ""],
  ["rv", 1, "db.depot", "depot", "0", "", "depot/..."],
  ["dv", 9, "db.rev", "//d/x", "2"],
  ["ex", 1600000001],
  ["mx", 1600000002],
  ["unknown", "zz"],
];

Deno.test("JournalScanner reads every kind of record, whatever the chunks", () => {
  for (let chunk = 1; chunk < 70; chunk++) {
    const { calls, end } = scan(SAMPLE, chunk);
    deepStrictEqual(calls, CALLS, `chunks of ${chunk}`);
    strictEqual(end.insideRecord, false);
    strictEqual(end.bytes, SAMPLE.length);
    deepStrictEqual(
      [...end.rowsByTable],
      [["db.desc", 1], ["db.rev", 2], ["db.depot", 1]]
        .sort((a, b) =>
          [...end.rowsByTable.keys()].indexOf(String(a[0])) -
          [...end.rowsByTable.keys()].indexOf(String(b[0]))
        ),
    );
  }
});

Deno.test("JournalScanner keeps CRLF inside a value and drops it at the end of a line", () => {
  const { calls } = scan("@pv@ 9 @db.rev@ @a\r\nb@ c\r\n");
  deepStrictEqual(calls, [["pv", 9, "db.rev", "a\r\nb", "c"]]);
});

Deno.test("JournalScanner says that the input stops inside a record, at every byte", () => {
  const record = "@pv@ 9 @db.rev@ @//d/a@ 1 \n";
  for (let cut = 1; cut < record.length; cut++) {
    strictEqual(scan(record.slice(0, cut)).end.insideRecord, true, `cut at ${cut}`);
  }
  strictEqual(scan(record).end.insideRecord, false);
});

Deno.test("JournalScanner notices a lost quote at once and goes on at the next record", () => {
  const { calls } = scan(
    "@pv@ 9 @db.rev@ @//d/a 1 \n@pv@ 9 @db.rev@ @//d/b@ 1 \n@ex@ 1 2\n",
  );
  deepStrictEqual(calls.map((call) => (call as unknown[])[0]), ["malformed", "pv", "ex"]);
});

Deno.test("JournalScanner notices a lost quote in a table that nobody wants", () => {
  const { calls } = scan(
    "@pv@ 0 @db.desc@ 1 @text \n@pv@ 9 @db.rev@ @//d/b@ 1 \n@ex@ 1 2\n",
    7,
  );
  strictEqual((calls[0] as unknown[])[0], "malformed");
});

Deno.test("JournalScanner does not hold a record of a table that nobody wants", () => {
  const scanner = new JournalScanner({
    wants: () => false,
    row: () => {},
    mark: () => {},
    note: () => {},
    unknown: () => {},
    malformed: () => {},
  });
  const start = new TextEncoder().encode("@pv@ 0 @db.desc@ 1 @");
  scanner.push(start);
  const chunk = new Uint8Array(1 << 20).fill(120);
  for (let i = 0; i < 40; i++) scanner.push(chunk);
  scanner.push(new TextEncoder().encode("@ \n"));
  deepStrictEqual(scanner.finish(), {
    bytes: start.length + 40 * chunk.length + 3,
    rowsByTable: new Map([["db.desc", 1]]),
    insideRecord: false,
  });
});

Deno.test("JournalScanner refuses a wanted record without an end", () => {
  const { calls } = scan("@pv@ 9 @db.rev@ @" + "x".repeat(3 << 20), 1 << 16);
  deepStrictEqual(calls, [["malformed", 0, "a record is longer than 256 KiB"]]);
});

Deno.test("JournalScanner calls text that is no journal malformed", () => {
  const { calls } = scan("hello\nworld\n");
  strictEqual((calls[0] as unknown[])[0], "malformed");
});
