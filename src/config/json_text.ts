/**
 * JSON (RFC 8259) with the place of what is wrong with it.
 *
 * The engine's own parser names no line in some of its messages and lets a key stand twice,
 * where the last one wins; in a configuration that is a limit that somebody believes in.
 *
 * @module
 */

/** The text is no JSON. Line and column count from 1, the column in characters. */
export class JsonTextError extends Error {
  override readonly name = "JsonTextError";
  readonly line: number;
  readonly column: number;

  constructor(text: string, offset: number, what: string) {
    const before = text.slice(0, offset).split("\n");
    const line = before.length;
    const column = [...before.at(-1)!].length + 1;
    super(`line ${line}, column ${column}: ${what}`);
    this.line = line;
    this.column = column;
  }
}

const DEPTH_MAX = 32;

/** @throws {JsonTextError} */
export function parseJsonText(text: string): unknown {
  const parser = new JsonParser(text);
  const value = parser.readValue(0);
  parser.expectEnd();
  return value;
}

class JsonParser {
  readonly #text: string;
  #offset = 0;

  constructor(text: string) {
    this.#text = text;
  }

  readValue(depth: number): unknown {
    this.#skipBlanks();
    if (depth > DEPTH_MAX) throw this.#error("objects are nested too deeply");
    const next = this.#text[this.#offset];
    if (next === "{") return this.#readObject(depth);
    if (next === "[") return this.#readList(depth);
    if (next === '"') return this.#readString();
    return this.#readWord();
  }

  expectEnd(): void {
    this.#skipBlanks();
    if (this.#offset < this.#text.length) throw this.#unexpected("the end of the file");
  }

  #readObject(depth: number): Readonly<Record<string, unknown>> {
    // Not an assignment: `__proto__` is a key like any other.
    const entries = new Map<string, unknown>();
    this.#offset++;
    if (this.#take("}")) return {};
    do {
      this.#skipBlanks();
      const start = this.#offset;
      if (this.#text[start] !== '"') throw this.#unexpected("a key in double quotes");
      const key = this.#readString();
      if (entries.has(key)) {
        throw this.#error(`the key ${JSON.stringify(key)} stands here twice`, start);
      }
      if (!this.#take(":")) throw this.#unexpected('":"');
      entries.set(key, this.readValue(depth + 1));
    } while (this.#take(","));
    if (!this.#take("}")) throw this.#unexpected('"," or "}"');
    return Object.fromEntries(entries);
  }

  #readList(depth: number): readonly unknown[] {
    const items: unknown[] = [];
    this.#offset++;
    if (this.#take("]")) return items;
    do items.push(this.readValue(depth + 1)); while (this.#take(","));
    if (!this.#take("]")) throw this.#unexpected('"," or "]"');
    return items;
  }

  #readString(): string {
    const start = this.#offset;
    const token = /"(?:[^"\\]|\\.)*"/sy;
    token.lastIndex = start;
    const [quoted] = token.exec(this.#text) ?? [];
    // deno-lint-ignore no-control-regex
    if (quoted === undefined || /[\x00-\x1f]/.test(quoted)) {
      throw this.#error("a text begins here that does not end on its line", start);
    }
    this.#offset += quoted.length;
    try {
      return JSON.parse(quoted);
    } catch {
      throw this.#error("this text has an escape that JSON does not know", start);
    }
  }

  /** A number, true, false or null. */
  #readWord(): unknown {
    const token = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
    token.lastIndex = this.#offset;
    const [word] = token.exec(this.#text) ?? [];
    const after = this.#text[this.#offset + (word?.length ?? 0)] ?? "";
    if (word === undefined || /[\w.+-]/.test(after)) throw this.#unexpected("a value");
    this.#offset += word.length;
    return JSON.parse(word);
  }

  #take(character: string): boolean {
    this.#skipBlanks();
    if (this.#text[this.#offset] !== character) return false;
    this.#offset++;
    return true;
  }

  #skipBlanks(): void {
    const blanks = /[ \t\r\n]*/y;
    blanks.lastIndex = this.#offset;
    blanks.exec(this.#text);
    this.#offset = blanks.lastIndex;
  }

  /** Shows one character: more of the line might be a secret. */
  #unexpected(wanted: string): JsonTextError {
    this.#skipBlanks();
    const character = this.#text.codePointAt(this.#offset);
    const found = character === undefined
      ? "the file ends"
      : `${JSON.stringify(String.fromCodePoint(character))} stands`;
    return this.#error(`${found} where ${wanted} is wanted`);
  }

  #error(what: string, offset = this.#offset): JsonTextError {
    return new JsonTextError(this.#text, offset, what);
  }
}
