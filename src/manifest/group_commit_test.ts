import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { nextTurn } from "../core/turns.ts";
import { GroupCommit } from "./group_commit.ts";

interface Harness {
  readonly commits: GroupCommit<string[]>;
  /** Groups whose commit began. */
  readonly groups: string[][];
  /** Groups that were begun, each with the one that it was put on top of. */
  readonly stacked: [string[], string[] | null][];
  /** Ends the oldest commit that runs. */
  end(error?: Error): void;
  /** Resolves when a commit begins. */
  begun(): Promise<void>;
}

function harness(monotonicMs = (): number => 0): Harness {
  const groups: string[][] = [];
  const stacked: [string[], string[] | null][] = [];
  const running: PromiseWithResolvers<void>[] = [];
  let beginning = Promise.withResolvers<void>();
  return {
    groups,
    stacked,
    begun: () => beginning.promise,
    end(error): void {
      beginning = Promise.withResolvers();
      const { resolve, reject } = running.shift()!;
      if (error === undefined) resolve();
      else reject(error);
    },
    commits: new GroupCommit<string[]>({
      begin(before): string[] {
        const group: string[] = [];
        stacked.push([group, before]);
        return group;
      },
      seal: (group) => void Object.freeze(group),
      monotonicMs,
      commit(group): Promise<void> {
        groups.push(group);
        running.push(Promise.withResolvers());
        beginning.resolve();
        return running.at(-1)!.promise;
      },
    }),
  };
}

Deno.test("run() resolves after the commit of its group, and not before", async () => {
  const { commits, begun, end } = harness();
  let isResolved = false;
  const result = commits.run((group) => group.push("a")).then((length) => {
    isResolved = true;
    return length;
  });
  await begun();
  strictEqual(isResolved, false);
  end();
  strictEqual(await result, 1);
});

Deno.test("operations that come during a commit share the next one", async () => {
  const { commits, groups, begun, end } = harness();
  const first = commits.run((group) => group.push("a"));
  await begun();
  const more = ["b", "c", "d"].map((name) => commits.run((group) => group.push(name)));
  end();
  await first;
  await begun();
  end();
  await Promise.all(more);
  deepStrictEqual(groups, [["a"], ["b", "c", "d"]]);
});

Deno.test("a commit that fails rejects its own group, and the next one goes on", async () => {
  const { commits, groups, begun, end } = harness();
  const failing = ["a", "b"].map((name) => commits.run((group) => group.push(name)));
  await begun();
  const next = commits.run((group) => group.push("c"));
  end(new Error("the disk is full"));
  for (const one of failing) await rejects(one, /the disk is full/);
  await begun();
  end();
  await next;
  deepStrictEqual(groups, [["a", "b"], ["c"]]);
});

Deno.test("an operation that throws rejects alone", async () => {
  const { commits, groups, begun, end } = harness();
  const bad = rejects(
    commits.run(() => {
      throw new Error("not legal");
    }),
    /not legal/,
  );
  const good = commits.run((group) => group.push("b"));
  await begun();
  end();
  await bad;
  await good;
  deepStrictEqual(groups, [["b"]]);
});

Deno.test("a group is cut when composing it takes long", async () => {
  let nowMs = 0;
  const { commits, groups, begun, end } = harness(() => nowMs);
  const all = Array.from({ length: 10 }, (_, i) =>
    commits.run((group) => {
      nowMs += 1;
      return group.push(String(i));
    }));
  while (groups.flat().length < 10) {
    await begun();
    end();
  }
  await Promise.all(all);
  deepStrictEqual(groups.map((group) => group.length), [4, 4, 2]);
});

/** Composing takes ten microseconds for each operation, a commit no time. */
function crowdedHarness(): Harness & { ask(count: number): Promise<string>[] } {
  let nowMs = 0;
  const made = harness(() => nowMs);
  let asked = 0;
  return {
    ...made,
    ask(count): Promise<string>[] {
      return Array.from({ length: count }, () => {
        const name = String(asked++);
        return made.commits.run((group) => {
          nowMs += 0.01;
          group.push(name);
          return name;
        });
      });
    },
  };
}

Deno.test("half of a crowd is composed while the other half is committed", async () => {
  const { ask, groups, stacked, begun, end } = crowdedHarness();
  const first = ask(40);
  await begun();
  end();
  await Promise.all(first);
  const all = ask(40);
  await begun();
  // The second half comes while the first is with the disk.
  while (stacked.length < 3) await nextTurn();
  deepStrictEqual(groups.map((group) => group.length), [40, 20]);
  strictEqual(stacked[2]![1], groups[1]);
  end();
  await begun();
  strictEqual(groups[2], stacked[2]![0]);
  end();
  deepStrictEqual(await Promise.all(all), groups.slice(1).flat());
});

Deno.test("what was composed on top of a commit that fails is composed again", async () => {
  const { ask, commits, groups, stacked, begun, end } = crowdedHarness();
  const first = ask(40);
  await begun();
  end();
  await Promise.all(first);
  const all = ask(39);
  const bad = commits.run((group) => {
    if (stacked.length === 3) throw new Error("not on top of the first half");
    group.push("bad");
  });
  await begun();
  while (stacked.length < 3) await nextTurn();
  const failing = all.slice(0, 20).map((one) => rejects(one, /the disk is full/));
  end(new Error("the disk is full"));
  await Promise.all(failing);
  while (groups.flat().length < 40 + 20 + 20) {
    await begun();
    end();
  }
  deepStrictEqual(stacked[3]![1], null);
  deepStrictEqual(await Promise.all(all.slice(20)), groups.slice(2).flat().slice(0, 19));
  await bad;
});

Deno.test("a crowd is not split where the disk is slow", async () => {
  let nowMs = 0;
  const { commits, groups, begun, end } = harness(() => nowMs);
  for (let round = 0; round < 20; round++) {
    const all = Array.from({ length: 40 }, () =>
      commits.run((group) => {
        nowMs += 0.01;
        group.push("");
      }));
    await begun();
    nowMs += 10;
    end();
    await Promise.all(all);
  }
  deepStrictEqual(groups.map((group) => group.length), Array(20).fill(40));
});

Deno.test("a group that cannot be sealed rejects its callers, and the next one goes on", async () => {
  let isSound = false;
  const commits = new GroupCommit<string[]>({
    begin: () => [],
    seal(): void {
      if (!isSound) throw new Error("not a row");
    },
    commit: () => Promise.resolve(),
    monotonicMs: () => 0,
  });
  await rejects(commits.run(() => {}), /not a row/);
  isSound = true;
  await commits.run(() => {});
});

Deno.test("idle() waits for everything that was asked", async () => {
  const { commits, groups, begun, end } = harness();
  const first = commits.run((group) => group.push("a"));
  await begun();
  const second = commits.run((group) => group.push("b"));
  const idle = commits.idle().then(() => groups.length);
  end();
  await first;
  await begun();
  end();
  strictEqual(await idle, 2);
  await second;
});
