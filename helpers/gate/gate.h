/*
 * gate.h - the state of the gate: one thread, one of these.
 *
 * A connection is in one state at a time:
 *
 *   READING    its line is not complete; closed at the deadline
 *   QUEUED     its FETCH waits for a place with the daemon (turns.h), and is told so
 *   ACTIVE     the daemon has the request
 *   GONE       so it has, and the peer has left: closed, but in its place until the last line
 *   ANSWERED   the last line is on its way to a slow peer; closed at the deadline
 *
 * The table has room for requests_max FETCHes, as many again that wait, and for everything else
 * that is asked meanwhile. When it is full nobody is accepted: the kernel's backlog holds the
 * others. When the daemon does not read, nothing is read from peers either.
 */
#ifndef P4CACHE_GATE_H
#define P4CACHE_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "../common/output.h"
#include "command.h"
#include "event_buffers.h"
#include "listener.h"
#include "request.h"

/* Above this many bytes for the daemon no peer is read. One more line may come on top. */
#define OUTPUT_PENDING_MAX ((size_t)256 * 1024)
/* Peers that are turned away, and may still send their line, so that they can read why rather than
 * meet a broken pipe. More than these are told and closed at once. */
#define TURNED_AWAY_MAX 64
#define REQUESTS_MAX 32768 /* the configuration has the same bound */
/* Users with connections: those who are allowed, and as many who were before. */
#define USERS_MAX (2 * COMMAND_UIDS_MAX)
#define NO_SLOT UINT32_MAX
/* What epoll says for the two sockets and the timer; ids of connections are larger. */
#define GATE_ID_SHIM_LISTENER 0
#define GATE_ID_ACCESS 1
#define GATE_ID_TICK 2

enum counter {
    COUNT_REJECTED_PEER,
    COUNT_LEGACY_UNPREFIXED,
    COUNT_BAD_REQUEST,
    COUNT_TURNED_AWAY,
    COUNT_ACCESS_REJECTED,
    COUNT_ACCESS_DROPPED,
    COUNT_TIMEOUT,
    COUNTERS,
};

enum connection_state { FREE, READING, QUEUED, ACTIVE, GONE, ANSWERED };

struct user {
    uid_t uid;
    uint32_t connections; /* 0: nobody's entry */
    uint32_t waiting;     /* FETCHes */
    uint32_t active;      /* FETCHes, also of peers that have left */
    uint32_t queue_first;
    uint32_t queue_last;
};

/* A last line of the gate's own. */
struct refusal {
    const char *line;
    size_t bytes;
};

/* What an allowed sender of access events may still send; below 0 nothing for now (access.c). */
struct access_budget {
    int64_t left;
    int64_t at_ms;
};

struct connection {
    enum connection_state state;
    int fd; /* -1: GONE */
    uint64_t id;                   /* use count of the slot << 16 | slot: never names a later peer */
    const struct refusal *refusal; /* what a peer that is turned away gets; else NULL */
    struct user *user;             /* NULL: turned away */
    struct ucred peer;
    int64_t deadline_ms; /* READING, ANSWERED; QUEUED: of the next WAIT */
    uint32_t next;       /* in the free list, or its user's queue */
    uint32_t previous;   /* in its user's queue */
    struct request request;
    size_t line_bytes;
    size_t out_start;
    size_t out_end;
    char line[REQUEST_LINE_BYTES_MAX];
    char out[2 * REPLY_LINE_BYTES_MAX]; /* a progress line and the last one */
};

struct gate {
    struct output out;
    struct listener shim;
    struct listener access;
    struct event_buffers buffers;
    int inputs_fd; /* epoll of both sockets and all connections */
    struct connection *connections;
    uint32_t slots;
    uint32_t free_slot;
    struct user users[USERS_MAX];
    uint32_t turn;         /* whose FETCH was the last to go to the daemon */
    uint32_t requests_max; /* FETCHes with the daemon */
    uint32_t fetches_max;  /* these and those that wait */
    uint32_t active;       /* FETCHes */
    uint32_t waiting;      /* FETCHes */
    uint32_t timed;        /* connections with a deadline */
    uint32_t turned_away;
    bool is_accepting; /* false: the table is full, or the system out of descriptors */
    int64_t line_timeout_ms;
    int64_t next_sweep_ms;
    uid_t allowed[COMMAND_UIDS_MAX];
    struct access_budget budgets[COMMAND_UIDS_MAX]; /* of those who are allowed */
    size_t allowed_count;
    int64_t counters[COUNTERS];
};

/* gate.c */
int64_t gate_now_ms(void);
bool gate_is_allowed(const struct gate *gate, uid_t uid);
/* Where the user stands among those who are allowed; allowed_count: nowhere. */
size_t gate_allowed_at(const struct gate *gate, uid_t uid);
bool gate_is_paused(const struct gate *gate);

/* connections.c: everything about peers of shim.sock. */
void connections_accept(struct gate *gate);
void connections_event(struct gate *gate, uint64_t id, uint32_t events);
void connections_reply(struct gate *gate, const struct command *command);
void connections_sweep(struct gate *gate);
/* Hands waiting FETCHes to the daemon while it may have more. */
void connections_dispatch(struct gate *gate);

/* access.c: datagrams of access.sock, as many as wait, to a bound. */
void access_receive(struct gate *gate);
/* Whether an allowed sender may have the daemon read more of him just now. */
bool access_may_report(struct gate *gate, uid_t uid);
/* Hands the daemon what an allowed sender sent, or left in a buffer. */
void access_report(struct gate *gate, const struct ucred *sender, const char *data, size_t bytes);

#endif
