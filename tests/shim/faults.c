/*
 * faults.c - takes the place of syscall(2) in a build of the shim with -DP4SHIM_FAULTS, and lets
 * calls fail: FAULT_AT=n the n-th alone, FAULT_NUMBER=n each one of that number (as seccomp
 * would), with FAULT_ERRNO. FAULT_STEAL=n: just before the n-th call another thread of the host
 * has closed every descriptor of a kind that the shim uses, and opened its database,
 * FAULT_DATABASE, under its number, to append to where FAULT_APPEND says so. FAULT_COUNT=file: appends a byte a call, to learn how many
 * there are. FAULT_MISSING="name name": libc has no such names. FAULT_EXCHANGE=n: just before the
 * n-th call FAULT_FILE and FAULT_TARGET change places, as when the daemon restores or evicts.
 * FAULT_FORK: whenever the shim sends something another thread of the host forks, and the child
 * looks for sockets of ours.
 * FAULT_HANDLER=n: just before the n-th call a signal handler forks, and both go on.
 * FAULT_REUSE: where an event buffer was unmapped another thread of the host has mapped memory of
 * its own at once, and a third one forks.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../helpers/event_buffer.h"

long p4shim_syscall(long number, ...);
void *p4shim_find(const char *name);

/* Whether `word` is one of the words of `list`, which spaces part. */
static bool has_word(const char *list, const char *word) {
    const size_t bytes = strlen(word);
    for (const char *at = list; (at = strstr(at, word)) != NULL; at += bytes) {
        if ((at == list || at[-1] == ' ') && (at[bytes] == '\0' || at[bytes] == ' ')) {
            return true;
        }
    }
    return false;
}

void *p4shim_find(const char *name) {
    const char *missing = getenv("FAULT_MISSING");
    return missing != NULL && has_word(missing, name) ? NULL : dlsym(RTLD_NEXT, name);
}

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

static int stolen[1024];
static size_t stolen_count;

/* What another thread of the host holds now is its own: none of it may be closed by us. */
__attribute__((destructor)) static void look_after_stolen(void) {
    for (size_t i = 0; i < stolen_count; i++) {
        struct stat st;
        if (syscall(SYS_fstat, stolen[i], &st) != 0) {
            static const char text[] = "the host's descriptor was closed\n";
            syscall(SYS_write, STDOUT_FILENO, text, sizeof text - 1);
        }
    }
}

static void steal_descriptors(long number) {
    const char *database = getenv("FAULT_DATABASE");
    const int how = getenv("FAULT_APPEND") == NULL ? O_RDWR : O_WRONLY | O_APPEND;
    if (number == SYS_write) { /* from the look to the write of the log nobody can help */
        return;
    }
    const int own = (int)syscall(SYS_openat, AT_FDCWD, database, how | O_CREAT, 0600);
    for (int fd = 3; fd < 1024; fd++) {
        struct stat st;
        const int flags = fcntl(fd, F_GETFL);
        if (fd != own && flags != -1 && syscall(SYS_fstat, fd, &st) == 0 &&
            (S_ISSOCK(st.st_mode) || (flags & (O_PATH | O_WRONLY)) != 0)) {
            dup3(own, fd, 0);
            if (number != SYS_close) { /* from the look to the close nobody can help */
                stolen[stolen_count++] = fd;
            }
        }
    }
}

static void say(const char *text) {
    syscall(SYS_write, STDERR_FILENO, text, strlen(text));
}

/* The memory must still be there in the child. */
static void reuse(void *at, size_t bytes) {
    static bool is_at_it; /* the child unmaps buffers too */
    unsigned char pages[sizeof(struct p4cache_event_buffer) / 4096 + 1];
    int status = 0;
    if (is_at_it) {
        return;
    }
    is_at_it = true;
    void *own = mmap(at, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (own == MAP_FAILED) {
        say("the place of the buffer was not free\n");
    } else {
        const pid_t child = fork();
        if (child == 0) {
            syscall(SYS_exit_group, mincore(own, bytes, pages) == 0 ? 0 : 1);
        }
        waitpid(child, &status, 0);
        say(status == 0 ? "reused\n" : "a child unmapped the host's memory\n");
        munmap(own, bytes);
    }
    is_at_it = false;
}

static void fork_in_handler(void) {
    int status = 0;
    const pid_t child = fork();
    if (child == 0) {
        dup2((int)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_WRONLY), STDOUT_FILENO);
    } else if (waitpid(child, &status, 0) != child || status != 0) {
        say("the child of a handler was killed\n");
    }
}

static void look_for_sockets(void) {
    int status = 0;
    const pid_t child = fork();
    if (child == 0) {
        for (int fd = 3; fd < 1024; fd++) {
            struct stat st;
            if (syscall(SYS_fstat, fd, &st) == 0 && S_ISSOCK(st.st_mode)) {
                status = 1;
            }
        }
        syscall(SYS_exit_group, status);
    }
    waitpid(child, &status, 0);
    say(status == 0 ? "no socket\n" : "a child holds a socket of ours\n");
}

long p4shim_syscall(long number, ...) {
    static atomic_long calls;
    const long call = atomic_fetch_add(&calls, 1) + 1;
    count_call();
    if (call == setting("FAULT_EXCHANGE")) {
        syscall(SYS_renameat2, AT_FDCWD, getenv("FAULT_FILE"), AT_FDCWD, getenv("FAULT_TARGET"),
                RENAME_EXCHANGE);
    }
    if (call == setting("FAULT_STEAL")) {
        steal_descriptors(number);
    }
    if (call == setting("FAULT_HANDLER")) {
        fork_in_handler();
    }
    if (number == SYS_sendto && getenv("FAULT_FORK") != NULL) {
        look_for_sockets();
    }
    va_list list;
    long arg[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++) {
        arg[i] = va_arg(list, long);
    }
    va_end(list);
    if (call == setting("FAULT_AT") || number == setting("FAULT_NUMBER")) {
        if (number == SYS_shmctl && (int)arg[1] == IPC_RMID) {
            syscall(number, arg[0], arg[1], arg[2]); /* or the machine fills up with segments */
        }
        errno = (int)setting("FAULT_ERRNO");
        return -1;
    }
    const long rc = syscall(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
    if (number == SYS_munmap && arg[1] == (long)sizeof(struct p4cache_event_buffer) &&
        getenv("FAULT_REUSE") != NULL) {
        reuse((void *)arg[0], (size_t)arg[1]);
    }
    return rc;
}
