/*
 * hosts.c - hosts with a process for each connection, with thousands of threads, in another root,
 * under a filter of system calls; children with the memory of their parent; a handler of signals on
 * a small stack of its own, and one that forks.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.h"

/* As p4d does: a server that has used files itself forks for each connection, never execs; each
 * child opens the evicted file, and the server goes on with its own. */
void probe_fork_for_each(const char *path) {
    enum { CONNECTIONS = 200 };
    int served = 0;
    close(open(getenv("PROBE_OTHER"), O_RDONLY));
    fflush(stdout);
    for (int i = 0; i < CONNECTIONS; i++) {
        if (fork() == 0) {
            char text[8];
            const int fd = open(path, O_RDONLY);
            _exit(read(fd, text, sizeof text) == sizeof text ? 0 : 1);
        }
    }
    for (int i = 0; i < CONNECTIONS; i++) {
        int status = 1;
        wait(&status);
        served += status == 0;
    }
    printf("served=%d of %d\n", served, CONNECTIONS);
    probe_show_fd(open(getenv("PROBE_OTHER"), O_RDONLY));
}

void probe_open_twice(const char *path) {
    for (int i = 0; i < 2; i++) {
        const int fd = open(path, O_RDONLY);
        if (fd < 0 || close(fd) != 0) {
            printf("open=-1 errno=%d\n", errno);
            return;
        }
    }
    printf("open_twice=ok\n");
}

static volatile sig_atomic_t is_child;
static volatile sig_atomic_t signals;
static volatile sig_atomic_t children;
static volatile sig_atomic_t killed;

static void fork_now(int number) {
    int status = 0;
    const int saved = errno;
    const pid_t pid = is_child ? -1 : fork();
    (void)number;
    if (pid == 0) {
        is_child = 1;
    } else if (pid > 0 && waitpid(pid, &status, 0) == pid) {
        children++;
        killed += status != 0;
    }
    signals++;
    errno = saved;
}

/* A handler that forks, and whose child goes on with what was interrupted, at any moment of it. */
void probe_fork_in_handler(const char *path) {
    enum { SIGNALS = 400 };
    const struct sigaction action = {.sa_handler = fork_now, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    for (int sent = 0; signals < SIGNALS;) {
        /* One at a time: where a fork takes long, the next would come before the program goes on. */
        if (sent == signals) {
            const struct itimerval soon = {{0, 0}, {0, 100 + sent}};
            setitimer(ITIMER_REAL, &soon, NULL);
            sent++;
        }
        const int fd = open(path, O_RDONLY);
        if (fd >= 0) {
            close(fd);
        }
        if (is_child) {
            const int again = open(path, O_RDONLY);
            _exit(fd >= 0 && again >= 0 ? 0 : 1);
        }
    }
    printf("killed=%d of %d\n", (int)killed, (int)children);
}

enum { THREADS = 3000 };
static pthread_barrier_t all_are_there;

static void *open_when_all_are_there(void *path) {
    struct stat st;
    pthread_barrier_wait(&all_are_there);
    const int fd = open(path, O_RDONLY);
    const int why_open = fd < 0 ? errno : 0;
    const int rc = stat(path, &st);
    const int why_stat = rc < 0 ? errno : 0;
    const int good = fd >= 0 && rc == 0 && S_ISREG(st.st_mode) && st.st_size == 1000;
    if (!good) {
        printf("open: %s, stat: %s\n", strerror(why_open), strerror(why_stat));
    }
    close(fd);
    return (void *)(intptr_t)good;
}

/* All of them alive at once, each with a buffer of events of its own. */
void probe_thousands(const char *path) {
    static pthread_t threads[THREADS];
    pthread_attr_t attributes;
    int good = 0;
    pthread_barrier_init(&all_are_there, NULL, THREADS);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, (size_t)64 * 1024);
    for (int i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], &attributes, open_when_all_are_there,
                           (void *)(uintptr_t)path) != 0) {
            printf("thread %d was not made\n", i);
            exit(1);
        }
    }
    for (int i = 0; i < THREADS; i++) {
        void *result = NULL;
        pthread_join(threads[i], &result);
        good += (int)(intptr_t)result;
    }
    printf("good=%d of %d\n", good, THREADS);
}

