/*
 * client.c - one request to the daemon on a connection of its own.
 *
 * The host may close every descriptor between any two of our calls (closefrom, a daemon that
 * starts) and open its database under our number. So the socket lives only within one request,
 * high above what the host counts on, is compared with its identity before each use, is used by
 * send and recv alone (they fail on a file), and is closed only when it is still ours.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "shim.h"
#include "socket.h"
#include "sys.h"

#define CONNECT_TIMEOUT_S 2 /* a full backlog; an absent daemon is told at once */
#define FD_FLOOR 512        /* select() programs and the usual low numbers stay clear */
#define IN_FLIGHT_MAX 64

/* Sockets of other threads, for a child that is forked meanwhile. A full table means only that
 * such a child keeps a copy of a descriptor until it execs. Sockets alone: no other open file has
 * the inode of one, so the child can close nothing else by it. */
static struct p4shim_fd in_flight[IN_FLIGHT_MAX];
static atomic_int in_flight_state[IN_FLIGHT_MAX]; /* 0 free, 1 being filled, 2 valid */

static int remember(const struct p4shim_fd *own) {
    for (int i = 0; i < IN_FLIGHT_MAX; i++) {
        int free_slot = 0;
        if (atomic_compare_exchange_strong(&in_flight_state[i], &free_slot, 1)) {
            in_flight[i] = *own;
            atomic_store(&in_flight_state[i], 2);
            return i;
        }
    }
    return -1;
}

static void forget(int slot) { /* keeps errno */
    if (slot >= 0) {
        atomic_store(&in_flight_state[slot], 0);
    }
}

void p4shim_client_forked(void) {
    for (int i = 0; i < IN_FLIGHT_MAX; i++) {
        if (atomic_load(&in_flight_state[i]) == 2) {
            p4shim_close(&in_flight[i]);
        }
        atomic_store(&in_flight_state[i], 0);
    }
}

