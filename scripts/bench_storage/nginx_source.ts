/**
 * nginx as a fast source of objects: it gives files of a directory with sendfile(2), as
 * answers to the GET and HEAD of S3, and asks nobody for a signature. Its listings are empty.
 *
 * @module
 */

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
  options: NginxSourceOptions,
): Promise<NginxSource> {
  // A port may be taken between our look and its bind: then it ends at once.
  for (let attempt = 1;; attempt++) {
    const source = await tryStart(options, freePort());
    if (source !== null) return source;
    if (attempt === 3) {
      throw new Error(`nginx does not start; see ${options.work}/error.log`);
    }
  }
}

function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return port;
}

async function tryStart(
  options: NginxSourceOptions,
  port: number,
): Promise<NginxSource | null> {
  const { work } = options;
  await Deno.mkdir(work, { recursive: true });
  await Deno.writeTextFile(`${work}/nginx.conf`, configuration(options, port));
  const child = new Deno.Command("nginx", {
    args: ["-e", `${work}/error.log`, "-c", `${work}/nginx.conf`],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  let hasEnded = false;
  const ended = child.status.then(() => hasEnded = true);
  const endpoint = `http://127.0.0.1:${port}`;
  while (!hasEnded) {
    try {
      await (await fetch(`${endpoint}/b`)).body?.cancel();
      break;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  if (hasEnded) return null;
  return {
    endpoint,
    async close(): Promise<void> {
      child.kill("SIGTERM");
      await ended;
    },
  };
}

function configuration(
  { root, work, hash }: NginxSourceOptions,
  port: number,
): string {
  return `
daemon off;
# Who runs this may be the only user that can enter the tree.
user root;
worker_processes 1;
pid ${work}/nginx.pid;
events { worker_connections 512; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  client_body_temp_path ${work}/body;
  proxy_temp_path ${work}/proxy;
  fastcgi_temp_path ${work}/fastcgi;
  uwsgi_temp_path ${work}/uwsgi;
  scgi_temp_path ${work}/scgi;
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
  }
}
`;
}
