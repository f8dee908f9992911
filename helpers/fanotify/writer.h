/* writer.h - whose process caused an event, and how surely that is known. */
#ifndef P4CACHE_WRITER_H
#define P4CACHE_WRITER_H

#include <stdbool.h>
#include <sys/types.h>

#include "fan_event.h"

enum writer_auth {
    WRITER_PIDFD, /* read while the descriptor of the process said that it is still that process */
    WRITER_PROC,  /* read by number: a kernel without such descriptors (before 5.15) */
    WRITER_OWNER, /* it has ended; the owner of the file stands for it: he alone may write it, or made it */
    WRITER_OTHER, /* it has ended, and others than the owner may write the file */
    WRITER_NONE,  /* it has ended, and so has the file */
};

struct writer {
    uid_t uid; /* effective; not for WRITER_OTHER and WRITER_NONE */
    enum writer_auth auth;
};

/* A file that was written. */
struct written_at {
    int directory_fd;
    const char *path; /* "": directory_fd itself; NULL: there is no file any more */
    bool is_makers;   /* the process of the event has also made the file, if the file is new */
};

/*
 * Never remembered from one event to the next: a file server changes its user for each request.
 * The place: the file, should the process have ended.
 */
struct writer writer_of(const struct fan_event *event, bool has_pidfd,
                        const struct written_at *place);

const char *writer_auth_name(enum writer_auth auth);

#endif
