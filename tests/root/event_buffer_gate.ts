/**
 * A gate for the tests of shared event buffers: what it tells of them, how many it has.
 *
 * @module
 */

import { equal } from "node:assert/strict";
import { withDirectory } from "./files.ts";
import { type Message, RawHelper } from "./raw_helper.ts";

export interface AccessLine {
  readonly pid: number;
  readonly op: string;
  readonly path: string;
  readonly id: string;
}

export function startGate(
  directory: string,
  buffersMax = 4_096,
  around: readonly string[] = [],
): RawHelper {
  const args = [
    ...["--shim-sock", `${directory}/shim.sock`],
    ...["--access-sock", `${directory}/access.sock`],
    ...["--socket-mode", "0666", "--max-requests", "4", "--allow-uid", "0"],
    ...["--max-buffers", String(buffersMax)],
  ];
  return new RawHelper("p4-cache-gate", args, around);
}

export async function withGate(
  run: (gate: RawHelper, directory: string) => Promise<void>,
  buffersMax?: number,
): Promise<void> {
  await withDirectory(async (directory) => {
    const gate = startGate(directory, buffersMax);
    try {
      await gate.takeKind("ready");
      await run(gate, directory);
    } finally {
      equal(await gate.end(), 0, "the gate's status");
    }
  });
}

/** The lines of all access messages; each is given out once for each time it came. */
export class Events {
  readonly #gate: RawHelper;
  readonly #lines: AccessLine[] = [];

  constructor(gate: RawHelper) {
    this.#gate = gate;
  }

  async take(wanted: (line: AccessLine) => boolean): Promise<AccessLine> {
    for (;;) {
      const index = this.#lines.findIndex(wanted);
      if (index >= 0) return this.#lines.splice(index, 1)[0]!;
      const { data, uid } = await this.#gate.takeKind("access");
      equal(uid, 0);
      const lines = (data as string).split("\n");
      equal(lines.pop(), "", "whole lines");
      this.#lines.push(...lines.map((line) => JSON.parse(line)));
    }
  }

  takePath(path: string): Promise<AccessLine> {
    return this.take((line) => line.path === path);
  }
}

export async function attached(gate: RawHelper): Promise<number> {
  const maps = await Deno.readTextFile(`/proc/${gate.pid}/maps`);
  return maps.split("\n").filter((line) => line.includes("/SYSV")).length;
}

/** No event tells what a process has mapped: looks again until it is so. */
export async function untilAttached(gate: RawHelper, count: number): Promise<void> {
  while (await attached(gate) !== count) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Takes counts until they make up `n`; no more may have come. */
export async function takeCount(gate: RawHelper, name: string, n: number): Promise<void> {
  let seen = 0;
  while (seen < n) {
    const isCount = (message: Message): boolean => message.t === "count";
    const message = await gate.take(isCount);
    equal(message.name, name);
    seen += message.n as number;
  }
  equal(seen, n);
}
