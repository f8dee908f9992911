import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { GroupCommit } from "./group_commit.ts";

interface Harness {
  readonly commits: GroupCommit<string[]>;
  /** Groups whose commit began. */
  readonly groups: string[][];
  /** Ends the oldest commit that runs. */
  end(error?: Error): void;
  /** Resolves when a commit begins. */
  begun(): Promise<void>;
}

function harness(monotonicMs = (): number => 0): Harness {
  const groups: string[][] = [];
  const running: PromiseWithResolvers<void>[] = [];
  let beginning = Promise.withResolvers<void>();
  return {
    groups,
    begun: () => beginning.promise,
    end(error): void {
      beginning = Promise.withResolvers();
      const { resolve, reject } = running.shift()!;
      if (error === undefined) resolve();
      else reject(error);
    },
    commits: new GroupCommit<string[]>({
      begin: () => [],
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

Deno.test("what throws in a group whose commit fails rejects with the failure", async () => {
  const { commits, begun, end } = harness();
  const bad = commits.run(() => {
    throw new Error("not legal after what did not become true");
  });
  await begun();
  end(new Error("the disk is full"));
  await rejects(bad, /the disk is full/);
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
