/*
 * connections.c - the peers of shim.sock: accepted, authenticated, framed, answered.
 *
 * A peer is known by the uid that the kernel noted when it connected, never by its pid: a child
 * that inherits a connection keeps the parent's pid in it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gate.h"

#define SLOT_BITS 16
#define OTHER_DESCRIPTORS 16
#define ACCEPT_BATCH 64
#define DRAIN_BYTES_MAX ((size_t)64 * 1024)
/* The ids in epoll that are no connection's: a connection's begins at 1 << SLOT_BITS. */
#define ID_SHIM_LISTENER 0

static const char answer_denied[] = "ERR DENIED this user may not use the cache (shim_allowed_uids)\n";
static const char answer_bad[] = "ERR BADREQ not a request of P4CACHE/1\n";
static const char answer_reserved[] = "ERR RESERVED .p4cache is the daemon's own\n";

static uint32_t slots_for(uint32_t requests_max) {
    struct rlimit limit;
    uint64_t wanted = 2 * (uint64_t)requests_max;
    wanted = wanted > (UINT64_C(1) << SLOT_BITS) ? UINT64_C(1) << SLOT_BITS : wanted;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        output_fatal(errno, "Cannot ask for the limit of descriptors");
    }
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max <= OTHER_DESCRIPTORS) {
        output_fatal(EMFILE, "Cannot serve: the limit of descriptors is too low");
    }
    const uint64_t possible = limit.rlim_max - OTHER_DESCRIPTORS;
    return (uint32_t)(wanted < possible ? wanted : possible);
}

static void watch(const struct gate *gate, int operation, int fd, uint64_t id, uint32_t events) {
    struct epoll_event event = {.events = events, .data.u64 = id};
    if (epoll_ctl(gate->inputs_fd, operation, fd, &event) != 0) {
        output_fatal(errno, "Cannot watch a connection: %s", strerror(errno));
    }
}

void connections_open(struct gate *gate) {
    gate->slots = slots_for(gate->requests_max);
    gate->connections = calloc(gate->slots, sizeof *gate->connections);
    if (gate->connections == NULL) {
        output_fatal(ENOMEM, "Cannot hold %u connections", gate->slots);
    }
    for (uint32_t i = 0; i < gate->slots; i++) {
        gate->connections[i].id = i;
        gate->connections[i].next = i + 1 < gate->slots ? i + 1 : NO_SLOT;
    }
    gate->free_slot = 0;
    gate->queue_first = NO_SLOT;
    gate->queue_last = NO_SLOT;
    watch(gate, EPOLL_CTL_ADD, gate->shim.fd, ID_SHIM_LISTENER, EPOLLIN);
    gate->is_accepting = true;
}

static void set_accepting(struct gate *gate, bool accept) {
    if (gate->is_accepting != accept) {
        gate->is_accepting = accept;
        watch(gate, EPOLL_CTL_MOD, gate->shim.fd, ID_SHIM_LISTENER, accept ? EPOLLIN : 0);
    }
}

static struct connection *find(const struct gate *gate, uint64_t id) {
    const uint64_t slot = id & ((UINT64_C(1) << SLOT_BITS) - 1);
    struct connection *c = slot < gate->slots ? &gate->connections[slot] : NULL;
    return c != NULL && c->state != FREE && c->id == id ? c : NULL;
}

static bool has_deadline(enum connection_state state) { return state == READING || state == ANSWERED; }

/* The only place that changes a state, so that the counts are always those of the table. */
static void enter(struct gate *gate, struct connection *c, enum connection_state state) {
    gate->active += (uint32_t)(state == ACTIVE) - (uint32_t)(c->state == ACTIVE);
    gate->timed += (uint32_t)has_deadline(state) - (uint32_t)has_deadline(c->state);
    c->state = state;
    if (has_deadline(state)) {
        c->deadline_ms = gate_now_ms() + gate->line_timeout_ms;
    }
}

/* Unread bytes at close would reach the peer as a reset. What comes later is its own affair. */
static void drain(int fd) {
    char rest[4096];
    size_t drained = 0;
    ssize_t n;
    while (drained < DRAIN_BYTES_MAX && (n = recv(fd, rest, sizeof rest, MSG_DONTWAIT)) > 0) {
        drained += (size_t)n;
    }
}

static void hang_up(struct connection *c) {
    if (c->fd >= 0) {
        drain(c->fd);
        close(c->fd);
        c->fd = -1;
    }
}

static void release(struct gate *gate, struct connection *c) {
    const uint32_t slot = (uint32_t)(c - gate->connections);
    hang_up(c);
    gate->denied -= (uint32_t)c->is_denied;
    enter(gate, c, FREE);
    c->next = gate->free_slot;
    gate->free_slot = slot;
    set_accepting(gate, true);
}

/* ---- to the daemon ------------------------------------------------------------------ */

