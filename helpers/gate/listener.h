/* listener.h - a Unix socket with a name: there from one moment to the next, gone at the end. */
#ifndef P4CACHE_LISTENER_H
#define P4CACHE_LISTENER_H

#include <sys/types.h>

struct listener {
    int fd;
    int directory_fd;
    const char *name; /* last segment of the path */
    dev_t dev;
    ino_t ino;
};

/*
 * type: SOCK_STREAM (listens) or SOCK_DGRAM (with the credentials of senders). The socket is bound
 * under another name with the wanted mode and renamed over an older socket: a peer finds the old
 * one, or this one ready, never none. Any other kind of file under the name is left alone. Ends
 * the process with a fatal line when it cannot.
 */
void listener_open(struct listener *listener, int type, const char *path, mode_t mode);

/* Unlinks the name, if it is still this socket's. */
void listener_close(struct listener *listener);

#endif
