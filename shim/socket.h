/*
 * socket.h - a socket of ours, and the address of one of the daemon's.
 */
#ifndef P4SHIM_SOCKET_H
#define P4SHIM_SOCKET_H

#include <sys/un.h>

#include "sys.h"

/* A new socket in *own, high above the usual descriptors, and the address of `path`. A path too
 * long for an address goes through its directory, *via, to be closed after use (fd -1: none).
 * False with errno, and nothing left open. */
bool p4shim_socket(int type, const char *path, struct p4shim_fd *own,
                   struct sockaddr_un *address, struct p4shim_fd *via);

/* Closes it if it is ours; keeps errno. */
void p4shim_socket_end(const struct p4shim_fd *own);

#endif
