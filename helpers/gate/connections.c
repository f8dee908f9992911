/*
 * connections.c - the peers of shim.sock: accepted, authenticated, framed, answered.
 *
 * A peer is known by the uid that the kernel noted when it connected, never by its pid: a child
 * that inherits a connection keeps the parent's pid in it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "gate.h"
#include "table.h"
#include "turns.h"

#define ACCEPT_BATCH 64

#define REFUSAL(text) {text "\n", sizeof text}
static const struct refusal denied =
    REFUSAL("ERR DENIED this user may not use the cache (shim_allowed_uids)");
static const struct refusal no_operator =
    REFUSAL("ERR DENIED only root and the user that p4-cache runs as may control it");
static const struct refusal bad = REFUSAL("ERR BADREQ not a request of P4CACHE/1");
static const struct refusal reserved = REFUSAL("ERR RESERVED .p4cache is the daemon's own");
static const struct refusal busy =
    REFUSAL("ERR BUSY this user asks for too much at a time (shim_max_requests)");

/* Nobody knows yet how many bytes it is. */
static const char queued[] = "WAIT 0 0\n";

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

static void hand_over(struct gate *gate, struct connection *c) {
    report_request(gate, c);
    table_enter(gate, c, ACTIVE);
}

void connections_dispatch(struct gate *gate) {
    struct connection *c;
    while (!gate_is_paused(gate) && (c = turns_next(gate)) != NULL) {
        turns_leave(gate, c);
        hand_over(gate, c);
    }
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
    table_enter(gate, c, ANSWERED);
    if (!send_pending(c) || c->out_end == 0) {
        table_release(gate, c);
    } else {
        table_watch(gate, EPOLL_CTL_MOD, c->fd, c->id, EPOLLOUT);
    }
}

