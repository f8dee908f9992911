/* confine.h - what both helpers do to themselves before they read anything. */
#ifndef P4CACHE_CONFINE_H
#define P4CACHE_CONFINE_H

/*
 * Of inherited descriptors only standard input, output and error stay open. Nothing that is
 * executed gains privileges, nobody of the same user may trace this process or read its memory, no
 * core file. SIGPIPE, SIGINT, SIGTERM and SIGHUP are ignored: a terminal and a service manager send
 * them to the whole group, and the daemon still needs its helpers to finish what is in flight. End
 * of file on stdin ends a helper. Standard input and output become nonblocking.
 */
void confine_process(void);

#endif
