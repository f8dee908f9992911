/**
 * Access tokens for Google.
 *
 * The key file of a service account is turned into tokens here, by the documented exchange
 * of a signed JWT (RFC 7523), and so is a user's refresh token as gcloud keeps it, over our
 * own transport: Google's library sends both to one fixed host, whatever the file's
 * `token_uri` says, and knows neither our authorities nor our timeouts. Every other
 * credential (metadata server, workload identity federation) is that library's.
 *
 * @module
 */

import { GoogleAuth } from "google-auth-library";
import { Buffer } from "node:buffer";
import { createSign } from "node:crypto";
import type { Clock } from "../../core/clock.ts";
import { type TokenWait, withinStall } from "../http/token_wait.ts";
import { readText, type Transport } from "../http/transport.ts";
import { GcsAuthError } from "./gcs_errors.ts";

const SCOPE = "https://www.googleapis.com/auth/devstorage.read_write";

/** Google gives tokens an hour; they are renewed this long before their end. */
const RENEW_BEFORE_MS = 300_000;

export interface TokenSource {
  /** @throws {GcsAuthError}, {TransportError}, or the signal's reason. */
  token(signal: AbortSignal | undefined): Promise<string>;
  /** The last token was refused: read the credentials again. */
  forget(): void;
  close(): void;
}

export interface TokenTools extends TokenWait {
  /** Opens a way to the token endpoint's host, and to no other. */
  readonly openTransport: (host: string) => Promise<Transport>;
}

/** @param credentialsFile Null for Application Default Credentials. */
export function openTokenSource(
  credentialsFile: string | null,
  tools: TokenTools,
): TokenSource {
  let source: Promise<Exchange> | null = null;
  let current: { readonly token: string; readonly endMs: number } | null = null;
  let renewal: Promise<string> | null = null;

  const drop = (): void => {
    source?.then((opened) => opened.close(), () => {});
    source = null;
  };
  const giveUp = (failed: Promise<string>): void => {
    if (renewal !== failed) return;
    renewal = null;
    drop();
  };
  const renew = (): Promise<string> => {
    const opened = source ??= openExchange(credentialsFile, tools);
    const exchanged = (async (): Promise<string> => {
      current = await (await opened).exchange();
      renewal = null;
      return current.token;
    })();
    exchanged.catch(() => giveUp(exchanged));
    return exchanged;
  };
  return {
    async token(signal: AbortSignal | undefined): Promise<string> {
      if (current !== null && tools.clock.nowMs() < current.endMs - RENEW_BEFORE_MS) {
        return current.token;
      }
      // One renewal, however many requests wait for it, each with its own signal.
      const mine = renewal ??= renew();
      try {
        return await withinStall(tools, signal, () => mine);
      } catch (error) {
        // One that does not end is not waited for by the next request. Who does not want to
        // wait any more leaves it to the others.
        if (signal?.aborted !== true) giveUp(mine);
        throw error;
      }
    },
    forget(): void {
      current = null;
      drop();
    },
    close: drop,
  };
}

interface Exchange {
  exchange(): Promise<{ token: string; endMs: number }>;
  close(): void;
}

async function openExchange(file: string | null, tools: TokenTools): Promise<Exchange> {
  const path = file ?? await defaultFile();
  const account = path === null ? null : await readCredentials(path);
  if (account === null) return openLibraryExchange(file, tools);
  const { host } = new URL(account.tokenUri);
  const transport = await tools.openTransport(host);
  return {
    exchange: () => exchangeForm(account, transport, tools.clock),
    close: () => transport.close(),
  };
}

/** Where Application Default Credentials look for a file, in their order; null for none. */
async function defaultFile(): Promise<string | null> {
  const named = Deno.env.get("GOOGLE_APPLICATION_CREDENTIALS") ?? "";
  if (named !== "") return named;
  const config = Deno.env.get("CLOUDSDK_CONFIG") ??
    `${Deno.env.get("HOME") ?? ""}/.config/gcloud`;
  const path = `${config}/application_default_credentials.json`;
  return await Deno.stat(path).then(() => path, () => null);
}

/** What is asked for a token, and where. */
interface Account {
  readonly tokenUri: string;
  form(nowSeconds: number): Record<string, string>;
}

interface ServiceAccount {
  readonly email: string;
  readonly privateKey: string;
  readonly tokenUri: string;
}

