/*
 * hostile.c - hosts that fork, close everything, take signals, run out of stack or descriptors
 * while a file of theirs is being restored; and the ways in which a process ends.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.h"

static int count_sockets(void) {
    int count = 0;
    for (int fd = 0; fd < 1024; fd++) {
        struct stat st;
        count += syscall(SYS_fstat, fd, &st) == 0 && S_ISSOCK(st.st_mode);
    }
    return count;
}

static bool has_connection(void) {
    for (int fd = 3; fd < 1024; fd++) {
        struct sockaddr_un peer;
        socklen_t bytes = sizeof peer;
        if (getpeername(fd, (struct sockaddr *)&peer, &bytes) == 0) {
            return true;
        }
    }
    return false;
}

/* Waits, without a timer, until a thread of this process talks to the daemon. */
static void await_request(void) {
    while (!has_connection()) {
        sched_yield();
    }
}

/* From now on the daemon answers. */
static void let_answer(void) {
    char done[PATH_MAX];
    snprintf(done, sizeof done, "%s/done", getenv("PROBE_SCRATCH"));
    close(open(done, O_WRONLY | O_CREAT, 0600));
}

static void *open_in_thread(void *path) {
    return (void *)(intptr_t)open(path, O_RDONLY);
}

void probe_fork_while_waiting(const char *path) {
    pthread_t thread;
    pthread_create(&thread, NULL, open_in_thread, (void *)(uintptr_t)path);
    await_request();
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        printf("child sockets=%d\n", count_sockets());
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    let_answer();
    void *fd = NULL;
    pthread_join(thread, &fd);
    probe_show_fd((int)(intptr_t)fd);
    printf("sockets left=%d\n", count_sockets());
}

static atomic_bool closer_stops;
static atomic_int closer_rounds;

/* A daemon that starts: closes all it has, opens its database under the first free numbers. */
static void *close_and_reopen(void *database) {
    while (!atomic_load(&closer_stops)) {
        for (int fd = 3; fd < 600; fd++) {
            close(fd);
        }
        for (int i = 0; i < 520; i++) {
            open(database, O_RDWR | O_CREAT, 0600);
        }
        atomic_fetch_add(&closer_rounds, 1);
        sched_yield();
    }
    return NULL;
}

void probe_closes_all(const char *path) {
    char database[PATH_MAX];
    char settled[PATH_MAX];
    snprintf(database, sizeof database, "%s/db.rev", getenv("PROBE_SCRATCH"));
    pthread_t thread;
    pthread_create(&thread, NULL, close_and_reopen, database);
    for (int i = 0; i < 10 || atomic_load(&closer_rounds) < 100; i++) {
        open(path, O_RDONLY); /* the daemon says OK and restores nothing: three requests */
    }
    atomic_store(&closer_stops, true);
    pthread_join(thread, NULL);
    snprintf(settled, sizeof settled, "%s/settled", getenv("PROBE_SCRATCH"));
    close(open(settled, O_WRONLY | O_CREAT, 0600));
    struct stat st;
    const int rc = stat(database, &st);
    printf("db.rev rc=%d bytes=%lld\n", rc, (long long)st.st_size);
    for (int fd = 3; fd < 1024; fd++) {
        close(fd);
    }
    probe_show_fd(open(path, O_RDONLY));
}

static const char *handler_path;
static volatile sig_atomic_t handler_runs;
static volatile sig_atomic_t handler_failures;

static void on_alarm(int signal_number) {
    (void)signal_number;
    const int saved = errno;
    const int fd = open(handler_path, O_RDONLY);
    handler_runs++;
    if (fd < 0) {
        handler_failures++;
    } else {
        close(fd);
    }
    errno = saved;
}

void probe_signals(const char *path) {
    char other[PATH_MAX];
    snprintf(other, sizeof other, "%s", getenv("PROBE_OTHER"));
    handler_path = other;
    struct sigaction action = {.sa_handler = on_alarm}; /* no SA_RESTART */
    sigaction(SIGALRM, &action, NULL);
    const struct itimerval tick = {{0, 2000}, {0, 2000}};
    setitimer(ITIMER_REAL, &tick, NULL);
    const int fd = open(path, O_RDONLY);
    const struct itimerval none = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &none, NULL);
    probe_show_fd(fd);
    printf("handler ran=%d failed=%d\n", handler_runs > 1, (int)handler_failures);
}

void probe_threads(const char *path) {
    enum { COUNT = 300 };
    pthread_t threads[COUNT];
    int opened = 0;
    for (int i = 0; i < COUNT; i++) {
        if (pthread_create(&threads[i], NULL, open_in_thread, (void *)(uintptr_t)path) != 0) {
            printf("thread %d not made\n", i);
        }
    }
    for (int i = 0; i < COUNT; i++) {
        void *fd = NULL;
        pthread_join(threads[i], &fd);
        opened += (intptr_t)fd >= 0;
    }
    printf("opened=%d of %d\n", opened, COUNT);
}

static void *open_and_stat(void *path) {
    struct stat st;
    const int missing = open("/nowhere,d/x", O_RDONLY);
    const int rc = stat(path, &st);
    const int fd = open(path, O_RDONLY);
    return (void *)(intptr_t)(missing < 0 && rc == 0 && S_ISREG(st.st_mode) ? fd : -1);
}

