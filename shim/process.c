/*
 * process.c - evicted programs and libraries, and the moments at which a process ends or turns
 * into another: events that still wait are sent before.
 *
 * All of this runs in a vfork child too, on its parent's memory: no lock, no allocation.
 */
#define _GNU_SOURCE
#include <stdarg.h>

#include "real.h"
#include "shim.h"
#include "sys.h"

/* execvp and its like: a name without a slash is libc's to search for, and the directories of PATH
 * are not in a depot. For all others it is a file of the working directory. */
static bool searches_path(const char *function, const char *path) {
    static const char *const all[] = {"execvp", "execvpe", "execlp", "posix_spawnp",
                                      "pidfd_spawnp"};
    bool searches = false;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        searches = searches || strcmp(function, all[i]) == 0;
    }
    return searches && strchr(path, '/') == NULL;
}

/* 0, or the errno with which the program cannot be had. */
static int ready_to_run(const char *function, int dirfd, const char *path, int at_flags) {
    if (!p4shim_is_on()) {
        return 0;
    }
    const int saved = errno;
    p4shim_flush_all();
    errno = saved;
    if (path == NULL || searches_path(function, path)) {
        return 0;
    }
    const int verdict = p4shim_restore_before(dirfd, path, at_flags);
    return verdict > 0 ? verdict : 0;
}

/* The kernel refused to run it: whether to call again, else errno is final. A marker gives EACCES,
 * and one that was just restored may have been evicted again. */
static bool is_runnable_now(const char *function, int dirfd, const char *path, int at_flags,
                            int attempt) {
    if (errno != EACCES || !p4shim_is_on() || path == NULL || searches_path(function, path)) {
        return false;
    }
    if (attempt == P4SHIM_ATTEMPTS_MAX) {
        struct stat st;
        const bool is_marker =
            sys_fstatat(dirfd, path, &st, at_flags) == 0 && S_ISSOCK(st.st_mode);
        errno = is_marker ? EIO : EACCES;
        return false;
    }
    const int verdict = p4shim_restore_before(dirfd, path, at_flags);
    if (verdict > 0) {
        errno = verdict;
    }
    return verdict == P4SHIM_AGAIN;
}

#define RUN(name, dirfd, at_flags, call) \
    const int why = ready_to_run(#name, dirfd, path, at_flags); \
    if (why != 0) { \
        errno = why; \
        return -1; \
    } \
    int rc = call; \
    for (int attempt = 1; is_runnable_now(#name, dirfd, path, at_flags, attempt); attempt++) { \
        rc = call; \
    } \
    return rc;

#define MAKE_EXECVE(name) \
    P4SHIM_HOOK(EXECVE, name) { \
        P4SHIM_FIND_OR(name, -1) \
        RUN(name, AT_FDCWD, 0, p4shim_real.name(path, argv, envp)) \
    }

#define MAKE_EXECV(name) \
    P4SHIM_HOOK(EXECV, name) { \
        P4SHIM_FIND_OR(name, -1) \
        RUN(name, AT_FDCWD, 0, p4shim_real.name(path, argv)) \
    }

#define MAKE_EXECVEAT(name) \
    P4SHIM_HOOK(EXECVEAT, name) { \
        P4SHIM_FIND_OR(name, -1) \
        RUN(name, dirfd, flags & (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH), \
            p4shim_real.name(dirfd, path, argv, envp, flags)) \
    }

/* The list form becomes the vector form, on the stack, as libc does it. */
static size_t count_arguments(const char *first, va_list *list) {
    size_t count = 0;
    for (const char *arg = first; arg != NULL; arg = va_arg(*list, const char *)) {
        count++;
    }
    return count;
}

#define TAKE_ARGUMENTS(environment) \
    va_list list; \
    va_start(list, arg); \
    char *argv[count_arguments(arg, &list) + 1]; \
    va_end(list); \
    va_start(list, arg); \
    size_t taken = 0; \
    for (const char *at = arg; at != NULL; at = va_arg(list, const char *)) { \
        argv[taken++] = (char *)(uintptr_t)at; \
    } \
    argv[taken] = NULL; \
    environment; \
    va_end(list);

#define VECTOR_FORM_OF_execl execv
#define VECTOR_FORM_OF_execlp execvp
#define VECTOR_FORM_OF_execle execve
#define REAL_MEMBER(name) p4shim_real.name
#define VECTOR_FORM(name) REAL_MEMBER(VECTOR_FORM_OF_##name)

#define MAKE_EXECL(name) \
    P4SHIM_HOOK(EXECL, name) { \
        TAKE_ARGUMENTS((void)0) \
        P4SHIM_FIND_OR(name, -1) \
        RUN(name, AT_FDCWD, 0, VECTOR_FORM(name)(path, argv)) \
    }

#define MAKE_EXECLE(name) \
    P4SHIM_HOOK(EXECLE, name) { \
        TAKE_ARGUMENTS(char *const *envp = va_arg(list, char *const *)) \
        P4SHIM_FIND_OR(name, -1) \
        RUN(name, AT_FDCWD, 0, VECTOR_FORM(name)(path, argv, envp)) \
    }

/* Those of pidfds write a descriptor, an int like a pid_t, where the others write the pid. */
#define MAKE_SPAWN(name) \
    P4SHIM_HOOK(SPAWN, name) { \
        P4SHIM_FIND_OR(name, ENOSYS) \
        int why = ready_to_run(#name, AT_FDCWD, path, 0); \
        if (why != 0) { \
            return why; \
        } \
        const int saved = errno; \
        why = p4shim_real.name(pid, path, actions, attributes, argv, envp); \
        for (int attempt = 1; (errno = why, is_runnable_now(#name, AT_FDCWD, path, 0, attempt)); \
             attempt++) { \
            why = p4shim_real.name(pid, path, actions, attributes, argv, envp); \
        } \
        why = errno; \
        errno = saved; \
        return why; \
    }

static __attribute__((noinline)) void before_dlopen(const char *path) {
    if (path != NULL && strchr(path, '/') != NULL && p4shim_is_on()) {
        (void)p4shim_restore_before(AT_FDCWD, path, 0);
    }
}

/* A jump, not a call (tests/shim/run.sh looks): libc takes RUNPATH and the namespace from the
 * return address, which must stay the caller's. */
#define MAKE_DLOPEN(name) \
    __attribute__((optimize("no-stack-protector"))) P4SHIM_HOOK(DLOPEN, name) { \
        P4SHIM_FIND_OR(name, NULL) \
        before_dlopen(path); \
        return p4shim_real.name(path, mode); \
    }

#define MAKE_EXIT(name) \
    P4SHIM_HOOK(EXIT, name) { \
        if (p4shim_is_on()) { \
            p4shim_flush_all(); \
        } \
        p4shim_real.name(status); \
        __builtin_unreachable(); \
    }

#define MAKE_CHDIR(name) \
    P4SHIM_HOOK(CHDIR, name) { \
        const int rc = p4shim_real.name(path); \
        p4shim_cwd_chosen(); \
        return rc; \
    }

#define MAKE_FCHDIR(name) \
    P4SHIM_HOOK(FCHDIR, name) { \
        const int rc = p4shim_real.name(fd); \
        p4shim_cwd_chosen(); \
        return rc; \
    }

#define MAKE(family, name) MAKE_##family(name)
P4SHIM_PROCESS_HOOKS(MAKE)