/* A progress line that meets an earlier one still unsent is left out: the next says more. */
static void progress(struct connection *c, const char *line, size_t bytes) {
    /* A peer that has left is told by epoll. */
    if (send_pending(c) && c->out_end == 0) {
        memcpy(c->out, line, bytes);
        c->out_end = bytes;
        send_pending(c);
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
    struct connection *c = table_find(gate, command->id);
    if (c == NULL || (c->state != ACTIVE && c->state != GONE)) {
        return; /* a second last line, if anything */
    }
    if (c->state == GONE) {
        if (command->kind == COMMAND_LAST) {
            table_release(gate, c);
        }
        return;
    }
    const size_t bytes = framed(line, command);
    if (command->kind == COMMAND_LINE) {
        progress(c, line, bytes);
        return;
    }
    answer(gate, c, line, bytes);
}

/* ---- from the peer ------------------------------------------------------------------ */

/* Whoever may ask for files may not also evict or delete them. */
static bool is_operator(const struct connection *c) {
    return c->peer.uid == 0 || c->peer.uid == geteuid();
}

static void refuse(struct gate *gate, struct connection *c, const struct refusal *refusal) {
    answer(gate, c, refusal->line, refusal->bytes);
}

static void refuse_bad(struct gate *gate, struct connection *c, const struct refusal *refusal) {
    gate->counters[COUNT_BAD_REQUEST]++;
    refuse(gate, c, refusal);
}

static void tell_waiting(struct connection *c) { progress(c, queued, sizeof queued - 1); }

/* It may be with the daemon at once. */
static void take_fetch(struct gate *gate, struct connection *c) {
    if (!turns_may_fetch(gate, c->user)) {
        gate->counters[COUNT_TURNED_AWAY]++;
        refuse(gate, c, &busy);
        return;
    }
    turns_wait(gate, c);
    connections_dispatch(gate);
    if (c->state == QUEUED) {
        tell_waiting(c);
    }
}

/* The line is complete; anything after it belongs to no protocol of ours. */
static void judge_line(struct gate *gate, struct connection *c, const char *line_feed) {
    const size_t bytes = (size_t)(line_feed - c->line);
    if (c->refusal != NULL) {
        refuse(gate, c, c->refusal);
        return;
    }
    const enum request_verdict verdict = bytes + 1 == c->line_bytes
                                             ? request_parse(c->line, bytes, &c->request)
                                             : REQUEST_BAD;
    if (verdict == REQUEST_BAD) {
        refuse_bad(gate, c, &bad);
        return;
    }
    gate->counters[COUNT_LEGACY_UNPREFIXED] += c->request.is_legacy;
    if (verdict == REQUEST_RESERVED) {
        refuse_bad(gate, c, &reserved);
        return;
    }
    if (verdict == REQUEST_CONTROL && !is_operator(c)) {
        gate->counters[COUNT_REJECTED_PEER]++;
        refuse(gate, c, &no_operator);
        return;
    }
    table_watch(gate, EPOLL_CTL_MOD, c->fd, c->id, 0); /* from here only that it leaves */
    if (c->request.is_fetch) {
        take_fetch(gate, c);
    } else {
        hand_over(gate, c);
    }
}

/* The peer sent an end of file, or more than a line may have, before a line feed. */
static void judge_fragment(struct gate *gate, struct connection *c) {
    if (c->refusal != NULL) {
        refuse(gate, c, c->refusal);
    } else if (c->line_bytes == 0) {
        table_release(gate, c); /* looked whether somebody listens */
    } else {
        refuse_bad(gate, c, &bad);
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
    if (c->state == ACTIVE) {
        /* The daemon works on all the same: the place is taken until its last line. */
        report_gone(gate, c);
        table_hang_up(gate, c);
        return;
    }
    if (c->state == QUEUED) {
        turns_leave(gate, c); /* nobody waits for the bytes any more */
    }
    table_release(gate, c);
}

void connections_event(struct gate *gate, uint64_t id, uint32_t events) {
    if (id == GATE_ID_SHIM_LISTENER) {
        connections_accept(gate);
        return;
    }
    struct connection *c = table_find(gate, id);
    if (c == NULL || c->state == GONE) {
        return; /* closed by an earlier event of the same batch */
    }
    if (c->state == READING) {
        read_line(gate, c); /* also when it has left: its line may be complete */
    } else if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
        peer_left(gate, c);
    } else if (c->state == ANSWERED && (!send_pending(c) || c->out_end == 0)) {
        table_release(gate, c);
    }
}

/* ---- accepting ---------------------------------------------------------------------- */

static void admit(struct gate *gate, int fd, const struct ucred *peer,
                  const struct refusal *refusal) {
    struct connection *c = table_take(gate);
    c->fd = fd;
    c->peer = *peer;
    c->refusal = refusal;
    c->request.is_fetch = false;
    c->line_bytes = 0;
    c->out_start = 0;
    c->out_end = 0;
    if (refusal != NULL) {
        c->user = NULL;
        gate->turned_away++;
    } else {
        c->user = turns_user(gate, peer->uid);
        c->user->connections++;
    }
    table_enter(gate, c, READING);
    table_watch(gate, EPOLL_CTL_ADD, fd, c->id, EPOLLIN);
    read_line(gate, c); /* the shim sends at once: saves a wake-up */
}

static void greet(struct gate *gate, int fd) {
    struct ucred peer;
    socklen_t bytes = sizeof peer;
    const bool is_known = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0;
    const struct refusal *refusal = NULL;
    if (!is_known || !gate_is_allowed(gate, peer.uid)) {
        gate->counters[COUNT_REJECTED_PEER]++;
        refusal = &denied;
    } else if (!turns_may_connect(gate, turns_user(gate, peer.uid))) {
        gate->counters[COUNT_TURNED_AWAY]++;
        refusal = &busy;
    }
    if (!is_known || (refusal != NULL && gate->turned_away >= TURNED_AWAY_MAX)) {
        send(fd, refusal->line, refusal->bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        table_drain(fd);
        close(fd);
        return;
    }
    admit(gate, fd, &peer, refusal);
}

void connections_accept(struct gate *gate) {
    for (int i = 0; i < ACCEPT_BATCH && !gate_is_paused(gate); i++) {
        if (gate->free_slot == NO_SLOT) {
            table_set_accepting(gate, false);
            return;
        }
        const int fd = accept4(gate->shim.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            greet(gate, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            table_set_accepting(gate, false); /* until a connection ends */
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

/* After a last look: the gate itself may have been kept waiting. */
static void end_late(struct gate *gate, struct connection *c) {
    const uint64_t id = c->id;
    const enum connection_state state = c->state;
    connections_event(gate, id, 0);
    if (c->id == id && c->state == state) {
        gate->counters[COUNT_TIMEOUT]++;
        table_release(gate, c);
    }
}

/* Closes who is past the deadline, and tells those who wait that they do. Accepts again where it
 * stopped for want of descriptors. */
void connections_sweep(struct gate *gate) {
    const int64_t now_ms = gate_now_ms();
    for (uint32_t i = 0; i < gate->slots && gate->timed > 0 && !gate_is_paused(gate); i++) {
        struct connection *c = &gate->connections[i];
        if (!table_has_deadline(c->state) || c->deadline_ms > now_ms) {
            continue;
        }
        if (c->state == QUEUED) {
            tell_waiting(c);
            c->deadline_ms = now_ms + WAIT_MS;
        } else {
            end_late(gate, c);
        }
    }
    table_set_accepting(gate, gate->free_slot != NO_SLOT);
}
