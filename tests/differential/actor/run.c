/*
 * run.c - operations that start another process. Only for actors of one thread: a fork of a
 * thread beside would inherit a script that is open for writing, and exec would say ETXTBSY.
 */
#include "actor.h"

#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

/* script how path seed: a program that prints its seed */
static void run_script(struct actor *a) {
    struct place p = place_of(a, field(a, 1), field(a, 2));
    char text[128];
    const int bytes = snprintf(text, sizeof text, "#!/bin/sh\necho ran %ld\n", number(a, 3));
    int fd = -1;
    if (p.is_good && TRY(a, "open", fd = openat(p.dirfd, p.path,
                                                O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755))) {
        (void)TRY(a, "write", write_all(fd, text, (size_t)bytes) ? 0 : -1);
        (void)TRY(a, "fchmod", fchmod(fd, 0755));
        close(fd);
    }
    leave_place(&p);
}

static int start_spawn(const char *path, int out, pid_t *pid) {
    char *const argv[] = {(char *)path, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out, 1);
    const int why = posix_spawn(pid, path, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    errno = why;
    return why == 0 ? 0 : -1;
}

/* The child tells why its exec failed by its status. */
static int start_exec(const char *variant, const char *path, int out, pid_t *pid) {
    char *const argv[] = {(char *)path, NULL};
    *pid = strcmp(variant, "vfork") == 0 ? vfork() : fork();
    if (*pid == 0) {
        dup2(out, 1);
        if (strcmp(variant, "execl") == 0) {
            execl(path, path, (char *)NULL);
        } else if (strcmp(variant, "execv") == 0) {
            execv(path, argv);
        } else {
            execve(path, argv, environ);
        }
        _exit(errno == EIO ? 105 : errno == ENOSPC ? 128 : 64 + errno % 64);
    }
    return *pid < 0 ? -1 : 0;
}

/* exec variant how path */
static void run_exec(struct actor *a) {
    struct place p = place_of(a, field(a, 2)[0] == 'd' ? "a" : field(a, 2), field(a, 3));
    const char *variant = field(a, 1);
    int ends[2];
    pid_t pid = 0;
    if (stops_here(a, "exec") || pipe2(ends, O_CLOEXEC) != 0) {
        return;
    }
    const int rc = strcmp(variant, "spawn") == 0 ? start_spawn(p.absolute, ends[1], &pid)
                                                 : start_exec(variant, p.absolute, ends[1], &pid);
    const int why = errno;
    close(ends[1]);
    int status = 0;
    char output[128] = "";
    if (rc == 0) {
        const ssize_t n = read(ends[0], output, sizeof output - 1);
        output[n > 0 ? n - 1 : 0] = '\0';
        waitpid(pid, &status, 0);
    }
    close(ends[0]);
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (rc != 0 || code == 105 || code == 128) {
        errno = rc != 0 ? why : code == 105 ? EIO : ENOSPC;
        (void)note_step(a, "exec", -1);
        return;
    }
    (void)note_step(a, "exec", 0);
    say(a, " status=%d \"%s\"", code, output);
}

/* fork how path: the child reads it */
static void run_fork(struct actor *a) {
    struct place p = place_of(a, field(a, 1)[0] == 'd' ? "a" : field(a, 1), field(a, 2));
    int ends[2];
    if (stops_here(a, "fork") || pipe2(ends, O_CLOEXEC) != 0) {
        return;
    }
    const pid_t pid = fork();
    if (pid == 0) {
        unsigned char buffer[65536];
        uint64_t said[3] = {0, 0, 0};
        const int fd = open(p.absolute, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : 0;
        while (fd >= 0 && (n = read(fd, buffer, sizeof buffer)) > 0) {
            said[1] += (uint64_t)n;
            said[2] = hash_bytes(said[2], buffer, (size_t)n);
        }
        said[0] = n < 0 ? (uint64_t)errno : 0;
        (void)write_all(ends[1], said, sizeof said);
        _exit(0);
    }
    close(ends[1]);
    uint64_t said[3] = {EPIPE, 0, 0};
    (void)!read(ends[0], said, sizeof said);
    close(ends[0]);
    waitpid(pid, NULL, 0);
    errno = (int)said[0];
    if (note_step(a, "fork", said[0] == 0 ? 0 : -1)) {
        say(a, " %llu:%llx", (unsigned long long)said[1], (unsigned long long)said[2]);
    }
}

const struct operation run_operations[] = {
    {"script", run_script}, {"exec", run_exec}, {"fork", run_fork}, {NULL, NULL},
};
