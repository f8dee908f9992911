import { strictEqual } from "node:assert/strict";
import fc from "fast-check";
import { GRACE_HOURS, LostManifest } from "../support/lost_manifest.ts";
import { RestoreError } from "../../src/engine/restore_error.ts";

const NAMES = ["d/a,v", "d/b,v", "d/c,v", "d/e,v"] as const;
const NAME = fc.constantFrom(...NAMES);
/** Few sizes: many files have the same. */
const CONTENT = fc.string({
  minLength: 1,
  maxLength: 3,
  unit: fc.constantFrom("x", "y"),
});

/** What `p4d` and the daemon do, and the watcher tells. */
type Step =
  | { readonly kind: "store"; readonly name: string; readonly content: string }
  /** The same bytes with a new time, in place or after a delete. */
  | { readonly kind: "store again"; readonly name: string; readonly isDeleted: boolean }
  | { readonly kind: "rename"; readonly name: string; readonly to: string }
  | { readonly kind: "delete"; readonly name: string }
  /** Every grace is over: keys of what was deleted or replaced are free again. */
  | { readonly kind: "sweep" }
  /** Another file, in the place of one whose objects are all gone. */
  | { readonly kind: "store anew"; readonly name: string; readonly content: string }
  | { readonly kind: "copy" };

const STEP: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("store" as const),
      name: NAME,
      content: CONTENT,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("store again" as const),
      name: NAME,
      isDeleted: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("rename" as const), name: NAME, to: NAME }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("delete" as const), name: NAME }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: "sweep" as const }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("store anew" as const),
      name: NAME,
      content: CONTENT,
    }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: "copy" as const }) },
);

const STEPS = fc.array(STEP, { minLength: 3, maxLength: 20, size: "max" });

/** Without a disk nothing tells of renames that the copy does not know. */
function withoutLateRenames(steps: readonly Step[]): Step[] {
  const copy = steps.findLastIndex(({ kind }) => kind === "copy");
  return steps.filter(({ kind }, i) => i < copy || kind !== "rename");
}

/** Each file is evicted at once: its marker is all that the disk has of it. */
class History {
  readonly contents = new Map<string, string>();
  readonly #lost: LostManifest;
  #second = 0;

  constructor(lost: LostManifest) {
    this.#lost = lost;
  }

  async take(step: Step): Promise<void> {
    switch (step.kind) {
      case "copy":
        return await this.#lost.copy();
      case "sweep":
        await this.#lost.sweepFor(1.5 * GRACE_HOURS);
        return;
      case "store anew":
        if (this.contents.has(step.name)) await this.#delete(step.name);
        await this.#lost.sweepFor(1.5 * GRACE_HOURS);
        return await this.#store(step.name, step.content);
      case "store":
        return await this.#store(step.name, step.content);
      case "store again": {
        const content = this.contents.get(step.name);
        if (content === undefined) return;
        if (step.isDeleted) await this.#delete(step.name);
        return await this.#store(step.name, content);
      }
      case "delete":
        if (this.contents.has(step.name)) await this.#delete(step.name);
        return;
      case "rename": {
        const content = this.contents.get(step.name);
        if (content === undefined || step.name === step.to) return;
        await this.#lost.renameTold(step.name, step.to);
        this.contents.delete(step.name);
        this.contents.set(step.to, content);
      }
    }
  }

  /**
   * Files whose objects say what their markers say. Bytes that were found in the store have the time of
   * before there: a marker of theirs may be anybody's of that size, and no store tells of them.
   */
  async toldByObjects(): Promise<Set<string>> {
    const told = new Set<string>();
    for (const name of this.contents.keys()) {
      const { stored, local } = this.#lost.row(name)!;
      const object = await this.#lost.fixture.primary.head(stored!.key);
      if (object!.metadata!.mtimeNs === local.mtimeNs) told.add(name);
    }
    return told;
  }

  /** No two have the same time: files have nanoseconds. */
  async #store(name: string, content: string): Promise<void> {
    const mtime = new Date(1_700_000_000_000 + ++this.#second * 1000);
    await this.#lost.fixture.write(name, content);
    await Deno.utime(this.#lost.at(name), mtime, mtime);
    await this.#lost.uploadAgain(name);
    await this.#lost.evict(name);
    this.contents.set(name, content);
  }

  async #delete(name: string): Promise<void> {
    await this.#lost.delete(name);
    this.contents.delete(name);
  }
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

const RUNS = Number(Deno.env.get("P4CACHE_RUNS") ?? 25);

/** Printed: it is what makes the same histories again. */
function seedOfRun(): number {
  const seed = Number(Deno.env.get("P4CACHE_SEED") ?? Date.now() % 2 ** 31);
  print(`seed: ${seed} (P4CACHE_SEED)`);
  return seed;
}

Deno.test("whatever happened before and after the copy, no file is read as another one or as an old one, and all are read that their objects tell", async () => {
  const seed = seedOfRun();
  let [served, refused] = [0, 0];
  await fc.assert(
    fc.asyncProperty(
      STEPS,
      fc.boolean(),
      async (steps, fromNothing) => {
        await using lost = await LostManifest.open();
        const history = new History(lost);
        for (const step of steps) await history.take(step);
        const told = await history.toldByObjects();
        const areAllTold = told.size === history.contents.size;
        const { findings } = await lost.rebuild({ fromNothing });
        await lost.scan();
        await lost.sweepFor(2.5 * GRACE_HOURS);
        const reported = new Set(
          findings.flatMap((it) =>
            it.kind === "no-object" || it.kind === "other-marker" ? [it.path] : []
          ),
        );
        for (const [name, content] of history.contents) {
          try {
            strictEqual(await lost.read(name), content);
            served++;
          } catch (error) {
            if (!(error instanceof RestoreError)) throw error;
            strictEqual(areAllTold, false, `${name}: ${error.message}`);
            // It was told, and nothing else is given out for it.
            strictEqual(reported.has(lost.fixture.path(name)), true, error.message);
            refused++;
          }
        }
      },
    ),
    { numRuns: RUNS, seed },
  );
  print(`${served} files were served, ${refused} were reported and refused`);
});

Deno.test("where the disk is lost too, every file is read that its object tells of, unless it was renamed since the copy", async () => {
  const seed = seedOfRun();
  await fc.assert(
    fc.asyncProperty(STEPS, async (steps) => {
      await using lost = await LostManifest.open();
      const history = new History(lost);
      for (const step of withoutLateRenames(steps)) await history.take(step);
      const told = await history.toldByObjects();
      for (const name of history.contents.keys()) await Deno.remove(lost.at(name));
      await lost.rebuild();
      await lost.scan();
      await lost.sweepFor(2.5 * GRACE_HOURS);
      for (const [name, content] of history.contents) {
        if (told.has(name)) strictEqual(await lost.read(name), content, name);
      }
    }),
    { numRuns: RUNS, seed },
  );
});
