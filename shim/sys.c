/*
 * sys.c - descriptors that are provably ours, scratch memory, waiting.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <sys/mman.h>

#include "shim.h"
#include "sys.h"

static bool is_of_kind(int fd, const struct stat *st, enum p4shim_fd_kind kind) {
    if (kind == P4SHIM_SOCKET) {
        return S_ISSOCK(st->st_mode);
    }
    const long flags = p4shim_syscall(SYS_fcntl, fd, F_GETFL);
    if (flags < 0) {
        return errno != EBADF; /* a filter that does not let us ask */
    }
    return kind == P4SHIM_PATH
               ? (flags & O_PATH) != 0
               : (flags & (O_ACCMODE | O_APPEND | O_NONBLOCK)) == P4SHIM_LOG_FLAGS;
}

bool p4shim_own(struct p4shim_fd *own, enum p4shim_fd_kind kind) {
    struct stat st;
    if (sys_fstat(own->fd, &st) != 0) {
        const int why = errno;
        if (why != EBADF) { /* a filter that does not let us ask: it is ours, for all we know */
            p4shim_syscall(SYS_close, own->fd);
        }
        errno = why;
        return false;
    }
    own->dev = st.st_dev;
    own->ino = st.st_ino;
    if (!is_of_kind(own->fd, &st, kind)) {
        errno = EBADF;
        return false;
    }
    return true;
}

bool p4shim_is_ours(const struct p4shim_fd *own) {
    struct stat st;
    return sys_fstat(own->fd, &st) == 0 && st.st_dev == own->dev && st.st_ino == own->ino;
}

void p4shim_close(const struct p4shim_fd *own) {
    const int saved = errno;
    if (p4shim_is_ours(own)) {
        p4shim_syscall(SYS_close, own->fd);
    }
    errno = saved;
}

void p4shim_fd_link(char out[P4SHIM_FD_LINK_MAX], int fd) {
    static const char base[] = "/proc/self/fd/";
    char digits[12];
    size_t n = 0;
    unsigned value = fd < 0 ? 0 : (unsigned)fd;
    do {
        digits[n++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    memcpy(out, base, sizeof base - 1);
    char *at = out + sizeof base - 1;
    while (n > 0) {
        *at++ = digits[--n];
    }
    *at = '\0';
}

void p4shim_pause_ms(int64_t ms) {
    const int64_t end = p4shim_now_ms(CLOCK_MONOTONIC) + ms;
    for (int64_t left = ms; left > 0; left = end - p4shim_now_ms(CLOCK_MONOTONIC)) {
        const struct timespec wait = {left / 1000, (left % 1000) * 1000000};
        if (p4shim_syscall(SYS_ppoll, NULL, 0, &wait, NULL, 0) != 0 && errno != EINTR) {
            return;
        }
    }
}

struct p4shim_scratch *p4shim_scratch_take(void) {
    const long at = p4shim_syscall(SYS_mmap, NULL, sizeof(struct p4shim_scratch),
                                   PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
    return at == -1 ? NULL : (struct p4shim_scratch *)at;
}

void p4shim_scratch_release(struct p4shim_scratch *s) {
    const int saved = errno;
    p4shim_syscall(SYS_munmap, s, sizeof *s);
    errno = saved;
}
