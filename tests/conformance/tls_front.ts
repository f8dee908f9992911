/**
 * TLS in front of a server, with a certificate made for the test by openssl.
 *
 * @module
 */

export interface TestAuthority {
  /** PEM of the authority, for `ca_cert_path`. */
  readonly caPath: string;
  readonly certificatePath: string;
  readonly keyPath: string;
  readonly certificate: string;
  readonly key: string;
  remove(): Promise<void>;
}

/** An authority that nobody knows, and a certificate of it for `localhost` only. */
export async function createTestAuthority(): Promise<TestAuthority> {
  const directory = await Deno.makeTempDir({ prefix: "p4cache-tls-" });
  const openssl = async (...args: string[]): Promise<void> => {
    const command = new Deno.Command("openssl", {
      args,
      cwd: directory,
      stderr: "piped",
    });
    const { success, stderr } = await command.output();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
  };
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  await openssl(
    ...["req", "-x509", ...newKey, "-keyout", "ca.key", "-out", "ca.pem"],
    ...["-days", "2", "-subj", "/CN=p4-cache test authority"],
  );
  await openssl(
    ...["req", ...newKey, "-keyout", "key.pem", "-out", "request.pem"],
    ...["-subj", "/CN=localhost"],
  );
  await Deno.writeTextFile(`${directory}/extensions`, "subjectAltName=DNS:localhost\n");
  await openssl(
    ...["x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key"],
    ...["-days", "2", "-extfile", "extensions", "-out", "cert.pem", "-CAcreateserial"],
  );
  return {
    caPath: `${directory}/ca.pem`,
    certificatePath: `${directory}/cert.pem`,
    keyPath: `${directory}/key.pem`,
    certificate: await Deno.readTextFile(`${directory}/cert.pem`),
    key: await Deno.readTextFile(`${directory}/key.pem`),
    remove: () => Deno.remove(directory, { recursive: true }),
  };
}

export interface TlsFront {
  readonly port: number;
  close(): Promise<void>;
}

/** Takes TLS connections, and hands each to `serve` until the front is closed. */
export function startTlsFront(
  authority: TestAuthority,
  serve: (connection: Deno.TlsConn) => Promise<void>,
): TlsFront {
  const listener = Deno.listenTls({
    hostname: "127.0.0.1",
    port: 0,
    cert: authority.certificate,
    key: authority.key,
  });
  const { port } = listener.addr;
  const open = new Set<Promise<void>>();
  const accepting = (async (): Promise<void> => {
    for await (const connection of listener) {
      // A client that does not trust us breaks off in the handshake.
      const served = serve(connection).catch(() => {}).finally(() => {
        try {
          connection.close();
        } catch { /* closed by serve() */ }
        open.delete(served);
      });
      open.add(served);
    }
  })().catch(() => {});
  return {
    port,
    async close(): Promise<void> {
      listener.close();
      await accepting;
      await Promise.all(open);
    },
  };
}

/** Passes a connection's bytes on to a server and back. */
export async function pipeTo(
  connection: Deno.TlsConn,
  hostname: string,
  port: number,
): Promise<void> {
  const server = await Deno.connect({ hostname, port });
  await Promise.all([
    connection.readable.pipeTo(server.writable),
    server.readable.pipeTo(connection.writable),
  ]);
}
