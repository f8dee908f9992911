/*
 * turns.h - the users of the gate: how much of it each has, and whose FETCH is the next.
 *
 * A FETCH may take as long as the store does, so no more than requests_max are with the daemon,
 * and only so many wait. Everything else passes at once. Of places, of waiting FETCHes and of
 * connections one user has three quarters at most, and users whose FETCHes wait are served in turn:
 * whatever one asks for, another is heard.
 */
#ifndef P4CACHE_TURNS_H
#define P4CACHE_TURNS_H

#include "gate.h"

/* Needs the number of slots. */
void turns_open(struct gate *gate);

/* The user's entry, a new one if he has no connection. */
struct user *turns_user(struct gate *gate, uid_t uid);

/* Whether the user may have one more connection, or one more FETCH. */
bool turns_may_connect(const struct gate *gate, const struct user *user);
bool turns_may_fetch(const struct gate *gate, const struct user *user);

/* A connection enters QUEUED, and leaves it: for the daemon, or because its peer has left. */
void turns_wait(struct gate *gate, struct connection *c);
void turns_leave(struct gate *gate, struct connection *c);

/* Who is the next to go to the daemon, still QUEUED; NULL while nobody may. */
struct connection *turns_next(struct gate *gate);

#endif
