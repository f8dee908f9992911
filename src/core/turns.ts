/**
 * Letting other work of the event loop go on.
 *
 * @module
 */

import { setImmediate } from "node:timers";

/** Resolves in the next turn of the event loop, after what is ready by then. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
