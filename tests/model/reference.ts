/**
 * What `p4d` believes of each name, and so what it must find there. Beside the engine, and
 * knowing nothing of it.
 *
 * @module
 */

import { createContentHasher } from "../../src/storage/hashing.ts";
import { CONTENT_COUNT } from "./operations.ts";

/** The run showed that the engine is wrong. */
export class ModelFailure extends Error {
  override readonly name = "ModelFailure";
  /** lost: acknowledged bytes are nowhere. wrong: other bytes. bug: an assertion, a hang. */
  readonly fault: "lost" | "wrong" | "bug";

  constructor(fault: "lost" | "wrong" | "bug", message: string) {
    super(message);
    this.fault = fault;
  }
}

export interface Expected {
  /** Any of these. */
  readonly contents: readonly number[];
  /** Nothing at all is right too. */
  readonly absentOk: boolean;
  /**
   * A file was renamed, which a look may come before: what has no content may be there
   * again, and a marker that nobody reported may be unreadable until a person helps.
   */
  readonly brokenOk: boolean;
  /** Grows with each change of what is expected of any name. */
  readonly version: number;
}

const NOTHING: Expected = { contents: [], absentOk: true, brokenOk: false, version: 0 };

export class Reference {
  readonly #expected = new Map<string, Expected>();
  /** All that a name had since its last DELETE. */
  readonly #history = new Map<string, readonly number[]>();
  #version = 0;

  of(path: string): Expected {
    return this.#expected.get(path) ?? NOTHING;
  }

  get paths(): string[] {
    return [...this.#expected.keys()];
  }

  set(
    path: string,
    contents: readonly number[],
    { absentOk = contents.length === 0, brokenOk = false } = {},
  ): void {
    const version = ++this.#version;
    this.#expected.set(path, {
      contents: [...new Set(contents)],
      absentOk,
      brokenOk,
      version,
    });
  }

  written(path: string, content: number): void {
    this.#remember(path, [content]);
    this.set(path, [content]);
  }

  deleted(path: string): void {
    this.#history.delete(path);
    this.set(path, []);
  }

  /** Gone without a DELETE that was answered: the last version that was stored, or nothing. */
  doubt(path: string, brokenOk: boolean): void {
    const contents = [...this.of(path).contents, ...this.#history.get(path) ?? []];
    this.set(path, contents, { absentOk: true, brokenOk });
  }

  /** `isThere`: whether there was a file to move. */
  moved(from: string, to: string, isThere: boolean): void {
    const { contents, absentOk, brokenOk } = this.of(from);
    this.#remember(to, [...contents, ...this.#history.get(from) ?? []]);
    if (isThere) this.set(to, contents, { absentOk, brokenOk });
    else this.doubt(to, true);
    // Until the rename is told, a look takes the name for one that lost its file.
    this.set(from, [], { absentOk: true, brokenOk: true });
  }

  #remember(path: string, contents: readonly number[]): void {
    const known = this.#history.get(path) ?? [];
    this.#history.set(path, [...new Set([...known, ...contents])]);
  }
}

const BYTES = Array.from({ length: CONTENT_COUNT }, (_, id) => {
  const text = `content ${id} `.repeat(1 + (id >> 1));
  return new TextEncoder().encode(text);
});
const ID_BY_BYTES = new Map(BYTES.map((bytes, id) => [textOf(bytes), id]));
const ID_BY_HASH = new Map(BYTES.map((bytes, id) => {
  const hasher = createContentHasher();
  hasher.update(bytes);
  return [hasher.digestHex(), id];
}));

function textOf(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

export function bytesOfContent(content: number): Uint8Array<ArrayBuffer> {
  return BYTES[content]!.slice();
}

/** Null: bytes that nobody wrote as a whole. */
export function contentOfBytes(bytes: Uint8Array): number | null {
  return ID_BY_BYTES.get(textOf(bytes)) ?? null;
}

export function contentOfHash(hash: string | null): number | null {
  return hash === null ? null : ID_BY_HASH.get(hash) ?? null;
}
