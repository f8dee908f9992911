/* writer.h - whose process caused an event, and how surely that is known. */
#ifndef P4CACHE_WRITER_H
#define P4CACHE_WRITER_H

#include <stdbool.h>
#include <sys/types.h>

#include "fan_event.h"

enum writer_auth {
    WRITER_PIDFD, /* read while the descriptor of the process said that it is still that process */
    WRITER_PROC,  /* read by number: a kernel without such descriptors (before 5.15) */
    WRITER_OWNER, /* it has ended; the owner of the file stands for it */
    WRITER_NONE,  /* it has ended, and so has the file */
};

struct writer {
    uid_t uid; /* effective; not for WRITER_NONE */
    enum writer_auth auth;
};

/*
 * Never remembered from one event to the next: a file server changes its user for each request.
 * directory_fd, path: the file, should the process have ended. path "" is directory_fd itself;
 * NULL when there is no file any more.
 */
struct writer writer_of(const struct fan_event *event, bool has_pidfd, int directory_fd,
                        const char *path);

const char *writer_auth_name(enum writer_auth auth);

#endif