static void report_request(struct gate *gate, const struct connection *c) {
    struct output *out = &gate->out;
    output_text(out, "{\"t\":\"req\",\"id\":");
    output_number(out, (int64_t)c->id);
    output_text(out, ",\"op\":\"");
    output_text(out, c->request.op);
    output_text(out, "\",\"path\":");
    output_string(out, c->request.path, c->request.path_bytes);
    output_text(out, ",\"uid\":");
    output_number(out, c->peer.uid);
    output_text(out, ",\"gid\":");
    output_number(out, c->peer.gid);
    output_text(out, ",\"pid\":");
    output_number(out, c->peer.pid);
    output_text(out, "}\n");
}

static void report_gone(struct gate *gate, const struct connection *c) {
    output_text(&gate->out, "{\"t\":\"gone\",\"id\":");
    output_number(&gate->out, (int64_t)c->id);
    output_text(&gate->out, "}\n");
}

/* Hands queued requests to the daemon while it may have more. */
static void dispatch(struct gate *gate) {
    while (gate->queue_first != NO_SLOT && gate->active < gate->requests_max) {
        struct connection *c = &gate->connections[gate->queue_first];
        gate->queue_first = c->next;
        if (gate->queue_first == NO_SLOT) {
            gate->queue_last = NO_SLOT;
        }
        if (c->fd < 0 && strcmp(c->request.op, "DELETE") != 0) {
            release(gate, c); /* nobody waits for the bytes any more */
            continue;
        }
        report_request(gate, c);
        enter(gate, c, ACTIVE);
        if (c->fd < 0) {
            report_gone(gate, c);
            release(gate, c);
        }
    }
}

static void enqueue(struct gate *gate, struct connection *c) {
    const uint32_t slot = (uint32_t)(c - gate->connections);
    enter(gate, c, QUEUED);
    c->next = NO_SLOT;
    if (gate->queue_last == NO_SLOT) {
        gate->queue_first = slot;
    } else {
        gate->connections[gate->queue_last].next = slot;
    }
    gate->queue_last = slot;
    dispatch(gate);
}

/* ---- to the peer -------------------------------------------------------------------- */

/* Sends what the peer takes. False when it has left. */
static bool send_pending(struct connection *c) {
    while (c->out_start < c->out_end) {
        const ssize_t n = send(c->fd, c->out + c->out_start, c->out_end - c->out_start,
                               MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0) {
            c->out_start += (size_t)n;
        } else if (errno == EAGAIN) {
            return true;
        } else if (errno != EINTR) {
            return false;
        }
    }
    c->out_start = 0;
    c->out_end = 0;
    return true;
}

/* The last line: what the peer does not take now it may take until the deadline. */
static void answer(struct gate *gate, struct connection *c, const char *line, size_t bytes) {
    memcpy(c->out + c->out_end, line, bytes);
    c->out_end += bytes;
    enter(gate, c, ANSWERED);
    if (!send_pending(c) || c->out_end == 0) {
        release(gate, c);
    } else {
        watch(gate, EPOLL_CTL_MOD, c->fd, c->id, EPOLLOUT);
    }
}

/* A progress line that meets an earlier one still unsent is left out: the next says more. */
static void progress(struct connection *c, const char *line, size_t bytes) {
    if (c->out_end == 0) {
        memcpy(c->out, line, bytes);
        c->out_end = bytes;
        send_pending(c); /* a peer that has left is told by epoll */
    }
}

/* One line for the shim: whatever would end it early is replaced. */
static size_t framed(char *line, const struct command *command) {
    for (size_t i = 0; i < command->reply_bytes; i++) {
        const char c = command->reply[i];
        line[i] = (char)(c == '\n' || c == '\0' ? ' ' : c);
    }
    line[command->reply_bytes] = '\n';
    return command->reply_bytes + 1;
}

void connections_reply(struct gate *gate, const struct command *command) {
    char line[REPLY_LINE_BYTES_MAX];
    struct connection *c = find(gate, command->id);
    if (c == NULL || c->state != ACTIVE) {
        return; /* it left, and the daemon had not read so when it answered */
    }
    const size_t bytes = framed(line, command);
    if (command->kind == COMMAND_LINE) {
        progress(c, line, bytes);
        return;
    }
    answer(gate, c, line, bytes);
    dispatch(gate);
}

/* ---- from the peer ------------------------------------------------------------------ */

static void refuse(struct gate *gate, struct connection *c, const char *line, size_t bytes) {
    gate->counters[COUNT_BAD_REQUEST]++;
    answer(gate, c, line, bytes);
}

/* The line is complete; anything after it belongs to no protocol of ours. */
static void judge_line(struct gate *gate, struct connection *c, const char *line_feed) {
    const size_t bytes = (size_t)(line_feed - c->line);
    if (c->is_denied) {
        answer(gate, c, answer_denied, sizeof answer_denied - 1);
        return;
    }
    const enum request_verdict verdict = bytes + 1 == c->line_bytes
                                             ? request_parse(c->line, bytes, &c->request)
                                             : REQUEST_BAD;
    if (verdict == REQUEST_BAD) {
        refuse(gate, c, answer_bad, sizeof answer_bad - 1);
        return;
    }
    gate->counters[COUNT_LEGACY_UNPREFIXED] += c->request.is_legacy;
    if (verdict == REQUEST_RESERVED) {
        refuse(gate, c, answer_reserved, sizeof answer_reserved - 1);
        return;
    }
    watch(gate, EPOLL_CTL_MOD, c->fd, c->id, 0); /* from here only that it leaves */
    enqueue(gate, c);
}

