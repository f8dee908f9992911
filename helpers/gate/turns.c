/* turns.c - see turns.h. */
#define _GNU_SOURCE
#include "turns.h"

#include "table.h"

/* Of the table FETCHes have no more than this, so that others find room in it. */
static uint32_t fetches_for(uint32_t requests_max, uint32_t slots) {
    const uint32_t wanted = 2 * requests_max;
    const uint32_t possible = slots - slots / 8;
    return wanted < possible ? wanted : possible;
}

static uint32_t share_of(uint32_t count) { return count - count / 4; }

void turns_open(struct gate *gate) {
    gate->fetches_max = fetches_for(gate->requests_max, gate->slots);
    for (uint32_t i = 0; i < USERS_MAX; i++) {
        gate->users[i].queue_first = NO_SLOT;
        gate->users[i].queue_last = NO_SLOT;
    }
}

struct user *turns_user(struct gate *gate, uid_t uid) {
    struct user *unused = NULL;
    for (uint32_t i = 0; i < USERS_MAX; i++) {
        struct user *user = &gate->users[i];
        if (user->connections > 0 && user->uid == uid) {
            return user;
        }
        if (user->connections == 0 && unused == NULL) {
            unused = user;
        }
    }
    if (unused == NULL) {
        return &gate->users[0]; /* of users who were allowed before: they share a share */
    }
    unused->uid = uid;
    return unused;
}

bool turns_may_connect(const struct gate *gate, const struct user *user) {
    return user->connections < share_of(gate->slots);
}

bool turns_may_fetch(const struct gate *gate, const struct user *user) {
    return gate->waiting + gate->active < gate->fetches_max &&
           user->waiting + user->active < share_of(gate->fetches_max);
}

void turns_wait(struct gate *gate, struct connection *c) {
    struct user *user = c->user;
    const uint32_t slot = (uint32_t)(c - gate->connections);
    c->next = NO_SLOT;
    c->previous = user->queue_last;
    if (user->queue_last == NO_SLOT) {
        user->queue_first = slot;
    } else {
        gate->connections[user->queue_last].next = slot;
    }
    user->queue_last = slot;
    table_enter(gate, c, QUEUED);
}

void turns_leave(struct gate *gate, struct connection *c) {
    struct user *user = c->user;
    if (c->previous == NO_SLOT) {
        user->queue_first = c->next;
    } else {
        gate->connections[c->previous].next = c->next;
    }
    if (c->next == NO_SLOT) {
        user->queue_last = c->previous;
    } else {
        gate->connections[c->next].previous = c->previous;
    }
}

struct connection *turns_next(struct gate *gate) {
    if (gate->waiting == 0 || gate->active >= gate->requests_max) {
        return NULL;
    }
    for (uint32_t i = 1; i <= USERS_MAX; i++) {
        const uint32_t turn = (gate->turn + i) % USERS_MAX;
        const struct user *user = &gate->users[turn];
        if (user->waiting > 0 && user->active < share_of(gate->requests_max)) {
            gate->turn = turn;
            return &gate->connections[user->queue_first];
        }
    }
    return NULL;
}
