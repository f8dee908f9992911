/**
 * nginx as a fast source of objects: it gives files of a directory with sendfile(2), as
 * answers to the GET and HEAD of S3, and asks nobody for a signature. Its listings are empty.
 *
 * @module
 */

import { startNginx } from "../../tests/support/nginx.ts";

export interface NginxSource {
  /** `http://127.0.0.1:port`; `/b/key` is the file of that name below the root. */
  readonly endpoint: string;
  close(): Promise<void>;
}

export interface NginxSourceOptions {
  /** Directory that holds the bucket's directory `b`. */
  readonly root: string;
  /** Directory for its own files. */
  readonly work: string;
  /** BLAKE3 in hex, said of every object. */
  readonly hash: string;
}

export async function startNginxSource(
  { root, work, hash }: NginxSourceOptions,
): Promise<NginxSource> {
  const nginx = await startNginx({
    work,
    portCount: 1,
    http: ([port]) => `
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  default_type application/octet-stream;
  server {
    listen 127.0.0.1:${port};
    root ${root};
    error_page 404 = @absent;
    add_header x-amz-request-id 1 always;
    add_header x-amz-meta-p4cache-hash ${hash};
    location = /b { return 200; }
    location = /b/ {
      default_type application/xml;
      return 200 '<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>';
    }
    location @absent {
      default_type application/xml;
      return 404 '<Error><Code>NoSuchKey</Code></Error>';
    }
  }`,
  });
  return { endpoint: `http://127.0.0.1:${nginx.ports[0]}`, close: () => nginx.close() };
}