/* The peer sent an end of file, or more than a line may have, before a line feed. */
static void judge_fragment(struct gate *gate, struct connection *c) {
    if (c->is_denied) {
        answer(gate, c, answer_denied, sizeof answer_denied - 1);
    } else if (c->line_bytes == 0) {
        release(gate, c); /* looked whether somebody listens */
    } else {
        refuse(gate, c, answer_bad, sizeof answer_bad - 1);
    }
}

static void read_line(struct gate *gate, struct connection *c) {
    for (;;) {
        const ssize_t n = recv(c->fd, c->line + c->line_bytes, sizeof c->line - c->line_bytes,
                               MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n <= 0) {
            judge_fragment(gate, c);
            return;
        }
        const char *fresh = c->line + c->line_bytes;
        c->line_bytes += (size_t)n;
        const char *line_feed = memchr(fresh, '\n', (size_t)n);
        if (line_feed != NULL) {
            judge_line(gate, c, line_feed);
            return;
        }
        if (c->line_bytes == sizeof c->line) {
            judge_fragment(gate, c);
            return;
        }
    }
}

static void peer_left(struct gate *gate, struct connection *c) {
    if (c->state == QUEUED) {
        hang_up(c); /* stays in the queue; dispatch() decides */
        return;
    }
    if (c->state == ACTIVE) {
        report_gone(gate, c);
    }
    release(gate, c);
    dispatch(gate);
}

void connections_event(struct gate *gate, uint64_t id, uint32_t events) {
    if (id == ID_SHIM_LISTENER) {
        connections_accept(gate);
        return;
    }
    struct connection *c = find(gate, id);
    if (c == NULL) {
        return; /* closed by an earlier event of the same batch */
    }
    if (c->state == READING) {
        read_line(gate, c); /* also when it has left: its line may be complete */
    } else if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
        peer_left(gate, c);
    } else if (c->state == ANSWERED && (!send_pending(c) || c->out_end == 0)) {
        release(gate, c);
    }
}

/* ---- accepting ---------------------------------------------------------------------- */

static void admit(struct gate *gate, int fd, const struct ucred *peer, bool is_denied) {
    struct connection *c = &gate->connections[gate->free_slot];
    gate->free_slot = c->next;
    c->fd = fd;
    c->id += UINT64_C(1) << SLOT_BITS;
    c->peer = *peer;
    c->is_denied = is_denied;
    c->line_bytes = 0;
    c->out_start = 0;
    c->out_end = 0;
    gate->denied += (uint32_t)is_denied;
    enter(gate, c, READING);
    watch(gate, EPOLL_CTL_ADD, fd, c->id, EPOLLIN);
    read_line(gate, c); /* the shim sends at once: saves a wake-up */
}

static void greet(struct gate *gate, int fd) {
    struct ucred peer;
    socklen_t bytes = sizeof peer;
    const bool is_known = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0;
    const bool is_denied = !is_known || !gate_is_allowed(gate, peer.uid);
    gate->counters[COUNT_REJECTED_PEER] += is_denied;
    if (!is_known || (is_denied && gate->denied >= DENIED_MAX)) {
        send(fd, answer_denied, sizeof answer_denied - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        drain(fd);
        close(fd);
        return;
    }
    admit(gate, fd, &peer, is_denied);
}

void connections_accept(struct gate *gate) {
    for (int i = 0; i < ACCEPT_BATCH && !gate_is_paused(gate); i++) {
        if (gate->free_slot == NO_SLOT) {
            set_accepting(gate, false);
            return;
        }
        const int fd = accept4(gate->shim.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            greet(gate, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            set_accepting(gate, false); /* until a connection ends */
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

/* Closes who is past the deadline, after a last look: the gate itself may have been kept waiting.
 * Accepts again where it stopped for want of descriptors. */
void connections_sweep(struct gate *gate) {
    const int64_t now_ms = gate_now_ms();
    for (uint32_t i = 0; i < gate->slots && gate->timed > 0; i++) {
        struct connection *c = &gate->connections[i];
        if (has_deadline(c->state) && c->deadline_ms <= now_ms) {
            const uint64_t id = c->id;
            const enum connection_state state = c->state;
            connections_event(gate, id, 0);
            if (c->id == id && c->state == state) {
                gate->counters[COUNT_TIMEOUT]++;
                release(gate, c);
            }
        }
    }
    dispatch(gate);
    set_accepting(gate, gate->free_slot != NO_SLOT);
}
