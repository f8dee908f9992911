/*
 * fan_event.h - one record of a fanotify read, as the kernel lays it out, checked. Pure; fuzzed.
 *
 *   fanotify_event_metadata   mask, pid, fd (content mode only)
 *   info records, each with a header of type and length:
 *     DFID_NAME               fsid, handle of the directory, name in it
 *     OLD_, NEW_DFID_NAME     the same, of both sides of a rename
 *     FID                     fsid and handle of the file itself (kernel 5.17)
 *     PIDFD                   a descriptor of the process, or why there is none
 */
#ifndef P4CACHE_FAN_EVENT_H
#define P4CACHE_FAN_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* MAX_HANDLE_SZ of the kernel. */
#define FAN_HANDLE_BYTES_MAX 128

/* An inode, for ever: a number that is used again has another handle. Points into the buffer. */
struct fan_handle {
    bool is_given;
    uint64_t fsid;
    const void *handle; /* struct file_handle, aligned to 4 */
    size_t handle_bytes;
};

/* A name in a directory. Points into the buffer. */
struct fan_name {
    struct fan_handle directory;
    const char *name;
    size_t name_bytes;
};

struct fan_event {
    uint64_t mask;
    pid_t pid;
    int fd;    /* -1: none */
    int pidfd; /* -1: none */
    struct fan_name at;
    struct fan_name from;
    struct fan_name to;
    struct fan_handle file;
};

enum fan_step {
    FAN_STEP_EVENT,  /* *event is filled, *offset is after it */
    FAN_STEP_END,    /* the buffer is used up */
    FAN_STEP_FOREIGN /* not the layout of this build */
};

/* Reads the event at *offset of a buffer that is aligned to 8. */
enum fan_step fan_event_next(const void *buffer, size_t bytes, size_t *offset,
                             struct fan_event *event);

/* Not 0. */
uint64_t fan_handle_hash(const struct fan_handle *handle);

#endif
