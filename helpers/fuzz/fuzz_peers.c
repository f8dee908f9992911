/*
 * fuzz_peers.c - the whole gate but its main loop, with peers of three users who send any bytes in
 * any order: on shim.sock in pieces, on access.sock with any control messages. By real sockets, so
 * that the credentials are the kernel's.
 *
 * What must hold: the daemon hears of nobody who is not allowed, and such a peer reads nothing but
 * DENIED; every line for the daemon is one JSON object in ASCII; no descriptor stays open, none
 * that a sender attached is taken.
 *
 * Needs root, for the users, and an IPC namespace of its own: shared segments of others on the
 * machine would else be attached by a number that happens to be theirs.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../gate/gate.h"
#include "../gate/table.h"

#define MUST(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

#define CLIENTS_MAX 6
#define STEPS_MAX 48
#define FOREIGN_UID 4321

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

static struct gate gate = {
    .requests_max = 2, /* so that some are queued */
    .line_timeout_ms = 5000,
    .allowed = {0, 1234},
    .allowed_count = 2,
    .buffers.count_max = 4,
};
static const uid_t users[] = {0, 1234, FOREIGN_UID};
static char directory[] = "/tmp/p4cache-fuzz.XXXXXX";
static struct sockaddr_un shim_name = {.sun_family = AF_UNIX};
static struct sockaddr_un access_name = {.sun_family = AF_UNIX};
static int clients[CLIENTS_MAX];
static uid_t client_uid[CLIENTS_MAX];
static int null_fd;

static void remove_directory(void) {
    unlink(shim_name.sun_path);
    unlink(access_name.sun_path);
    rmdir(directory);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    MUST(geteuid() == 0 && unshare(CLONE_NEWIPC) == 0 && mkdtemp(directory) != NULL);
    MUST(chmod(directory, 0755) == 0);
    snprintf(shim_name.sun_path, sizeof shim_name.sun_path, "%s/shim.sock", directory);
    snprintf(access_name.sun_path, sizeof access_name.sun_path, "%s/access.sock", directory);
    gate.inputs_fd = epoll_create1(EPOLL_CLOEXEC);
    listener_open(&gate.shim, SOCK_STREAM, shim_name.sun_path, 0666);
    listener_open(&gate.access, SOCK_DGRAM, access_name.sun_path, 0666);
    table_open(&gate);
    table_watch(&gate, EPOLL_CTL_ADD, gate.access.fd, GATE_ID_ACCESS, EPOLLIN);
    event_buffers_open(&gate);
    null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    memset(clients, -1, sizeof clients);
    atexit(remove_directory);
    return 0;
}

/* ---- what the daemon hears ---------------------------------------------------------- */

static void check_line(const char *line, size_t bytes) {
    char foreign[16];
    const int n = snprintf(foreign, sizeof foreign, "\"uid\":%d,", FOREIGN_UID);
    MUST(bytes > 8 && memcmp(line, "{\"t\":\"", 6) == 0 && line[bytes - 1] == '}');
    for (size_t i = 0; i < bytes; i++) {
        MUST(line[i] >= 0x20 && line[i] <= 0x7e);
    }
    /* The path cannot hold it: its quotes are escaped. */
    MUST(memmem(line, bytes, foreign, (size_t)n) == NULL);
}

static void check_output(void) {
    if (output_pending(&gate.out) == 0) {
        return;
    }
    const char *at = gate.out.bytes + gate.out.start;
    const char *end = gate.out.bytes + gate.out.end;
    while (at < end) {
        const char *line_feed = memchr(at, '\n', (size_t)(end - at));
        MUST(line_feed != NULL);
        check_line(at, (size_t)(line_feed - at));
        at = line_feed + 1;
    }
    gate.out.start = gate.out.end;
}

/* ---- what peers do ------------------------------------------------------------------ */

struct script {
    const unsigned char *at;
    const unsigned char *end;
};

static unsigned take(struct script *s) { return s->at < s->end ? *s->at++ : 0; }

static size_t take_bytes(struct script *s, const unsigned char **bytes) {
    size_t count = take(s);
    count |= (size_t)(take(s) & 31) << 8;
    const size_t left = (size_t)(s->end - s->at);
    count = count < left ? count : left;
    *bytes = s->at;
    s->at += count;
    return count;
}

static void run_gate(void) {
    struct epoll_event events[16];
    int count;
    for (int round = 0; round < 8 &&
                        (count = epoll_wait(gate.inputs_fd, events, 16, 0)) > 0;
         round++) {
        for (int i = 0; i < count; i++) {
            if (events[i].data.u64 == GATE_ID_ACCESS) {
                access_receive(&gate);
            } else if (events[i].data.u64 == GATE_ID_TICK) {
                event_buffers_tick(&gate);
            } else {
                connections_event(&gate, events[i].data.u64, events[i].events);
            }
        }
        connections_dispatch(&gate);
    }
    check_output();
}

static void read_answer(unsigned i, bool must_be_denied) {
    char reply[8192];
    const ssize_t n = recv(clients[i], reply, sizeof reply - 1, MSG_DONTWAIT);
    if (n > 0 && must_be_denied) {
        MUST(n > 11 && memcmp(reply, "ERR DENIED ", 11) == 0);
    }
}