/* Fills in the address; a name too long for it is reached through its directory. */
static bool address_of(const char *path, struct sockaddr_un *address, struct p4shim_fd *via) {
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    via->fd = -1;
    const size_t bytes = strlen(path);
    if (bytes < sizeof address->sun_path) {
        memcpy(address->sun_path, path, bytes + 1);
        return true;
    }
    const char *slash = strrchr(path, '/');
    struct p4shim_scratch *s = p4shim_scratch_take();
    if (s == NULL) {
        return false;
    }
    memcpy(s->text, path, (size_t)(slash - path)); /* of a fresh mapping: zeroes follow */
    via->fd = sys_openat(AT_FDCWD, s->text, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    p4shim_scratch_release(s);
    if (via->fd < 0 || !p4shim_own(via, P4SHIM_PATH)) {
        return false;
    }
    char link[P4SHIM_FD_LINK_MAX];
    p4shim_fd_link(link, via->fd);
    const size_t link_bytes = strlen(link);
    const size_t name_bytes = strlen(slash);
    if (link_bytes + name_bytes >= sizeof address->sun_path) {
        p4shim_close(via);
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(address->sun_path, link, link_bytes);
    memcpy(address->sun_path + link_bytes, slash, name_bytes + 1);
    return true;
}

void p4shim_socket_end(const struct p4shim_fd *own) {
    p4shim_close(own);
    forget(own->slot);
}

bool p4shim_socket(int type, const char *path, struct p4shim_fd *own,
                   struct sockaddr_un *address, struct p4shim_fd *via) {
    own->fd = (int)p4shim_syscall(SYS_socket, AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (own->fd < 0 || !p4shim_own(own, P4SHIM_SOCKET)) {
        return false;
    }
    struct p4shim_fd high = *own;
    high.fd = (int)p4shim_syscall(SYS_fcntl, own->fd, F_DUPFD_CLOEXEC, FD_FLOOR);
    if (high.fd >= 0) {
        p4shim_close(own);
        *own = high;
    }
    own->slot = remember(own);
    if (!address_of(path, address, via)) {
        p4shim_socket_end(own);
        return false;
    }
    return true;
}

/* A connected stream to the daemon; or false with errno. */
static bool reach(struct p4shim_fd *own) {
    struct sockaddr_un address;
    struct p4shim_fd via;
    if (!p4shim_socket(SOCK_STREAM, p4shim_config.shim_sock, own, &address, &via)) {
        return false;
    }
    const struct timeval limit = {CONNECT_TIMEOUT_S, 0};
    p4shim_syscall(SYS_setsockopt, own->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    const int64_t end_ms = p4shim_now_ms(CLOCK_MONOTONIC) + (int64_t)CONNECT_TIMEOUT_S * 1000;
    bool is_interrupted; /* by a signal: the limit begins anew with each call */
    long rc;
    do {
        rc = p4shim_syscall(SYS_connect, own->fd, &address, sizeof address);
        is_interrupted = rc != 0 && errno == EINTR;
    } while (is_interrupted && p4shim_now_ms(CLOCK_MONOTONIC) < end_ms && p4shim_is_ours(own));
    if (is_interrupted && errno == EINTR) {
        errno = EAGAIN;
    }
    if (via.fd >= 0) {
        p4shim_close(&via);
    }
    if (rc != 0) {
        p4shim_socket_end(own);
        return false;
    }
    return true;
}

static size_t put(char *out, size_t at, const char *text, size_t bytes) {
    memcpy(out + at, text, bytes);
    return at + bytes;
}

/* "P4CACHE/1 <verb> <path>\n" to s->line; 0 when it does not fit, or would be two lines. */
static size_t compose(struct p4shim_scratch *s, const char *verb) {
    static const char version[] = "P4CACHE/1 ";
    const size_t verb_bytes = strlen(verb);
    if (sizeof version + verb_bytes + 1 + s->rel_bytes + 1 > sizeof s->line ||
        memchr(s->rel, '\n', s->rel_bytes) != NULL) {
        return 0;
    }
    size_t n = put(s->line, 0, version, sizeof version - 1);
    n = put(s->line, n, verb, verb_bytes);
    s->line[n++] = ' ';
    n = put(s->line, n, s->rel, s->rel_bytes);
    s->line[n++] = '\n';
    return n;
}

static bool send_line(const struct p4shim_fd *own, const char *line, size_t bytes) {
    size_t sent = 0;
    while (sent < bytes) {
        if (!p4shim_is_ours(own)) {
            return false;
        }
        const long n = p4shim_syscall(SYS_sendto, own->fd, line + sent, bytes - sent,
                                      MSG_NOSIGNAL, NULL, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        sent += (size_t)n;
    }
    return true;
}

enum wait_result { READABLE, TIMED_OUT, LOST };

static enum wait_result wait_readable(const struct p4shim_fd *own, int64_t deadline_ms) {
    for (;;) {
        const int64_t left = deadline_ms - p4shim_now_ms(CLOCK_MONOTONIC);
        if (left <= 0) {
            return TIMED_OUT;
        }
        const struct timespec limit = {left / 1000, (left % 1000) * 1000000};
        struct pollfd poll = {.fd = own->fd, .events = POLLIN};
        const long n = p4shim_syscall(SYS_ppoll, &poll, 1, &limit, NULL, 0);
        if (n > 0) {
            return poll.revents & POLLNVAL ? LOST : READABLE;
        }
        if (n < 0 && errno != EINTR) {
            return LOST;
        }
    }
}

/* Reads lines until the last one. */
static enum p4shim_contact converse(struct p4shim_scratch *s, const struct p4shim_fd *own,
                                    int64_t silence_ms, struct p4shim_exchange *x) {
    size_t have = 0;
    int64_t deadline_ms = p4shim_now_ms(CLOCK_MONOTONIC) + silence_ms;
    for (;;) {
        const enum wait_result waited = wait_readable(own, deadline_ms);
        if (waited != READABLE || !p4shim_is_ours(own)) {
            return waited == TIMED_OUT ? P4SHIM_SILENT : P4SHIM_UNREACHABLE;
        }
        const long n = p4shim_syscall(SYS_recvfrom, own->fd, s->reply + have,
                                      sizeof s->reply - have, MSG_DONTWAIT, NULL, NULL);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
            continue;
        }
        if (n <= 0) {
            return P4SHIM_UNREACHABLE; /* gate or daemon ended before the answer */
        }
        have += (size_t)n;
        char *end;
        while ((end = memchr(s->reply, '\n', have)) != NULL) {
            const size_t line_bytes = (size_t)(end - s->reply);
            if (!p4shim_parse_reply(s->reply, line_bytes, &x->reply)) {
                return P4SHIM_SILENT;
            }
            if (x->reply.kind != P4SHIM_WAIT) {
                return P4SHIM_ANSWERED;
            }
            x->made_progress = true;
            deadline_ms = p4shim_now_ms(CLOCK_MONOTONIC) + silence_ms;
            have -= line_bytes + 1;
            memmove(s->reply, end + 1, have);
        }
        if (have == sizeof s->reply) {
            return P4SHIM_SILENT;
        }
    }
}

static enum p4shim_contact contact_of_errno(int error) {
    switch (error) {
    case EACCES:
    case EPERM:
        return P4SHIM_FORBIDDEN;
    case ENOENT:
    case ENOTDIR:
    case ECONNREFUSED:
    case ECONNRESET:
    case EAGAIN:   /* the backlog stayed full */
    case EBADF:    /* the host closed our socket */
    case ENOTSOCK: /* and opened a file under its number */
        return P4SHIM_UNREACHABLE;
    default:
        return P4SHIM_HELPLESS;
    }
}

enum p4shim_contact p4shim_ask(struct p4shim_scratch *s, const char *verb,
                               int64_t silence_ms, struct p4shim_exchange *x) {
    const size_t bytes = compose(s, verb);
    x->was_connected = false;
    x->made_progress = false;
    if (bytes == 0) {
        errno = EINVAL;
        return P4SHIM_HELPLESS;
    }
    struct p4shim_fd own;
    if (!reach(&own)) {
        x->was_connected = errno == EAGAIN; /* or would be: somebody listens */
        return contact_of_errno(errno);
    }
    x->was_connected = true;
    const enum p4shim_contact contact = send_line(&own, s->line, bytes)
                                            ? converse(s, &own, silence_ms, x)
                                            : P4SHIM_UNREACHABLE;
    p4shim_socket_end(&own);
    return contact;
}
