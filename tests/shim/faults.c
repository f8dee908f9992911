/*
 * faults.c - takes the place of syscall(2) in a build of the shim with -DP4SHIM_FAULTS, and lets
 * calls fail: FAULT_AT=n the n-th alone, FAULT_NUMBER=n each one of that number (as seccomp
 * would), with FAULT_ERRNO. FAULT_COUNT=file: appends a byte a call, to learn how many there are.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

long p4shim_syscall(long number, ...);

static long setting(const char *name) {
    const char *value = getenv(name);
    return value == NULL ? -1 : strtol(value, NULL, 10);
}

static void count_call(void) {
    const char *file = getenv("FAULT_COUNT");
    if (file != NULL) {
        const long fd = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_APPEND | O_CREAT, 0600);
        syscall(SYS_write, fd, ".", 1);
        syscall(SYS_close, fd);
    }
}

long p4shim_syscall(long number, ...) {
    static atomic_long calls;
    const long call = atomic_fetch_add(&calls, 1) + 1;
    count_call();
    if (call == setting("FAULT_AT") || number == setting("FAULT_NUMBER")) {
        errno = (int)setting("FAULT_ERRNO");
        return -1;
    }
    va_list list;
    long arg[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++) {
        arg[i] = va_arg(list, long);
    }
    va_end(list);
    return syscall(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}
