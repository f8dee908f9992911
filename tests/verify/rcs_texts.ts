/**
 * Random texts that are hard for a line-based format: no final newline, `@`, CRLF, empty,
 * binary, long lines, many equal lines.
 *
 * @module
 */

import type { Random } from "./random.ts";

export type Lines = Uint8Array[];

const encoder = new TextEncoder();

function randomLine(random: Random, isBinary: boolean): Uint8Array {
  if (isBinary) {
    const bytes = random.bytes(random.int(60));
    return Uint8Array.from([...bytes.map((byte) => byte === 10 ? 11 : byte), 10]);
  }
  const words = [
    "alpha",
    "@",
    "@@",
    "d1 1",
    "a2 3",
    "",
    "beta $Id$",
    ";",
    "%5",
    "\t",
    "é",
  ];
  const count = random.int(5);
  const text = Array.from({ length: count }, () => random.pick(words)).join(" ");
  return encoder.encode(text + (random.chance(4) ? "\r\n" : "\n"));
}

export function randomText(random: Random): Lines {
  const isBinary = random.chance(4);
  if (random.chance(10)) return [];
  const lines = Array.from(
    { length: 1 + random.int(random.chance(10) ? 400 : 25) },
    () => randomLine(random, isBinary),
  );
  return maybeCutEnd(random, lines);
}

/** Another text, a few edits away; sometimes quite another. */
export function editedText(random: Random, lines: Lines): Lines {
  if (random.chance(12)) return randomText(random);
  const edited = lines.map((line) => line);
  for (let edits = 1 + random.int(5); edits > 0; edits--) {
    const at = random.int(edited.length + 1);
    if (random.chance(2)) {
      edited.splice(at, random.int(4));
    } else {
      const added = Array.from(
        { length: 1 + random.int(4) },
        () => randomLine(random, false),
      );
      edited.splice(at, 0, ...added);
    }
  }
  return maybeCutEnd(random, wholeLines(edited));
}

function wholeLines(lines: Lines): Lines {
  return lines.filter((line) => line.length > 0).map((line) =>
    line.at(-1) === 10 ? line : Uint8Array.from([...line, 10])
  );
}

function maybeCutEnd(random: Random, lines: Lines): Lines {
  const last = lines.at(-1);
  if (last === undefined || !random.chance(3) || last.length < 2) return lines;
  return [...lines.slice(0, -1), last.subarray(0, -1)];
}

export function joined(lines: Lines): Uint8Array {
  const bytes = new Uint8Array(lines.reduce((sum, line) => sum + line.length, 0));
  let at = 0;
  for (const line of lines) {
    bytes.set(line, at);
    at += line.length;
  }
  return bytes;
}