/* In a root of its own, without /proc, the depot has another name and the daemon's socket none. */
void probe_other_root(const char *path) {
    char root[4096];
    struct stat st;
    snprintf(root, sizeof root, "%s", path);
    *strstr(root, "/depot/") = '\0';
    if (chroot(root) != 0 || chdir("/") != 0) {
        printf("skip: no chroot: %s\n", strerrorname_np(errno));
        return;
    }
    const char *inside = path + strlen(root);
    const int rc = stat(inside, &st);
    printf("stat=%d regular=%d size=%lld\n", rc, S_ISREG(st.st_mode), (long long)st.st_size);
    probe_show_fd(open(inside, O_RDONLY));
    const int fd = open("/scratch/own", O_RDWR | O_CREAT, 0600);
    probe_show("own file", fd >= 0 ? (long)write(fd, "x", 1) : -1);
}

/* The kernel refuses one system call from here on, as a hardened service does. */
void probe_filtered(const char *path) {
    const unsigned number = (unsigned)atoi(getenv("PROBE_NUMBER"));
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog filter = {sizeof rules / sizeof *rules, rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
        printf("skip: no seccomp: %s\n", strerrorname_np(errno));
        return;
    }
    struct stat st;
    const int rc = stat(path, &st);
    printf("stat=%d %s\n", rc, S_ISREG(st.st_mode) ? "regular" : "socket");
    probe_show_fd(open(path, O_RDONLY));
    probe_show_fd(open(getenv("PROBE_OTHER"), O_RDONLY));
}

/* Opens by a relative name before and after a child that uses the same memory has done so. */
void probe_vfork_chdir(const char *path) {
    char directory[4096];
    const char *name = strrchr(path, '/') + 1;
    snprintf(directory, sizeof directory, "%.*s", (int)(name - path - 1), path);
    probe_show("chdir", chdir(directory));
    probe_show_fd(open(name, O_RDONLY));
    fflush(stdout);
    const pid_t pid = vfork();
    if (pid == 0) {
        _exit(chdir(getenv("PROBE_SCRATCH")) != 0 || open(name, O_RDONLY) >= 0);
    }
    int status = 1;
    waitpid(pid, &status, 0);
    printf("child=%d\n", status);
    probe_show_fd(open(name, O_RDONLY));
}

enum { SMALL_STACK = 8192, GUARD = 4096 };
static const char *of_handler;
static char missing[4096]; /* beside it, and not a managed name */
static struct stat seen_in_handler;
static int opened_in_handler;

static void use_the_file(int signal_number) {
    (void)signal_number;
    if (open(missing, O_RDONLY) < 0 && stat(of_handler, &seen_in_handler) == 0) {
        opened_in_handler = open(of_handler, O_RDONLY);
    }
}

/* The page below the stack cannot be written to. */
void probe_alternate_stack(const char *path) {
    char directory[4096];
    snprintf(directory, sizeof directory, "%.*s", (int)(strrchr(path, '/') - path), path);
    of_handler = getenv("PROBE_RELATIVE") == NULL ? path : strrchr(path, '/') + 1;
    snprintf(missing, sizeof missing, "%s.txt", path);
    char *at = mmap(NULL, GUARD + SMALL_STACK, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const stack_t stack = {.ss_sp = at + GUARD, .ss_size = SMALL_STACK};
    const struct sigaction action = {.sa_handler = use_the_file, .sa_flags = SA_ONSTACK};
    if (chdir(directory) != 0 || at == MAP_FAILED || mprotect(at, GUARD, PROT_NONE) != 0 ||
        sigaltstack(&stack, NULL) != 0 || sigaction(SIGUSR1, &action, NULL) != 0) {
        probe_show("set up", -1);
        return;
    }
    raise(SIGUSR1);
    printf("regular=%d size=%lld\n", S_ISREG(seen_in_handler.st_mode),
           (long long)seen_in_handler.st_size);
    probe_show_fd(opened_in_handler);
}
