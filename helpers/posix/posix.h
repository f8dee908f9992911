/*
 * posix.h - what the files of libp4posix.so share, and the layouts that src/posix/ knows too.
 *
 * Every exported function may be called from any thread, one at a time for what has a handle (a
 * walk, rows), and returns a value >= 0 or -errno, or nothing. Paths are bytes that end with a NUL.
 * Times are nanoseconds since the epoch in 64 bits, saturated. Layouts are arrays of 64-bit words,
 * so that they have no padding; p4posix_abi() tells their sizes, and the daemon refuses a library
 * whose sizes are not its own.
 */
#ifndef P4POSIX_H
#define P4POSIX_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define P4POSIX_EXPORT __attribute__((visibility("default")))

/* Counts changes of the layouts or of a function's meaning. */
#define P4POSIX_ABI_VERSION 8

/* Leaves a time as it is, where a function says that it takes it. */
#define P4POSIX_TIME_KEEP INT64_MIN

enum p4posix_kind { KIND_OTHER, KIND_FILE, KIND_DIRECTORY, KIND_SYMLINK, KIND_SOCKET };

struct p4posix_stat {
    int64_t kind; /* enum p4posix_kind */
    int64_t mode; /* 07777 */
    int64_t uid;
    int64_t gid;
    int64_t nlink;
    int64_t size_bytes;
    int64_t blocks; /* of 512 bytes */
    int64_t mtime_ns;
    int64_t ctime_ns;
    int64_t atime_ns;
    uint64_t ino;
    uint64_t dev;
};
_Static_assert(sizeof(struct p4posix_stat) == 96, "src/posix/posix.ts reads 12 words");

/* What a file or marker shall carry. */
struct p4posix_attributes {
    int64_t mode;
    int64_t uid;
    int64_t gid;
    int64_t mtime_ns;
};
_Static_assert(sizeof(struct p4posix_attributes) == 32, "src/posix/posix.ts writes 4 words");

struct p4posix_marker {
    struct p4posix_attributes attributes;
    int64_t size_bytes;
};
_Static_assert(sizeof(struct p4posix_marker) == 40, "src/posix/posix.ts writes 5 words");

/* What an eviction was decided on, or a restore. */
struct p4posix_expect {
    uint64_t ino;
    int64_t size_bytes;
    int64_t mtime_ns;
    int64_t ctime_ns;
};
_Static_assert(sizeof(struct p4posix_expect) == 32, "src/posix/posix.ts writes 4 words");

/* Of a file that was to take its name. */
struct p4posix_shown {
    int64_t was_shown; /* 1 once it had the name, if only for a moment */
    int64_t ctime_ns;  /* right after it got it, if it did: a later one is of somebody who opened it there */
};
_Static_assert(sizeof(struct p4posix_shown) == 16, "src/posix/posix.ts reads 2 words");

/* What is asked of leaf pages, and what is answered. */
struct p4posix_leaves {
    uint64_t transaction_max; /* no page may be newer */
    uint64_t is_summed;
    int64_t from_bytes;   /* of the least key, or -1 */
    int64_t before_bytes; /* of the key behind the last, or -1 */
    uint64_t entries;
    uint64_t sum; /* of the CRC-32 of each entry, modulo 2^48 */
};
_Static_assert(sizeof(struct p4posix_leaves) == 48, "src/posix/leaf_pages.ts has 6 words");

static inline int64_t time_ns(struct timespec time) {
    int64_t ns;
    if (__builtin_mul_overflow((int64_t)time.tv_sec, INT64_C(1000000000), &ns) ||
        __builtin_add_overflow(ns, (int64_t)time.tv_nsec, &ns)) {
        return time.tv_sec < 0 ? INT64_MIN + 1 : INT64_MAX;
    }
    return ns;
}

static inline struct timespec timespec_of(int64_t ns) {
    const int64_t second = 1000000000;
    struct timespec time = {.tv_sec = ns / second, .tv_nsec = ns % second};
    if (time.tv_nsec < 0) {
        time.tv_sec -= 1;
        time.tv_nsec += second;
    }
    return time;
}

static inline int failure(void) {
    return errno > 0 ? -errno : -EIO;
}

static inline int result_of(int returned) {
    return returned == -1 ? failure() : returned;
}

/* An inode that cannot be reused while it is held: identity is then dev and ino. */
struct pinned {
    int fd; /* O_PATH */
    struct stat st;
};

static inline bool is_same_inode(const struct stat *a, const struct stat *b) {
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev;
}

/* A file, or a marker, as rename leaves it. */
struct identity {
    unsigned type; /* S_IFMT */
    uint64_t ino;
    int64_t size_bytes;
    int64_t mtime_ns;
};

/* An exchange of names: `put` goes to `target`, and `wanted` is to come out of it. */
struct note {
    int stage; /* 0: the first; from then on, each takes the one before back */
    struct identity put;
    struct identity wanted;
    char target[PATH_MAX];
};

/* files.c */
int create_temp(const char *path, int mode);
int read_at(int fd, void *buffer, int bytes, int64_t offset);
int write_at(int fd, const void *buffer, int bytes, int64_t offset);

/* names.c */
void fill_stat(struct p4posix_stat *out, const struct stat *st);
int open_for_read(const char *path);
int fsync_parent(const char *path);

/* exchange.c */
int pin(const char *path, struct pinned *out);
void unpin(struct pinned *held);
int exchange_names(const char *a, const char *b);
int rename_no_replace(const char *from, const char *to);
int begin_exchange(const char *aside, const char *target, const struct identity *put,
                   const struct identity *wanted);
void end_exchange(const char *aside);
enum { PUT_BACK = 0, PUT_BACK_NEWER = 1 };
int put_back(const char *aside, const char *target, const struct stat *put, int stage);

/* note.c */
struct identity identity_of(const struct stat *st);
bool is_identical(const struct stat *st, const struct identity *known);
int note_write(const char *aside, const struct note *note);
int note_read(const char *aside, struct note *out);
void note_remove(const char *aside);

/* publish.c */
int p4posix_publish(const char *temp, const char *target, int fd,
                    const struct p4posix_attributes *attributes, const struct p4posix_expect *expect,
                    struct p4posix_shown *shown);

/* evict.c */
int p4posix_has_writer(const char *path);

/* marker.c */
int create_marker(const char *path, const struct p4posix_marker *marker);

#endif
