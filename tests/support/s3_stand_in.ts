/**
 * A stand-in for what no S3 server that can be installed here has: archive classes, and
 * faults in the middle of an answer. Written from Amazon's public API reference; it knows one
 * bucket, addressed by path, believes every signature, and keeps all in memory.
 *
 * @module
 */

import { createHash } from "node:crypto";

export interface StandInObject {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** `x-amz-meta-...` */
  readonly metadata: Readonly<Record<string, string>>;
  storageClass: string;
  /** Value of x-amz-restore; null for none. */
  restore: string | null;
}

export interface StandInRequest {
  readonly method: string;
  /** Below the bucket; "" for the bucket itself. */
  readonly key: string;
  readonly query: URLSearchParams;
  readonly headers: Headers;
  readonly body: string;
}

export interface S3StandIn extends AsyncDisposable {
  readonly endpoint: string;
  readonly objects: Map<string, StandInObject>;
  readonly requests: StandInRequest[];
  /** Answers in place of the server where it answers something. */
  intercept: ((request: StandInRequest) => Response | null) | null;
  /** As if a lifecycle rule had moved every object whose key has `part`. */
  archive(part: string, storageClass: string): void;
  /** Every retrieval that was asked for ends. */
  finishRetrievals(): void;
}

const ARCHIVES = ["GLACIER", "DEEP_ARCHIVE"];
const DATE = "Thu, 02 Jan 2025 03:04:05 GMT";
const EXPIRES = "Fri, 10 Jan 2025 00:00:00 GMT";

/** An error as S3 answers it. */
export function s3ErrorAnswer(
  status: number,
  code: string,
  message: string,
  headers: Record<string, string> = {},
): Response {
  const xml = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code>` +
    `<Message>${message}</Message><RequestId>4442587FB7D0A2F9</RequestId>` +
    `<HostId>vjbyPxybdZaNmGa+yT272YEAiv4=</HostId></Error>`;
  return new Response(xml, {
    status,
    headers: { "content-type": "application/xml", date: DATE, ...headers },
  });
}

export function startS3StandIn(bucket: string): S3StandIn {
  const store = new Store(bucket);
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: (): void => {} },
    (request) => store.answer(request),
  );
  return Object.assign(store, {
    endpoint: `http://127.0.0.1:${server.addr.port}`,
    [Symbol.asyncDispose]: () => server.shutdown(),
  });
}

class Store {
  readonly objects = new Map<string, StandInObject>();
  readonly requests: StandInRequest[] = [];
  intercept: S3StandIn["intercept"] = null;
  readonly #bucket: string;

  constructor(bucket: string) {
    this.#bucket = bucket;
  }

  archive(part: string, storageClass: string): void {
    for (const [key, object] of this.objects) {
      if (!key.includes(part)) continue;
      object.storageClass = storageClass;
      object.restore = null;
    }
  }

  finishRetrievals(): void {
    for (const object of this.objects.values()) {
      if (object.restore === null) continue;
      object.restore = `ongoing-request="false", expiry-date="${EXPIRES}"`;
    }
  }

  async answer(request: Request): Promise<Response> {
    const { method, headers } = request;
    const url = new URL(request.url);
    const [, bucket = "", ...rest] = url.pathname.split("/");
    const key = decodeURIComponent(rest.join("/"));
    const bytes = new Uint8Array(await request.arrayBuffer());
    const body = new TextDecoder().decode(bytes);
    const asked = { method, key, query: url.searchParams, headers, body };
    this.requests.push(asked);
    const own = this.intercept?.(asked) ?? null;
    if (own !== null) return own;
    if (bucket !== this.#bucket) return s3ErrorAnswer(404, "NoSuchBucket", "none");
    if (key === "") return method === "HEAD" ? okay() : this.#list(asked.query);
    switch (method) {
      case "PUT":
        return this.#put(asked, bytes);
      case "DELETE":
        this.objects.delete(key);
        return new Response(null, { status: 204 });
      case "POST":
        return asked.query.has("restore") ? this.#restore(asked) : this.#unknown();
      default:
        return this.#get(asked);
    }
  }

  #unknown(): Response {
    return s3ErrorAnswer(501, "NotImplemented", "The stand-in does not know this");
  }