/** Null: the file holds another kind of credentials. */
async function readCredentials(path: string): Promise<Account | null> {
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(await Deno.readTextFile(path));
  } catch (cause) {
    throw new GcsAuthError("denied", `credentials_file "${path}": ${cause}`, { cause });
  }
  const text = (name: string): string => {
    const value = fields[name];
    if (typeof value === "string" && value !== "") return value;
    throw new GcsAuthError("denied", `credentials_file "${path}" lacks ${name}`);
  };
  const tokenUri = String(fields["token_uri"] ?? "https://oauth2.googleapis.com/token");
  if (!URL.canParse(tokenUri)) {
    throw new GcsAuthError("denied", `credentials_file "${path}": no URL in token_uri`);
  }
  switch (fields["type"]) {
    case "service_account": {
      const [email, privateKey] = [text("client_email"), text("private_key")];
      const account = { email, privateKey, tokenUri };
      return {
        tokenUri,
        form: (nowSeconds) => ({
          "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
          "assertion": signedJwt(account, nowSeconds),
        }),
      };
    }
    case "authorized_user": {
      const form = {
        "grant_type": "refresh_token",
        "client_id": text("client_id"),
        "client_secret": text("client_secret"),
        "refresh_token": text("refresh_token"),
      };
      return { tokenUri, form: () => form };
    }
    default:
      return null;
  }
}

async function exchangeForm(
  account: Account,
  transport: Transport,
  clock: Clock,
): Promise<{ token: string; endMs: number }> {
  const form = new URLSearchParams(account.form(Math.floor(clock.nowMs() / 1_000)));
  const answer = await transport.send({
    method: "POST",
    url: account.tokenUri,
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: new TextEncoder().encode(form.toString()),
    signal: undefined,
  });
  const text = await readText(answer, 65_536);
  if (answer.status !== 200) {
    const isRefusal = answer.status >= 400 && answer.status < 500 &&
      answer.status !== 429;
    throw new GcsAuthError(
      isRefusal ? "denied" : "unavailable",
      `${account.tokenUri} says HTTP ${answer.status}: ${text.slice(0, 300)}` +
        // Google's only words for it are about the claims that our clock made.
        (/\biat\b.*\bexp\b/.test(text) ? "; is this machine's clock right?" : ""),
    );
  }
  const fields = tokenFields(text);
  if (fields === null) {
    const what = `${account.tokenUri} answers with something that is no token`;
    throw new GcsAuthError("unavailable", what);
  }
  const lifeMs = Number(fields.expires_in ?? 3_600) * 1_000;
  return { token: fields.access_token, endMs: clock.nowMs() + lifeMs };
}

function tokenFields(
  text: string,
): { readonly access_token: string; readonly expires_in?: number } | null {
  try {
    const fields = JSON.parse(text);
    return typeof fields?.access_token === "string" ? fields : null;
  } catch {
    return null;
  }
}

function signedJwt(account: ServiceAccount, nowSeconds: number): string {
  const encoded = (fields: object): string =>
    Buffer.from(JSON.stringify(fields)).toString("base64url");
  const text = `${encoded({ alg: "RS256", typ: "JWT" })}.${
    encoded({
      iss: account.email,
      scope: SCOPE,
      aud: account.tokenUri,
      iat: nowSeconds,
      exp: nowSeconds + 3_600,
    })
  }`;
  try {
    const signature = createSign("RSA-SHA256").update(text).sign(account.privateKey);
    return `${text}.${signature.toString("base64url")}`;
  } catch (cause) {
    throw new GcsAuthError("denied", `private_key cannot sign: ${cause}`, { cause });
  }
}

/** As far as the library's errors tell. */
interface LibraryError extends Error {
  readonly response?: { readonly status?: number };
}

function openLibraryExchange(file: string | null, tools: TokenTools): Exchange {
  const keyFile = file === null ? {} : { keyFile: file };
  const auth = new GoogleAuth({ scopes: SCOPE, ...keyFile });
  return {
    async exchange(): Promise<{ token: string; endMs: number }> {
      try {
        const token = await auth.getAccessToken();
        if (token === null || token === undefined) throw new Error("there is no token");
        // The library keeps and renews it by itself; it is asked again soon.
        return { token, endMs: tools.clock.nowMs() + RENEW_BEFORE_MS + 60_000 };
      } catch (cause) {
        const { response, message } = cause as LibraryError;
        const isRefusal = (response?.status ?? 500) < 500 ||
          /could not load the default credentials/i.test(message);
        throw new GcsAuthError(isRefusal ? "denied" : "unavailable", message, { cause });
      }
    },
    close(): void {},
  };
}
