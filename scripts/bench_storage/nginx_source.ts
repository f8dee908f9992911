/**
 * nginx as a fast source of objects: it gives files of a directory with sendfile(2), as
 * answers to the GET and HEAD of S3, and asks nobody for a signature.
 *
 * @module
 */

export interface NginxSource {
  /** `http://127.0.0.1:port`; `/bucket/key` is the file of that name below the root. */
  readonly endpoint: string;
  close(): Promise<void>;
}

/** @param root Directory that holds the buckets. @param work For its own files. */
export async function startNginxSource(root: string, work: string): Promise<NginxSource> {
  // A port may be taken between our look and its bind: then it ends at once.
  for (let attempt = 1;; attempt++) {
    const source = await tryStart(root, work, freePort());
    if (source !== null) return source;
    if (attempt === 3) throw new Error(`nginx does not start; see ${work}/error.log`);
  }
}

function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return port;
}

async function tryStart(
  root: string,
  work: string,
  port: number,
): Promise<NginxSource | null> {
  await Deno.mkdir(work, { recursive: true });
  await Deno.writeTextFile(`${work}/nginx.conf`, configuration(root, work, port));
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
      await (await fetch(endpoint)).body?.cancel();
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

function configuration(root: string, work: string, port: number): string {
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
  }
}
`;
}
