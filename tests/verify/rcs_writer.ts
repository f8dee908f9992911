/**
 * Writes `,v` files as p4d does, with reverse deltas that replace everything that differs
 * between the first and the last line that differ. For tests.
 *
 * @module
 */

/** `revisions` oldest first; each as one character per byte. */
export function writeRcs(
  revisions: readonly { readonly number: string; readonly text: string }[],
): string {
  const newestFirst = revisions.toReversed();
  let out = `head     ${newestFirst[0]!.number};\naccess   ;\nsymbols  ;\n` +
    `locks    ;comment  @@;\n\n\n`;
  newestFirst.forEach(({ number }, index) => {
    const next = newestFirst[index + 1]?.number ?? "";
    out += `${number}\ndate     2014.04.09.14.20.24;  author p4;  state Exp;\n` +
      `branches ;\nnext     ${next};\n\n`;
  });
  out += "desc\n@@\n";
  newestFirst.forEach(({ number, text }, index) => {
    const body = index === 0 ? text : reverseDelta(newestFirst[index - 1]!.text, text);
    out += `\n\n${number}\nlog\n@@\ntext\n@${body.replaceAll("@", "@@")}@\n`;
  });
  return out;
}

function linesOf(text: string): string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

function reverseDelta(from: string, to: string): string {
  const old = linesOf(from);
  const wanted = linesOf(to);
  let head = 0;
  while (head < old.length && head < wanted.length && old[head] === wanted[head]) head++;
  let tail = 0;
  while (
    tail < old.length - head && tail < wanted.length - head &&
    old.at(-1 - tail) === wanted.at(-1 - tail)
  ) tail++;
  const removed = old.length - head - tail;
  const added = wanted.slice(head, wanted.length - tail);
  return (removed > 0 ? `d${head + 1} ${removed}\n` : "") +
    (added.length > 0 ? `a${head + removed} ${added.length}\n${added.join("")}` : "");
}
