/* report.h - events of the kernel, as lines for the daemon. */
#ifndef P4CACHE_REPORT_H
#define P4CACHE_REPORT_H

#include <stddef.h>

#include "../common/output.h"
#include "fan_event.h"
#include "roots.h"

struct watcher {
    struct output out;
    struct roots roots;
    int fan_fd;
    bool is_content; /* descriptors of files in place of names: the fallback */
    bool has_rename;
    bool has_pidfd;
};

/* Reports every event in what one read(2) gave, and closes their descriptors. */
void report_all(struct watcher *watcher, const void *buffer, size_t bytes);

#endif
