/* confine.c - see confine.h. */
#define _GNU_SOURCE
#include "confine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "output.h"

#ifndef SYS_close_range
#define SYS_close_range 436 /* the same on every machine */
#endif

static void make_nonblocking(int fd) {
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
        output_fatal(errno, "Cannot use descriptor %d: the daemon starts it, with pipes", fd);
    }
}

/* Kernels before 5.9, and sandboxes that are older than the call. */
static void close_one_by_one(void) {
    DIR *own = opendir("/proc/self/fd");
    if (own == NULL) {
        output_fatal(errno, "Cannot look for inherited descriptors in /proc/self/fd");
    }
    for (const struct dirent *entry; (entry = readdir(own)) != NULL;) {
        const int fd = atoi(entry->d_name); /* 0 for the dots */
        if (fd > STDERR_FILENO && fd != dirfd(own)) {
            close(fd);
        }
    }
    closedir(own);
}

/* The daemon has descriptors that its helpers would inherit: its libraries' own, such as the
 * manifest's, to write. */
static void close_inherited(void) {
    if (syscall(SYS_close_range, STDERR_FILENO + 1U, UINT_MAX, 0U) != 0) {
        close_one_by_one();
    }
}

void confine_process(void) {
    close_inherited();
    static const int ignored[] = {SIGPIPE, SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
        signal(ignored[i], SIG_IGN);
    }
    const struct rlimit no_core = {0, 0};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 ||
        setrlimit(RLIMIT_CORE, &no_core) != 0) {
        output_fatal(errno, "Cannot give up privileges");
    }
    make_nonblocking(STDIN_FILENO);
    make_nonblocking(STDOUT_FILENO);
}