  #put(
    { key, headers, query }: StandInRequest,
    bytes: Uint8Array<ArrayBuffer>,
  ): Response {
    if (query.size > 0 && !query.has("x-id")) return this.#unknown();
    if (headers.get("if-none-match") === "*" && this.objects.has(key)) {
      return s3ErrorAnswer(412, "PreconditionFailed", "At least one did not hold");
    }
    const metadata = Object.fromEntries(
      [...headers].filter(([name]) => name.startsWith("x-amz-meta-")),
    );
    const storageClass = headers.get("x-amz-storage-class") ?? "STANDARD";
    this.objects.set(key, { bytes, metadata, storageClass, restore: null });
    return okay({ etag: etagOf(bytes) });
  }

  #get({ method, key, headers }: StandInRequest): Response {
    const object = this.objects.get(key);
    if (object === undefined) {
      return method === "HEAD"
        ? new Response(null, { status: 404 })
        : s3ErrorAnswer(404, "NoSuchKey", "The specified key does not exist.");
    }
    const { bytes, metadata, storageClass, restore } = object;
    const described = {
      etag: etagOf(bytes),
      "last-modified": DATE,
      ...metadata,
      ...(storageClass === "STANDARD" ? {} : { "x-amz-storage-class": storageClass }),
      ...(restore === null ? {} : { "x-amz-restore": restore }),
    };
    if (method === "HEAD") {
      return okay({ ...described, "content-length": String(bytes.length) });
    }
    if (ARCHIVES.includes(storageClass) && !(restore ?? "true").includes("false")) {
      const message = "The operation is not valid for the object's storage class";
      return s3ErrorAnswer(403, "InvalidObjectState", message);
    }
    const range = /^bytes=(\d+)-(\d+)$/.exec(headers.get("range") ?? "");
    if (range === null) return okay(described, bytes);
    const [from, to] = [Number(range[1]), Math.min(Number(range[2]) + 1, bytes.length)];
    const part = `bytes ${from}-${to - 1}/${bytes.length}`;
    const all = { ...described, "content-range": part, date: DATE };
    return new Response(bytes.subarray(from, to), { status: 206, headers: all });
  }

  #restore({ key, body }: StandInRequest): Response {
    const object = this.objects.get(key);
    if (object === undefined) return s3ErrorAnswer(404, "NoSuchKey", "none");
    if (!ARCHIVES.includes(object.storageClass)) {
      const message = "Restore is not allowed for the object's current storage class";
      return s3ErrorAnswer(403, "InvalidObjectState", message);
    }
    if (!/<Days>\d+<\/Days>/.test(body)) return s3ErrorAnswer(400, "MalformedXML", body);
    if (object.restore?.includes("true")) {
      const message = "Object restore is already in progress";
      return s3ErrorAnswer(409, "RestoreAlreadyInProgress", message);
    }
    const status = object.restore === null ? 202 : 200;
    object.restore ??= 'ongoing-request="true"';
    return new Response(null, { status, headers: { date: DATE } });
  }

  #list(query: URLSearchParams): Response {
    const prefix = query.get("prefix") ?? "";
    const contents = [...this.objects].filter(([key]) => key.startsWith(prefix))
      .map(([key, { bytes, storageClass }]) =>
        `<Contents><Key>${key}</Key><LastModified>2025-01-02T03:04:05.000Z</LastModified>` +
        `<ETag>&quot;${etagOf(bytes).slice(1, -1)}&quot;</ETag>` +
        `<Size>${bytes.length}</Size>` +
        `<StorageClass>${storageClass}</StorageClass></Contents>`
      );
    const xml = '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns=' +
      '"http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated>' +
      `${contents.join("")}</ListBucketResult>`;
    return okay({ "content-type": "application/xml" }, new TextEncoder().encode(xml));
  }
}

function okay(
  headers: Record<string, string> = {},
  body: Uint8Array<ArrayBuffer> | null = null,
): Response {
  return new Response(body, { status: 200, headers: { date: DATE, ...headers } });
}

function etagOf(bytes: Uint8Array): string {
  return `"${createHash("md5").update(bytes).digest("hex")}"`;
}
