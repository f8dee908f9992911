/*
 * calls.h - tests that act between two system calls of the code under test.
 *
 * The linker sends its calls through calls.c (--wrap), which first calls before_call() of the test.
 * A version v of a file is v bytes long; version 1 is the one that the store has.
 */
#ifndef P4POSIX_TEST_CALLS_H
#define P4POSIX_TEST_CALLS_H

#include "../posix.h"

#include <stdlib.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

int p4posix_publish(const char *temp, const char *target, int fd,
                    const struct p4posix_attributes *attributes, const struct p4posix_expect *expect,
                    struct p4posix_shown *shown);
int p4posix_put_marker(const char *target, const char *aside, const struct p4posix_expect *expect,
                       const struct p4posix_marker *marker, struct p4posix_stat *placed);
int p4posix_make_marker(const char *path, const struct p4posix_marker *marker);

/* Defined by each test. `name`: of the call that is about to be made. */
void before_call(const char *name);

/* Ours, once enter_scratch() was called. */
extern struct p4posix_marker marker_of_1;

/* As XFS, which keeps 1024 bytes in one. */
extern bool has_short_symlinks;

/* A directory of its own with depot/ and own/, which must be empty in the end. */
void enter_scratch(void);
void leave_scratch(void);

/* -1 for what is no regular file. */
int64_t size_at(const char *path);
int make_file(const char *path, int bytes);
struct p4posix_expect expect_of(const struct stat *st);
/* At depot/target. */
struct p4posix_expect make_version_1(void);

#endif
