/**
 * Keeps the gate going: takes its messages, hands requests to the shim server and opens
 * to the access feed, and starts it again when it dies.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import type { Engine } from "../engine/engine.ts";
import type { Gate, GateMessage } from "../gate/gate.ts";
import type { Logger } from "../obs/logger.ts";
import type { Metrics } from "../obs/metrics.ts";
import { parseAccessEvent } from "./access_event.ts";
import type { ControlServer } from "./control.ts";
import { answer, type ShimServerDeps, Waits } from "./shim_server.ts";
import { startErrorOf } from "./start_error.ts";
import { messageOf } from "./state_directory.ts";

const RESTART_MS_MIN = 50;
const RESTART_MS_MAX = 5_000;

export interface GateServiceDeps extends ShimServerDeps {
  readonly engine: Engine;
  readonly control: ControlServer;
  readonly open: () => Promise<Gate>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

export class GateService {
  readonly #deps: GateServiceDeps;
  #gate: Gate | null = null;
  /** Who may ask, where it was changed; else those that a gate is opened with. */
  #allowed: readonly number[] | null = null;
  #restarts = 0;

  constructor(deps: GateServiceDeps) {
    this.#deps = deps;
  }

  /** Resolves when the sockets are there. @throws {StartError} */
  async open(): Promise<void> {
    try {
      await this.#open();
    } catch (error) {
      throw startErrorOf("Cannot serve the depot", error);
    }
  }

  async #open(): Promise<void> {
    const gate = await this.#deps.open();
    // The list may have changed while it started, with the one before in its arguments.
    if (this.#allowed !== null) gate.allow(this.#allowed);
    this.#gate = gate;
  }

  /** How often the gate was started again. */
  get restarts(): number {
    return this.#restarts;
  }

  /** Changes who may ask, for the running gate and the next one. */
  allow(uids: readonly number[]): void {
    this.#allowed = uids;
    this.#gate?.allow(uids);
  }

  /** Serves until the signal aborts. */
  async run(): Promise<void> {
    const { signal, clock, log, metrics } = this.#deps;
    let delayMs = RESTART_MS_MIN;
    signal.addEventListener("abort", () => void this.#gate?.close(), { once: true });
    // Nobody hears of what was before.
    if (signal.aborted) await this.#gate?.close();
    while (!signal.aborted) {
      try {
        if (this.#gate === null) throw new Error("it could not be started");
        await this.#serve(this.#gate, () => delayMs = RESTART_MS_MIN);
      } catch (error) {
        if (!signal.aborted) log.error(`the gate ended: ${messageOf(error)}`);
      }
      this.#deps.control.allGone();
      if (signal.aborted) return;
      metrics.count("p4cache_helper_restarts_total", { helper: "gate" });
      this.#restarts += 1;
      await clock.sleep(delayMs, signal).catch(() => {});
      delayMs = Math.min(RESTART_MS_MAX, delayMs * 2);
      if (signal.aborted) return;
      this.#gate = null;
      await this.#open().catch((error) => {
        if (signal.aborted) return;
        log.error(`the gate cannot be started again: ${messageOf(error)}`);
      });
      if (signal.aborted) await (this.#gate as Gate | null)?.close();
    }
  }

  /** Until the gate ends. */
  async #serve(gate: Gate, onMessage: () => void): Promise<void> {
    const waits = new Waits(gate);
    try {
      for await (const message of gate) {
        onMessage();
        this.#take(waits, message);
      }
    } finally {
      waits.endAll();
    }
  }

  #take(waits: Waits, message: GateMessage): void {
    switch (message.t) {
      case "req":
        // Answers whatever happens; a gate that died meanwhile has no peer to tell.
        void answer(this.#deps, waits, message);
        return;
      case "control":
        void this.#deps.control.answer(waits.gate, message);
        return;
      case "gone":
        // A restore goes on: the next open finds the file. A command does not.
        waits.end(message.id);
        return this.#deps.control.gone(message.id);
      case "access":
        return this.#access(message.data);
      case "count":
        return this.#count(message.name, message.n);
    }
  }

  #access(data: string): void {
    const { engine, metrics } = this.#deps;
    for (const line of data.split("\n")) {
      if (line === "") continue;
      const event = parseAccessEvent(line);
      if (event === null) continue;
      if ("droppedCount" in event) {
        metrics.count("p4cache_access_log_dgram_dropped_total", {}, event.droppedCount);
        continue;
      }
      metrics.count("p4cache_opens_total", { result: event.result });
      engine.accessed(event.path, event.atMs);
    }
  }

  #count(name: string, n: number): void {
    const { metrics } = this.#deps;
    switch (name) {
      case "rejected_peer":
        return metrics.count("p4cache_shim_rejected_peer_total", {}, n);
      case "legacy_unprefixed":
        return metrics.count("p4cache_shim_legacy_unprefixed_total", {}, n);
      case "turned_away":
        return metrics.count("p4cache_shim_turned_away_total", {}, n);
      case "access_rejected":
        return metrics.count("p4cache_access_log_peer_rejected_total", {}, n);
      case "access_dropped":
        return metrics.count("p4cache_access_log_dgram_dropped_total", {}, n);
      default:
        return metrics.count("p4cache_shim_bad_request_total", {}, n);
    }
  }
}
