/**
 * Values that must not reach a log, a dump or a screen.
 *
 * A secret prints as `***` whatever it is put into, and gives itself away to `reveal` only.
 * One that stands in a file or in the environment is read each time it is revealed, so
 * that it can be replaced while the daemon runs.
 *
 * @module
 */

/** Where secrets that do not stand in the configuration are read. */
export interface SecretLookup {
  /** @throws The file system's error. */
  file(path: string): string;
  env(name: string): string | undefined;
}

export const SYSTEM_SECRETS: SecretLookup = {
  file: (path) => Deno.readTextFileSync(path),
  env: (name) => Deno.env.get(name),
};

export type SecretOrigin =
  | { readonly text: string }
  | { readonly file: string }
  | { readonly env: string };

/** A secret is not where the configuration says. */
export class SecretError extends Error {
  override readonly name = "SecretError";
}

const MASK = "***";

export class Secret {
  readonly #origin: SecretOrigin;
  readonly #lookup: SecretLookup;

  constructor(origin: SecretOrigin, lookup: SecretLookup) {
    this.#origin = origin;
    this.#lookup = lookup;
  }

  /** The file it is read from; null for one that stands elsewhere. */
  get file(): string | null {
    return "file" in this.#origin ? this.#origin.file : null;
  }

  /** Whether it stands in the configuration file itself. */
  get isInline(): boolean {
    return "text" in this.#origin;
  }

  /**
   * The value, without the line feed that a file ends with.
   *
   * @throws {SecretError} If it cannot be read or is empty.
   */
  reveal(): string {
    const text = this.#read().replace(/\r?\n$/, "");
    if (text === "") {
      throw new SecretError(`Cannot use the secret of ${this.#where()}: it is empty`);
    }
    return text;
  }

  /** Whether both come from the same place; two in the configuration are compared by value. */
  isSame(other: Secret): boolean {
    return JSON.stringify(this.#origin) === JSON.stringify(other.#origin);
  }

  #read(): string {
    if ("text" in this.#origin) return this.#origin.text;
    if ("file" in this.#origin) {
      try {
        return this.#lookup.file(this.#origin.file);
      } catch (cause) {
        const why = cause instanceof Error ? cause.message : String(cause);
        throw new SecretError(`Cannot read the secret of ${this.#where()}: ${why}`, {
          cause,
        });
      }
    }
    const value = this.#lookup.env(this.#origin.env);
    if (value !== undefined) return value;
    throw new SecretError(`Cannot read the secret of ${this.#where()}: it is not set`);
  }

  #where(): string {
    if ("text" in this.#origin) return "the configuration";
    if ("file" in this.#origin) return `the file ${JSON.stringify(this.#origin.file)}`;
    return `the environment variable ${this.#origin.env}`;
  }

  toString(): string {
    return MASK;
  }

  toJSON(): string {
    return MASK;
  }

  [Symbol.for("Deno.customInspect")](): string {
    return MASK;
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return MASK;
  }
}

/** An object of the configuration with its secrets as plain text, for the one who uses them. */
export type Revealed<T> = {
  readonly [K in keyof T]: T[K] extends Secret ? string
    : T[K] extends Secret | null ? string | null
    : T[K];
};

/** @throws {SecretError} */
export function revealSecrets<T extends object>(value: T): Revealed<T> {
  const entries = Object.entries(value).map(([key, it]) => [
    key,
    it instanceof Secret ? it.reveal() : it,
  ]);
  return Object.fromEntries(entries) as Revealed<T>;
}
