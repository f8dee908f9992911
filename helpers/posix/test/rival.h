/*
 * rival.h - a program that acts on depot/target before a given system call of the code under test, as
 * p4d, or worse, would: renames a newer version over it, removes it, moves it away, writes into it,
 * changes its mode.
 *
 * Versions tell themselves by size: version v is a file of v bytes. Version 1 is in the store.
 */
#ifndef P4POSIX_TEST_RIVAL_H
#define P4POSIX_TEST_RIVAL_H

#include "calls.h"

/*
 * The last two are no part of random plans. Nothing keeps a CHMOD through other acts; WRITE_ASIDE is of
 * a writer that had opened what lies aside, and waited for the lease until we were killed.
 */
enum act { REPLACE, REMOVE, MOVE, WRITE, ACTS, CHMOD = ACTS, WRITE_ASIDE };

#define MODE_OF_CHMOD 0751

enum { ACTS_MAX = 3, NEVER = -1 };

struct plan {
    int count;
    int step[ACTS_MAX];
    enum act act[ACTS_MAX];
    int kill_at; /* the step before which the process is killed, or NEVER */
};

/* What the rival knows: the versions it wrote and where they must be. */
struct rival {
    struct plan plan;
    int steps;
    bool is_acting;
    bool is_name_ours; /* the rival never removed or moved the name: it must always be there */
    int version;       /* the last that it wrote */
    int replaced;      /* how often it renamed one over the name */
    int at_target;     /* version that must be at target; 0: none must */
    int at_moved;      /* version that must be at moved or, put back, at target; 0: none must */
    bool was_name_missing;
};

/* In memory that child processes share. */
extern struct rival *rival;

/* A rival that has done nothing, with a plan; empty names. */
void rival_begin(const struct plan *plan);
void rival_act(enum act what);
/* Ends the test if the rival's last word does not stand, or what it wrote and kept is not there. */
void rival_judge(int result, bool is_disturbed);
_Noreturn void rival_fail(const char *what, int result);

#endif
