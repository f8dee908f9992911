/* table.c - see table.h. */
#define _GNU_SOURCE
#include "table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "turns.h"

#define SLOT_BITS 16
#define OTHER_DESCRIPTORS 16
/* Room for what is no FETCH, beside them: a quarter of the places, and at least so many. */
#define OTHERS_MIN 128
#define DRAIN_BYTES_MAX ((size_t)64 * 1024)

_Static_assert(GATE_ID_SHIM_LISTENER < (1 << SLOT_BITS) && GATE_ID_ACCESS < (1 << SLOT_BITS) &&
                   GATE_ID_TICK < (1 << SLOT_BITS),
               "no connection has such an id");

static uint32_t slots_for(uint32_t requests_max) {
    struct rlimit limit;
    const uint64_t others = requests_max / 4;
    uint64_t wanted = 2 * (uint64_t)requests_max + (others > OTHERS_MIN ? others : OTHERS_MIN);
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

void table_watch(const struct gate *gate, int operation, int fd, uint64_t id, uint32_t events) {
    struct epoll_event event = {.events = events, .data.u64 = id};
    if (epoll_ctl(gate->inputs_fd, operation, fd, &event) != 0) {
        output_fatal(errno, "Cannot watch a connection: %s", strerror(errno));
    }
}

void table_open(struct gate *gate) {
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
    turns_open(gate);
    table_watch(gate, EPOLL_CTL_ADD, gate->shim.fd, GATE_ID_SHIM_LISTENER, EPOLLIN);
    gate->is_accepting = true;
}

void table_set_accepting(struct gate *gate, bool accept) {
    if (gate->is_accepting != accept) {
        gate->is_accepting = accept;
        table_watch(gate, EPOLL_CTL_MOD, gate->shim.fd, GATE_ID_SHIM_LISTENER,
                    accept ? EPOLLIN : 0);
    }
}

struct connection *table_find(const struct gate *gate, uint64_t id) {
    const uint64_t slot = id & ((UINT64_C(1) << SLOT_BITS) - 1);
    struct connection *c = slot < gate->slots ? &gate->connections[slot] : NULL;
    return c != NULL && c->state != FREE && c->id == id ? c : NULL;
}

struct connection *table_take(struct gate *gate) {
    struct connection *c = &gate->connections[gate->free_slot];
    gate->free_slot = c->next;
    c->id += UINT64_C(1) << SLOT_BITS;
    return c;
}

bool table_has_deadline(enum connection_state state) {
    return state == READING || state == ANSWERED || state == QUEUED;
}

static bool is_with_daemon(enum connection_state state) {
    return state == ACTIVE || state == GONE;
}

/* FETCHes alone have places, and wait. */
static void count_fetch(struct gate *gate, struct connection *c, enum connection_state state) {
    const uint32_t active = (uint32_t)is_with_daemon(state) - (uint32_t)is_with_daemon(c->state);
    const uint32_t waiting = (uint32_t)(state == QUEUED) - (uint32_t)(c->state == QUEUED);
    gate->active += active;
    gate->waiting += waiting;
    c->user->active += active;
    c->user->waiting += waiting;
}

void table_enter(struct gate *gate, struct connection *c, enum connection_state state) {
    if (c->user != NULL && c->request.is_fetch) {
        count_fetch(gate, c, state);
    }
    gate->timed += (uint32_t)table_has_deadline(state) - (uint32_t)table_has_deadline(c->state);
    c->state = state;
    if (table_has_deadline(state)) {
        c->deadline_ms = gate_now_ms() + (state == QUEUED ? WAIT_MS : gate->line_timeout_ms);
    }
}

void table_drain(int fd) {
    char rest[4096];
    size_t drained = 0;
    ssize_t n;
    while (drained < DRAIN_BYTES_MAX && (n = recv(fd, rest, sizeof rest, MSG_DONTWAIT)) > 0) {
        drained += (size_t)n;
    }
}

static void end_socket(struct connection *c) {
    if (c->fd >= 0) {
        table_drain(c->fd);
        close(c->fd);
        c->fd = -1;
    }
}

void table_hang_up(struct gate *gate, struct connection *c) {
    end_socket(c);
    table_enter(gate, c, GONE);
    table_set_accepting(gate, gate->free_slot != NO_SLOT); /* there is a descriptor more */
}

void table_release(struct gate *gate, struct connection *c) {
    const uint32_t slot = (uint32_t)(c - gate->connections);
    end_socket(c);
    table_enter(gate, c, FREE);
    if (c->user == NULL) {
        gate->turned_away--;
    } else {
        c->user->connections--;
    }
    c->next = gate->free_slot;
    gate->free_slot = slot;
    table_set_accepting(gate, true);
}

