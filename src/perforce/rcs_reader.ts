/**
 * Rebuilds the revisions of an RCS file, all in one pass. Pure.
 *
 * The head is whole; along `next` each revision follows from the newer one by its delta; a
 * branch follows forward from the revision where it begins. The walk goes in that order,
 * wherever in the file the texts lie.
 *
 * @module
 */

import { type RcsBytes, RcsError, type RcsLayout, readRcsBlock } from "./rcs_layout.ts";
import { RcsText } from "./rcs_text.ts";

export interface RcsLimits {
  /** Longest text or delta that is taken into memory. */
  readonly textBytesMax: number;
}

/** What became of the walk. */
export interface RcsWalk {
  /** Why each revision that could not be rebuilt could not; only of wanted ones. */
  readonly failed: ReadonlyMap<string, RcsError>;
}

/**
 * Calls `visit` for each wanted revision that can be rebuilt, head first. A revision whose
 * text is damaged fails, and those that follow from it fail with it; others are still visited.
 */
export function walkRevisions(
  bytes: RcsBytes,
  layout: RcsLayout,
  wanted: ReadonlySet<string>,
  limits: RcsLimits,
  visit: (revision: string, text: RcsText) => void,
): RcsWalk {
  const left = new Set(wanted);
  const seen = new Set<string>();
  let why: RcsError | null = layout.damage;
  const starts: { revision: string; base: RcsText | null }[] = [];
  if (layout.head !== null) starts.push({ revision: layout.head, base: null });
  while (starts.length > 0 && left.size > 0) {
    const { revision: first, base } = starts.pop()!;
    let text = base;
    for (let at: string | null = first; at !== null && left.size > 0;) {
      const revision = layout.revisions.get(at);
      const block = layout.texts.get(at);
      if (seen.has(at) || revision === undefined || block === undefined) {
        why ??= brokenChain(layout, at, seen.has(at));
        break;
      }
      seen.add(at);
      try {
        const raw = readRcsBlock(bytes, block, limits.textBytesMax);
        text = text === null ? RcsText.of(raw) : text.edited(raw, block.offset);
      } catch (error) {
        if (!(error instanceof RcsError)) throw error;
        why = error;
        break;
      }
      if (left.delete(at)) visit(at, text);
      for (const branch of revision.branches) {
        starts.push({ revision: branch, base: text });
      }
      at = revision.next;
    }
  }
  const failed = new Map<string, RcsError>();
  for (const revision of left) {
    failed.set(
      revision,
      why ?? new RcsError("chain", 0, "nothing leads to the revision"),
    );
  }
  return { failed };
}

function brokenChain(layout: RcsLayout, at: string, isLoop: boolean): RcsError {
  if (isLoop) return new RcsError("chain", 0, `revision ${at} follows from itself`);
  const block = layout.texts.get(at);
  const what = layout.revisions.has(at) ? "text" : "entry";
  return new RcsError("chain", block?.offset ?? 0, `revision ${at} has no ${what}`);
}
