/**
 * Shared event buffers of peers that mean harm: the gate neither ends, nor waits, nor reads what
 * is not theirs.
 *
 * @module
 */

import { equal, ok } from "node:assert/strict";
import {
  type AccessLine,
  attached,
  Events,
  takeCount,
  untilAttached,
  withGate,
} from "./event_buffer_gate.ts";
import { hostile, hostileAs } from "./event_buffer_peers.ts";
import { NOBODY_UID } from "./files.ts";
import { type Message, rootTest } from "./raw_helper.ts";

rootTest(
  "announcements that are none are counted, and read no further",
  () =>
    withGate(async (gate, directory) => {
      await using peer = hostile(directory, "malformed");
      await takeCount(gate, "access_rejected", await peer.number());
      equal(await attached(gate), 0);
      equal(gate.untaken.length, 0);
    }),
);

rootTest(
  "segments of another size, or of another user, are not read",
  () =>
    withGate(async (gate, directory) => {
      await using sizes = hostile(directory, "sizes");
      await takeCount(gate, "access_rejected", await sizes.number());
      await using owner = hostileAs(NOBODY_UID, directory, "secret");
      await using liar = hostile(directory, "announce", String(await owner.number()));
      await takeCount(gate, "access_rejected", await liar.number());
      equal(await attached(gate), 0);
      await owner.end();
      equal(gate.untaken.length, 0, "nothing of it was told");
    }),
);

rootTest(
  "a buffer that is locked for ever is told once its owner has ended",
  () =>
    withGate(async (gate, directory) => {
      await using peer = hostile(directory, "locked");
      await peer.number();
      await untilAttached(gate, 1);
      await peer.end();
      equal((await new Events(gate).takePath("locked")).op, "hostile");
      await untilAttached(gate, 0);
    }),
);

for (const name of ["punched", "future", "past", "overlong"]) {
  rootTest(
    `a buffer with lies in its head harms nobody: ${name}`,
    () =>
      withGate(async (gate, directory) => {
        await using _peer = hostile(directory, name);
        equal((await new Events(gate).takePath(name)).op, "hostile");
      }),
  );
}

rootTest(
  "a buffer whose memory fails is let go, and the others are served",
  () =>
    withGate(async (gate, directory) => {
      await using broken = hostile(directory, "unreserved");
      await broken.number();
      await takeCount(gate, "access_dropped", 1);
      await untilAttached(gate, 0);
      await using _sound = hostile(directory, "past");
      await new Events(gate).takePath("past");
    }),
);

rootTest(
  "scribbling all the time neither ends the gate nor holds it up",
  () =>
    withGate(async (gate, directory) => {
      await using scribbler = hostile(directory, "scribbler");
      await scribbler.number();
      await untilAttached(gate, 1);
      for (const name of ["past", "future", "overlong"]) {
        await using _peer = hostile(directory, name);
        const isFrom = (message: Message): boolean =>
          message.t === "access" && (message.data as string).includes(`"path":"${name}"`);
        await gate.take(isFrom);
      }
      await scribbler.end();
      await untilAttached(gate, 0);
    }),
);

rootTest(
  "a buffer announced a thousand times is attached once, and let go",
  () =>
    withGate(async (gate, directory) => {
      await using peer = hostile(directory, "repeated");
      await peer.number();
      equal(await attached(gate), 1);
      await peer.end();
      await untilAttached(gate, 0);
    }),
);

rootTest(
  "segments removed in the midst of their announcement leave nothing",
  () =>
    withGate(async (gate, directory) => {
      await using peer = hostile(directory, "removed");
      await peer.number();
      await untilAttached(gate, 0);
      await using _sound = hostile(directory, "past");
      await new Events(gate).takePath("past");
    }),
);

rootTest(
  "past the bound buffers are refused and counted, and taken when there is room",
  () =>
    withGate(async (gate, directory) => {
      await using many = hostile(directory, "many", "7");
      await many.number();
      await takeCount(gate, "access_dropped", 3);
      equal(await attached(gate), 4);
      await many.end();
      await untilAttached(gate, 0);
      await using again = hostile(directory, "many", "4");
      await again.number();
      await untilAttached(gate, 4);
    }, 4),
);

rootTest(
  "full buffers all come whole after a daemon's pause",
  () =>
    withGate(async (gate, directory) => {
      const total = 100;
      const resume = gate.pause();
      await using peer = hostile(directory, "full", String(total));
      await peer.number();
      await untilAttached(gate, total);
      resume();
      const seen = new Set<string>();
      while (seen.size < total) {
        const data = (await gate.takeKind("access")).data as string;
        equal(data.length, 32 * 1024 - 24);
        const end = data.indexOf("\n");
        ok(/^\xff+\n$/.test(data.slice(end + 1)));
        seen.add((JSON.parse(data.slice(0, end)) as AccessLine).path);
      }
    }),
);
