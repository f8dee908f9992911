/**
 * nginx for a test or a benchmark: one process with its files in a directory of its own, at
 * free ports of the loopback.
 *
 * @module
 */

export interface Nginx {
  readonly ports: readonly number[];
  /** Of the master. */
  readonly pid: number;
  close(): Promise<void>;
}

export interface NginxOptions {
  /** Directory for its own files; made if absent. */
  readonly work: string;
  readonly portCount: number;
  /** What stands in the http block, for these ports. */
  readonly http: (ports: readonly number[]) => string;
}

export async function startNginx(options: NginxOptions): Promise<Nginx> {
  // A port may be taken between our look and its bind: then it ends at once.
  for (let attempt = 1;; attempt++) {
    const nginx = await tryStart(options);
    if (nginx !== null) return nginx;
    if (attempt < 3) continue;
    const log = await Deno.readTextFile(`${options.work}/error.log`);
    throw new Error(`nginx does not start: ${log}`);
  }
}

function freePorts(count: number): number[] {
  const listeners = Array.from(
    { length: count },
    () => Deno.listen({ hostname: "127.0.0.1", port: 0 }),
  );
  return listeners.map((listener) => {
    listener.close();
    return listener.addr.port;
  });
}

async function tryStart(options: NginxOptions): Promise<Nginx | null> {
  const { work, portCount, http } = options;
  const ports = freePorts(portCount);
  await Deno.mkdir(work, { recursive: true });
  await Deno.writeTextFile(`${work}/nginx.conf`, configuration(work, http(ports)));
  const child = new Deno.Command("nginx", {
    args: ["-e", `${work}/error.log`, "-c", `${work}/nginx.conf`],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  let hasEnded = false;
  const ended = child.status.then(() => hasEnded = true);
  while (!hasEnded && !(await answers(ports[0]!))) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  if (hasEnded) return null;
  return {
    ports,
    pid: child.pid,
    async close(): Promise<void> {
      child.kill("SIGTERM");
      await ended;
    },
  };
}

async function answers(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch {
    return false;
  }
}

function configuration(work: string, http: string): string {
  return `
daemon off;
# Who runs this may be the only user that can enter the tree.
user root;
worker_processes 1;
pid ${work}/nginx.pid;
events { worker_connections 512; }
http {
  access_log off;
  client_body_temp_path ${work}/body;
  proxy_temp_path ${work}/proxy;
  fastcgi_temp_path ${work}/fastcgi;
  uwsgi_temp_path ${work}/uwsgi;
  scgi_temp_path ${work}/scgi;
${http}
}
`;
}
