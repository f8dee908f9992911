/*
 * times.c - the utime family: a marker's atime holds its size, so only its mtime is set.
 *
 * The kernel would obey and the size would be lost, so these hooks look first. A marker that is
 * made between the look and the call loses its check, and the daemon stamps it again.
 */
#define _GNU_SOURCE
#include <linux/capability.h>

#include "real.h"
#include "shim.h"
#include "sys.h"

#define NOT_A_MARKER 1

/* Who may set any time of a file, as the kernel sees it. */
static bool is_owner(const struct stat *st) {
    if (st->st_uid == (uid_t)p4shim_syscall(SYS_geteuid)) {
        return true;
    }
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];
    return p4shim_syscall(SYS_capget, &head, caps) == 0 &&
           (caps[0].effective & (1u << CAP_FOWNER)) != 0;
}

static bool are_both_now(const struct timespec *times) {
    return times == NULL || (times[0].tv_nsec == UTIME_NOW && times[1].tv_nsec == UTIME_NOW);
}

/* `times` NULL: both are now. 0 or -1 as the kernel would give, or NOT_A_MARKER. */
static int set_on_marker(int dirfd, const char *path, const struct timespec *times,
                         int at_flags) {
    const int saved = errno;
    struct stat st;
    uint64_t size = 0;
    if (!p4shim_is_on() || path == NULL ||
        sys_fstatat(dirfd, path, &st, at_flags) != 0 || !S_ISSOCK(st.st_mode) ||
        !p4shim_is_marker(dirfd, path, at_flags, &st, &size)) {
        errno = saved;
        return NOT_A_MARKER;
    }
    struct timespec kept[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
    if (times != NULL) {
        if (times[0].tv_nsec != UTIME_NOW && times[0].tv_nsec != UTIME_OMIT &&
            (times[0].tv_nsec < 0 || times[0].tv_nsec > 999999999)) {
            errno = EINVAL;
            return -1;
        }
        kept[1] = times[1];
        if (times[0].tv_nsec != UTIME_OMIT && times[1].tv_nsec == UTIME_OMIT && !is_owner(&st)) {
            errno = EPERM; /* the kernel is asked for nothing below */
            return -1;
        }
    }
    const int rc = (int)p4shim_syscall(SYS_utimensat, dirfd, path, kept, at_flags);
    if (rc != 0 && errno == EPERM && are_both_now(times)) {
        /* Who may only write may set both to now, and nothing else: so on the file itself. */
        const int verdict = p4shim_restore_marker(dirfd, path, at_flags);
        errno = verdict > 0 ? verdict : saved;
        return verdict > 0 ? -1 : NOT_A_MARKER;
    }
    if (rc == 0) {
        errno = saved;
    }
    return rc;
}

/* False with EINVAL for what no clock shows. */
static bool spec_of_val(const struct timeval *times, struct timespec out[2]) {
    for (int i = 0; i < 2; i++) {
        if (times[i].tv_usec < 0 || times[i].tv_usec > 999999) {
            errno = EINVAL;
            return false;
        }
        out[i] = (struct timespec){times[i].tv_sec, times[i].tv_usec * 1000};
    }
    return true;
}

static int set_val_on_marker(int dirfd, const char *path, const struct timeval *times,
                             int at_flags) {
    struct timespec spec[2];
    if (times == NULL) {
        return set_on_marker(dirfd, path, NULL, at_flags);
    }
    return spec_of_val(times, spec) ? set_on_marker(dirfd, path, spec, at_flags) : -1;
}

static int set_utimbuf_on_marker(const char *path, const struct utimbuf *times) {
    if (times == NULL) {
        return set_on_marker(AT_FDCWD, path, NULL, 0);
    }
    const struct timespec spec[2] = {{times->actime, 0}, {times->modtime, 0}};
    return set_on_marker(AT_FDCWD, path, spec, 0);
}

#define SET_OR(rc_of_marker, real_call) \
    const int rc = rc_of_marker; \
    return P4SHIM_LIKELY(rc == NOT_A_MARKER) ? real_call : rc;

#define MAKE_UTIME(name) \
    P4SHIM_HOOK(UTIME, name) { \
        SET_OR(set_utimbuf_on_marker(path, times), p4shim_real.name(path, times)) \
    }
#define MAKE_UTIMES(name) \
    P4SHIM_HOOK(UTIMES, name) { \
        SET_OR(set_val_on_marker(AT_FDCWD, path, times, 0), p4shim_real.name(path, times)) \
    }
#define MAKE_LUTIMES(name) \
    P4SHIM_HOOK(LUTIMES, name) { \
        SET_OR(set_val_on_marker(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), \
               p4shim_real.name(path, times)) \
    }
#define MAKE_FUTIMESAT(name) \
    P4SHIM_HOOK(FUTIMESAT, name) { \
        SET_OR(set_val_on_marker(dirfd, path, times, 0), p4shim_real.name(dirfd, path, times)) \
    }
#define MAKE_UTIMENSAT(name) \
    P4SHIM_HOOK(UTIMENSAT, name) { \
        SET_OR(set_on_marker(dirfd, path, times, flags), \
               p4shim_real.name(dirfd, path, times, flags)) \
    }

#define MAKE(family, name) MAKE_##family(name)
P4SHIM_TIMES_HOOKS(MAKE)
