/**
 * Peers of access.sock that announce buffers of their own making, in Python.
 *
 * @module
 */

const PEERS = `
import array, ctypes, os, random, socket, struct, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
libc.shmat.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
libc.shmdt.argtypes = (ctypes.c_void_p,)
libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
SIZE, HEAD, MAGIC = 32 * 1024, struct.Struct("=IIIIq"), 0x34655650
FREE, PROGRAM = 0, 1
IPC_CREAT, IPC_RMID, SHM_HUGETLB, SHM_NORESERVE, MADV_REMOVE = 0o1000, 0, 0o4000, 0o10000, 9
access = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
access.connect(sys.argv[1] + "/access.sock")

def checked(value):
    assert value is not None and value not in (-1, 2**64 - 1), os.strerror(ctypes.get_errno())
    return value

class Segment:
    def __init__(self, size=SIZE, flags=0):
        self.id = checked(libc.shmget(0, size, IPC_CREAT | 0o600 | flags))
        self.at = checked(libc.shmat(self.id, None, 0))
        self.memory = (ctypes.c_char * size).from_address(self.at)
        checked(libc.shmctl(self.id, IPC_RMID, None))

    def fill(self, path, lock=FREE, oldest_ms=0, size=None):
        line = b'{"pid":1,"op":"hostile","path":"%s"}\\n' % path.encode()
        self.memory[HEAD.size:HEAD.size + len(line)] = line
        size = len(line) if size is None else size
        # The lock last: what is not locked is drained.
        struct.pack_into("=I", self.memory, 4, PROGRAM)
        HEAD.pack_into(self.memory, 0, MAGIC, PROGRAM, size, 0, oldest_ms)
        struct.pack_into("=I", self.memory, 4, lock)
        return self

    def announce(self):
        access.send(b"P4CACHE/1 BUFFER %d\\n" % self.id)
        return self

def malformed():
    texts = ["", "\\n", "-1\\n", "+1\\n", " 1\\n", "1", "1 \\n", "1\\n\\n", "1\\n1\\n", "0x1\\n", "1\\0\\n",
             "2147483648\\n", "99999999999999999999\\n", "9" * 30000 + "\\n", "\\xff\\n"]
    for text in texts:
        access.send(b"P4CACHE/1 BUFFER " + text.encode("latin-1"))
    # With descriptors, as an older announcement had one.
    fds = array.array("i", [os.memfd_create("x"), os.open("/dev/zero", os.O_RDONLY)])
    access.sendmsg([b"P4CACHE/1 BUFFER x\\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
    access.send(b"P4CACHE/1 BUFFER 2147483647\\n")  # well formed: nothing of that number
    return len(texts) + 1

def sizes():
    wrong = [1, 4096, SIZE - 1, SIZE + 1, 2 * SIZE, 1 << 30]
    for size in wrong:
        keep.append(Segment(size).announce())
    return len(wrong)

def secret():
    keep.append(Segment().fill("secret"))
    return keep[0].id

def announce(segment):
    access.send(b"P4CACHE/1 BUFFER %s\\n" % segment.encode())
    return 1

def locked():
    keep.append(Segment().fill("locked", lock=PROGRAM).announce())

def punched():
    segment = Segment().fill("gone").announce()
    checked(libc.madvise(segment.at, SIZE, MADV_REMOVE))
    keep.append(segment.fill("punched"))

def future():
    keep.append(Segment().fill("future", oldest_ms=2**63 - 1).announce())

def past():
    keep.append(Segment().fill("past", oldest_ms=-2**63).announce())

def overlong():
    for size in (2**32 - 1, SIZE - HEAD.size + 1, 2**31):
        keep.append(Segment().fill("overlong", size=size).announce())
    keep.append(Segment().fill("overlong").announce())

def full(count):
    for i in range(int(count)):
        segment = Segment().fill(f"{i}", lock=PROGRAM, size=SIZE - HEAD.size)
        line = bytes(segment.memory[HEAD.size:]).split(b"\\n")[0] + b"\\n"
        rest = SIZE - HEAD.size - len(line)
        segment.memory[HEAD.size:] = line + b"\\xff" * (rest - 1) + b"\\n"
        struct.pack_into("=I", segment.memory, 4, FREE)
        keep.append(segment.announce())

def unreserved():
    try:
        keep.append(Segment(flags=SHM_HUGETLB | SHM_NORESERVE).announce())
    except AssertionError:
        return 0  # a kernel without huge pages
    return 1

def scribbler():
    segment = Segment().announce()
    seed = random.randrange(2**32)
    print("scribbler: seed", seed, file=sys.stderr)
    random.seed(seed)
    def scribble():
        while True:
            segment.memory[0:HEAD.size] = random.randbytes(HEAD.size)
            struct.pack_into("=II", segment.memory, 4, FREE, random.choice((7, SIZE - 24, 2**32 - 1)))
            if random.random() < 0.01:
                libc.madvise(segment.at, SIZE, MADV_REMOVE)
    threading.Thread(target=scribble, daemon=True).start()

def repeated():
    segment = Segment()
    for _ in range(1000):
        segment.announce()
    keep.append(segment)

def removed():
    for _ in range(500):
        libc.shmdt(Segment().announce().at)

def many(count):
    for _ in range(int(count)):
        keep.append(Segment().announce())

keep = []
print(globals()[sys.argv[2]](*sys.argv[3:]) or 0, flush=True)
sys.stdin.read()
os._exit(0)
`;

/** Plays one part, says a number, and stays until it is ended. */
export class HostilePeer implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #said: Promise<string>;

  constructor(program: string, args: readonly string[]) {
    this.#child = new Deno.Command(program, {
      args: [...args],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#said = readLine(this.#child.stdout);
  }

  /** What it said once it had done its part. */
  async number(): Promise<number> {
    const line = await this.#said;
    if (!/^\d+\n$/.test(line)) throw new Error(`the peer failed: "${line}"`);
    return Number(line);
  }

  async end(): Promise<void> {
    await this.#child.stdin.close().catch(() => {});
    await this.#said;
    await this.#child.status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}

async function readLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  let text = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    if (text.includes("\n")) break;
  }
  return text;
}

/** Root's peer: `part` is one of the functions of the script. */
export function hostile(
  directory: string,
  part: string,
  ...args: readonly string[]
): HostilePeer {
  return new HostilePeer("/usr/bin/python3", ["-c", PEERS, directory, part, ...args]);
}

export function hostileAs(
  uid: number,
  directory: string,
  part: string,
  ...args: readonly string[]
): HostilePeer {
  return new HostilePeer("setpriv", [
    ...[`--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"],
    ...["/usr/bin/python3", "-c", PEERS, directory, part, ...args],
  ]);
}
