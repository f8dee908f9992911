/*
 * actor.h - a program that does file operations by a script and writes down what can be seen
 * of each. It runs once on a depot, with the shim in it, and once on a plain directory; the
 * two accounts are compared. Nothing here knows which of the two it is.
 *
 * An operation is made of steps, each one call. On the depot, with faults on, a step may fail
 * with EIO where the plain directory would not. The plain run is told which step that was
 * (--follow), does not make that call either, and goes on from there: the two stay comparable.
 */
#ifndef P4DIFF_ACTOR_H
#define P4DIFF_ACTOR_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHARED_NAMES 24
#define SHARED_LOGS 24
#define WRITERS_MAX 256
#define HELD_MAX 4
#define FIELDS_MAX 12
#define TEXT_MAX (1 << 20)

/* The file that all actors of a run and its conductor map: what is going on, and what every
 * writer of a shared file has been told is written. */
struct control {
    uint32_t hold;         /* by the conductor: no rename or link may begin */
    uint32_t in_structure; /* renames and links under way */
    uint64_t ops;
    uint64_t met_markers; /* operations that began on an evicted file */
    uint64_t tolerated;   /* steps that failed as only a fault may make them fail */
    uint32_t put[SHARED_NAMES][WRITERS_MAX];
    uint32_t appended[SHARED_LOGS][WRITERS_MAX];
};

struct actor {
    const char *root;    /* the directory of its own */
    const char *through; /* the same by way of a symbolic link that lies elsewhere */
    const char *outside; /* a directory on the same file system that is in no depot */
    const char *shared;
    struct control *control;
    unsigned writer;
    char cwd[PATH_MAX]; /* relative to root, "" for it; only where no other thread runs */
    int held[HELD_MAX];

    char *fields[FIELDS_MAX];
    int field_count;

    int step;
    int stop_step; /* of a followed account: -1, or the step that is not to be made */
    int stop_errno;
    int failed_step; /* -1, or the one that a fault may have failed, with failed_errno */
    int failed_errno;
    bool may_be_enxio; /* freopen: docs/semantics.md */

    char *text; /* what was seen, TEXT_MAX */
    size_t bytes;
};

/* ---- actor.c ---- */

void say(struct actor *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Whether the step that comes now is not to be made. */
bool stops_here(struct actor *a, const char *what);
/* Notes what came of a step; false for -1, with errno. */
bool note_step(struct actor *a, const char *what, long rc);

/* One call, or none where the followed account has a fault. False when it failed. */
#define TRY(a, what, call) (!stops_here(a, what) && note_step(a, what, (long)(call)))

/* A path of the script in one of several ways to name it. */
struct place {
    int dirfd; /* AT_FDCWD, or one of its own for `path` alone */
    char path[PATH_MAX];
    char absolute[PATH_MAX]; /* for calls without a dirfd */
    bool is_good;
};

/* `how`: a absolute, l through a link, r relative to cwd, d by a descriptor of its directory. */
struct place place_of(struct actor *a, const char *how, const char *path);
void leave_place(struct place *p);

const char *field(const struct actor *a, int i);
long number(const struct actor *a, int i);
int flags_of(const char *letters);

/* Bytes that follow from `seed`. */
void fill(unsigned char *out, size_t bytes, unsigned long seed);
bool write_all(int fd, const void *bytes, size_t count);
bool write_pattern(struct actor *a, const char *what, int fd, size_t bytes, unsigned long seed);
/* Says size and hash of everything that pread gives. */
bool say_content(struct actor *a, int fd);
uint64_t hash_bytes(uint64_t hash, const unsigned char *bytes, size_t count);
void say_stat(struct actor *a, const struct stat *st, bool with_links);

/* Around every operation that changes names: see struct control. */
void enter_structure(struct actor *a);
void leave_structure(struct actor *a);

struct operation {
    const char *name;
    void (*run)(struct actor *a);
};

/* Each ends with a row of NULL. */
extern const struct operation content_operations[]; /* content.c: open, read, write, map */
extern const struct operation name_operations[];    /* names.c: rename, link, unlink, ... */
extern const struct operation look_operations[];    /* look.c: stat, list, access, times */
extern const struct operation run_operations[];     /* run.c: exec, fork */
extern const struct operation shared_operations[];  /* shared.c: invariants on shared files */

#endif