void probe_small_stack(const char *path) {
    pthread_attr_t attributes;
    pthread_t thread;
    void *fd = (void *)(intptr_t)-1;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, (size_t)PTHREAD_STACK_MIN);
    printf("create=%d\n",
           pthread_create(&thread, &attributes, open_and_stat, (void *)(uintptr_t)path));
    pthread_join(thread, &fd);
    probe_show_fd((int)(intptr_t)fd);
}

void probe_cancel(const char *path) {
    pthread_t thread;
    void *result = NULL;
    pthread_create(&thread, NULL, open_in_thread, (void *)(uintptr_t)path);
    await_request();
    pthread_cancel(thread);
    let_answer();
    pthread_join(thread, &result);
    printf("sockets left=%d\n", count_sockets());
    probe_show_fd(open(path, O_RDONLY));
}

void probe_chroot(const char *path) {
    struct stat st;
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/proc", "tmpfs", 0, NULL) != 0) {
        printf("skip: no mount namespace: %s\n", strerrorname_np(errno));
        return;
    }
    const int rc = stat(path, &st);
    printf("stat=%d regular=%d\n", rc, S_ISREG(st.st_mode));
    probe_show_fd(open(path, O_RDONLY));
}

void probe_no_descriptors(const char *path) {
    struct stat st;
    const struct rlimit none = {3, 3};
    setrlimit(RLIMIT_NOFILE, &none);
    const int rc = stat(path, &st);
    printf("stat=%d regular=%d\n", rc, S_ISREG(st.st_mode));
    probe_show_fd(open(path, O_RDONLY));
}

/* What rcs/rcsvfile.cc does to add a revision: an existing archive that cannot be opened and
 * that stat does not see is taken for a new one, and written over. */
void probe_rcs_update(const char *path) {
    char old[65536];
    char temporary[PATH_MAX];
    struct stat st;
    ssize_t bytes = 0;
    const int fd = open(path, O_RDONLY);
    if (fd < 0) {
        printf("open: %s\n", strerrorname_np(errno));
        if (lstat(path, &st) == 0) {
            printf("refused: it exists\n");
            return;
        }
        printf("taken for a new file\n");
    } else {
        bytes = read(fd, old, sizeof old);
        close(fd);
    }
    snprintf(temporary, sizeof temporary, "%s/tmp.%d.1", getenv("PROBE_SCRATCH"), getpid());
    const int out = open(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0444);
    if (write(out, "1.4 new\n", 8) != 8 || write(out, old, (size_t)bytes) != bytes) {
        printf("write: %s\n", strerrorname_np(errno));
    }
    close(out);
    printf("rename=%d old bytes=%zd\n", rename(temporary, path), bytes);
}

void probe_real_socket(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    printf("bind=%d\n", bind(fd, (struct sockaddr *)&address, sizeof address));
    listen(fd, 1);
    int rc = lstat(path, &st);
    printf("lstat=%d socket=%d\n", rc, S_ISSOCK(st.st_mode));
    rc = fstat(fd, &st);
    printf("fstat=%d socket=%d\n", rc, S_ISSOCK(st.st_mode));
    char directory[PATH_MAX];
    snprintf(directory, sizeof directory, "%s", path);
    char *slash = strrchr(directory, '/');
    *slash = '\0';
    DIR *dir = opendir(directory);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, slash + 1) == 0) {
            printf("type=%d\n", entry->d_type == DT_SOCK);
        }
    }
    closedir(dir);
    const int client = socket(AF_UNIX, SOCK_STREAM, 0);
    printf("connect=%d\n", connect(client, (struct sockaddr *)&address, sizeof address));
    probe_show_fd(open(path, O_RDONLY));
}

static void open_times(const char *path, int times) {
    for (int i = 0; i < times; i++) {
        const int fd = open(path, O_RDONLY);
        if (fd >= 0) {
            close(fd);
        }
    }
}

static void *open_in_thread_that_ends(void *path) {
    open_times(path, 5);
    return NULL;
}

/* 1000 opens in this thread, 5 in one that ends. */
void probe_opens(const char *path) {
    pthread_t thread;
    open_times(path, 1000);
    pthread_create(&thread, NULL, open_in_thread_that_ends, (void *)(uintptr_t)path);
    pthread_join(thread, NULL);
    puts("opened");
}

/* One open, then the process only waits for its input to end. */
void probe_idle(const char *path) {
    char byte;
    open_times(path, 1);
    puts("opened");
    fflush(stdout);
    while (read(0, &byte, 1) > 0) {
    }
}

void probe_exit_at_once(const char *path) {
    open_times(path, 7);
    _exit(0);
}

void probe_exec_after_open(const char *path) {
    open_times(path, 7);
    execl("/bin/true", "true", (char *)NULL);
}

/* 4 in the parent before the fork, 3 in the child, 2 in the parent after it. */
void probe_fork_events(const char *path) {
    open_times(path, 4);
    const pid_t child = fork();
    if (child == 0) {
        open_times(path, 3);
        exit(0);
    }
    waitpid(child, NULL, 0);
    open_times(path, 2);
}

/* As many opens as each line of the input says; a line of output once they are done. */
void probe_on_command(const char *path) {
    char line[32];
    while (fgets(line, sizeof line, stdin) != NULL) {
        open_times(path, atoi(line));
        puts("done");
        fflush(stdout);
    }
}