static void hang_up(unsigned i) {
    if (clients[i] >= 0) {
        read_answer(i, client_uid[i] == FOREIGN_UID);
        close(clients[i]);
        clients[i] = -1;
    }
}

static void call(unsigned i, uid_t uid) {
    hang_up(i);
    MUST(seteuid(uid) == 0);
    clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    client_uid[i] = uid;
    const int rc = connect(clients[i], (struct sockaddr *)&shim_name, sizeof shim_name);
    MUST(seteuid(0) == 0);
    if (rc != 0) { /* the backlog is full while the gate is */
        close(clients[i]);
        clients[i] = -1;
    }
}

/* A datagram with what `kind` says: a descriptor attached, credentials made up. */
static void send_datagram(unsigned kind, uid_t uid, const unsigned char *data, size_t bytes) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
    } control = {0};
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
    struct msghdr message = {.msg_name = &access_name, .msg_namelen = sizeof access_name,
                             .msg_iov = &part, .msg_iovlen = 1};
    size_t used = 0;
    if ((kind & 1) != 0) {
        struct cmsghdr *c = (struct cmsghdr *)(void *)control.room;
        *c = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET,
                              .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(c), &null_fd, sizeof null_fd);
        used = CMSG_SPACE(sizeof(int));
    }
    if ((kind & 2) != 0) { /* as another user: only root may */
        struct cmsghdr *c = (struct cmsghdr *)(void *)(control.room + used);
        const struct ucred made_up = {.pid = getpid(), .uid = uid, .gid = uid};
        *c = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof made_up), .cmsg_level = SOL_SOCKET,
                              .cmsg_type = SCM_CREDENTIALS};
        memcpy(CMSG_DATA(c), &made_up, sizeof made_up);
        used += CMSG_SPACE(sizeof made_up);
    }
    message.msg_control = used > 0 ? control.room : NULL;
    message.msg_controllen = used;
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if ((kind & 2) == 0) { /* the kernel's word, of whoever really sends: real UID there */
        MUST(setresuid(uid, uid, 0) == 0);
    }
    sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if ((kind & 2) == 0) {
        MUST(setresuid(0, 0, 0) == 0);
    }
    close(fd);
}

/* What the daemon answers: to a request that is there, to one that never was, too early. */
static void answer(struct script *s) {
    static struct command command;
    const unsigned char *text;
    command.kind = take(s) % 2 == 0 ? COMMAND_LAST : COMMAND_LINE;
    command.id = gate.connections[take(s) % gate.slots].id + (take(s) % 8 == 7 ? 65536 : 0);
    command.reply_bytes = take_bytes(s, &text);
    if (command.reply_bytes >= sizeof command.reply) {
        command.reply_bytes = sizeof command.reply - 1;
    }
    memcpy(command.reply, text, command.reply_bytes);
    connections_reply(&gate, &command);
}

static void step(struct script *s) {
    const unsigned what = take(s);
    const unsigned who = (what >> 3) % CLIENTS_MAX;
    const uid_t uid = users[take(s) % 3];
    const unsigned char *bytes;
    switch (what & 7) {
    case 0:
    case 1: {
        call(who, uid);
        const size_t count = take_bytes(s, &bytes);
        if (clients[who] >= 0) {
            send(clients[who], bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL);
        }
        break;
    }
    case 2: {
        const size_t count = take_bytes(s, &bytes);
        if (clients[who] >= 0) {
            send(clients[who], bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL);
        }
        break;
    }
    case 3:
        if (clients[who] >= 0) {
            shutdown(clients[who], SHUT_WR);
        }
        break;
    case 4:
        hang_up(who);
        break;
    case 5: {
        const size_t count = take_bytes(s, &bytes);
        send_datagram(what >> 3, uid, bytes, count);
        break;
    }
    case 6:
        answer(s);
        break;
    default:
        connections_sweep(&gate);
        break;
    }
}

/* Every peer leaves, and the daemon answers what it was asked: nothing may be left. */
static void end_all(int lowest_free) {
    for (unsigned i = 0; i < CLIENTS_MAX; i++) {
        hang_up(i);
    }
    for (int round = 0; round < 4; round++) {
        run_gate();
    }
    for (uint32_t i = 0; i < gate.slots; i++) {
        static struct command last = {.kind = COMMAND_LAST};
        last.id = gate.connections[i].id;
        if (gate.connections[i].state == GONE) {
            connections_reply(&gate, &last);
        }
    }
    run_gate();
    for (uint32_t i = 0; i < gate.slots; i++) {
        MUST(gate.connections[i].state == FREE);
    }
    MUST(gate.active == 0 && gate.waiting == 0 && gate.timed == 0 && gate.turned_away == 0);
    for (uint32_t i = 0; i < USERS_MAX; i++) {
        const struct user *user = &gate.users[i];
        MUST(user->connections == 0 && user->active == 0 && user->waiting == 0);
        MUST(user->queue_first == NO_SLOT && user->queue_last == NO_SLOT);
    }
    const int now_free = dup(null_fd);
    MUST(now_free == lowest_free);
    close(now_free);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes) {
    struct script script = {data, data + bytes};
    const int lowest_free = dup(null_fd);
    close(lowest_free);
    for (int i = 0; i < STEPS_MAX && script.at < script.end; i++) {
        step(&script);
        run_gate();
    }
    end_all(lowest_free);
    return 0;
}
