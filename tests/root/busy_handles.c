/*
 * busy_handles.c - preloaded into the watcher: open_by_handle_at(2) says ENOMEM for a while, as ext4
 * does of a directory's number that is being given to a new inode (fanotify/directories.c).
 *
 * The first call, by which the watcher tries whether it may, passes. From the next one on all fail
 * for BUSY_MS, and then none; that one did is told by the file BUSY_TOLD.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

typedef int open_call(int, struct file_handle *, int);

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int open_by_handle_at(int mount, struct file_handle *handle, int flags) {
    static int calls;
    static int64_t until_ms;
    if (++calls == 2) {
        until_ms = now_ms() + atoi(getenv("BUSY_MS"));
        close(open(getenv("BUSY_TOLD"), O_WRONLY | O_CREAT, 0600));
    }
    if (calls > 1 && now_ms() < until_ms) {
        errno = ENOMEM;
        return -1;
    }
    open_call *next;
    *(void **)&next = dlsym(RTLD_NEXT, "open_by_handle_at");
    return next(mount, handle, flags);
}
