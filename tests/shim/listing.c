/*
 * listing.c - the probe's directories, walks, and programs and libraries that are depot files.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.h"

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}
static char *lines[1024];
static size_t line_count;
static void add_line(const char *kind, const char *name, int type) {
    char text[600];
    snprintf(text, sizeof text, "%s %s %d", kind, name, type);
    lines[line_count++] = strdup(text);
}
static void show_lines(void) {
    qsort(lines, line_count, sizeof *lines, by_name);
    for (size_t i = 0; i < line_count; i++) {
        puts(lines[i]);
    }
}
void probe_readdir(const char *path) {
    DIR *dir = opendir(path);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        add_line("readdir", e->d_name, e->d_type);
    }
    rewinddir(dir);
    for (struct dirent64 *e; (e = readdir64(dir)) != NULL;) {
        add_line("readdir64", e->d_name, e->d_type);
    }
    closedir(dir);
    const int fd = open(path, O_RDONLY | O_DIRECTORY);
    char buffer[32768];
    const ssize_t n = getdents64(fd, buffer, sizeof buffer);
    for (ssize_t at = 0; at < n;) {
        const struct dirent64 *e = (const struct dirent64 *)(void *)(buffer + at);
        add_line("getdents64", e->d_name, e->d_type);
        at += e->d_reclen;
    }
    close(fd);
    struct dirent **list;
    const int count = scandir(path, &list, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        add_line("scandir", list[i]->d_name, list[i]->d_type);
    }
    show_lines();
    probe_show("scandir_missing", scandir("/nowhere/at/all", &list, NULL, NULL));
}
static int see(const char *path, const struct stat *st, int type, struct FTW *at) {
    printf("nftw %s %d %o %lld\n", path + at->base, type, st->st_mode,
           S_ISREG(st->st_mode) ? (long long)st->st_size : 0);
    return 0;
}
static int see_ftw(const char *path, const struct stat *st, int type) {
    printf("ftw %s %d %o\n", strrchr(path, '/'), type, st->st_mode);
    return 0;
}
static int by_fts(const FTSENT **a, const FTSENT **b) {
    return strcmp((*a)->fts_name, (*b)->fts_name);
}
void probe_walk(const char *path) {
    probe_show("nftw", nftw(path, see, 10, FTW_PHYS));
    probe_show("nftw_chdir", nftw(path, see, 10, FTW_PHYS | FTW_CHDIR));
    probe_show("ftw", ftw(path, see_ftw, 10));
    char *paths[] = {(char *)(size_t)path, NULL};
    FTS *fts = fts_open(paths, FTS_PHYSICAL, by_fts);
    for (FTSENT *e; (e = fts_read(fts)) != NULL;) {
        printf("fts %s %d %o\n", e->fts_name, e->fts_info, e->fts_statp->st_mode);
    }
    fts_close(fts);
}

static void show_status(const char *what, int status) {
    printf("%s exited=%d status=%d\n", what, WIFEXITED(status), WEXITSTATUS(status));
}
void probe_exec(const char *path) {
    int status = 0;
    fflush(stdout);
    if (fork() == 0) {
        execl(path, path, "7", (char *)NULL);
        _exit(100 + (errno == EIO));
    }
    wait(&status);
    show_status("execl", status);
}
/* By its name alone, in its directory: not a name to be searched for. */
void probe_exec_relative(const char *path) {
    int status = 0;
    const char *slash = strrchr(path, '/');
    char directory[4096];
    snprintf(directory, sizeof directory, "%.*s", (int)(slash - path), path);
    fflush(stdout);
    if (fork() == 0) {
        if (chdir(directory) == 0) {
            execl(slash + 1, path, "7", (char *)NULL);
        }
        _exit(100 + (errno == EIO));
    }
    wait(&status);
    show_status("execl", status);
}
void probe_vfork_exec(const char *path) {
    int status = 0;
    char *argv[] = {(char *)(size_t)path, (char *)(size_t)"7", NULL};
    fflush(stdout);
    const pid_t pid = vfork();
    if (pid == 0) {
        execv(path, argv);
        _exit(100 + (errno == EIO));
    }
    waitpid(pid, &status, 0);
    show_status("vfork", status);
}
void probe_spawn(const char *path) {
    int status = 0;
    pid_t pid = 0;
    char *argv[] = {(char *)(size_t)path, (char *)(size_t)"7", NULL};
    fflush(stdout);
    printf("posix_spawn=%d\n", posix_spawn(&pid, path, NULL, NULL, argv, environ));
    waitpid(pid, &status, 0);
    show_status("spawn", status);
}
/* glibc 2.39 and later. PROBE_BARE: a name for pidfd_spawnp to search the PATH for. */
void probe_pidfd_spawn(const char *path) {
    typedef int (*spawn)(int *, const char *, const posix_spawn_file_actions_t *,
                         const posix_spawnattr_t *, char *const[], char *const[]);
    static const char *const names[] = {"pidfd_spawn", "pidfd_spawnp", "pidfd_spawnp"};
    const char *const paths[] = {path, path, getenv("PROBE_BARE")};
    char *argv[] = {(char *)(size_t)path, (char *)(size_t)"7", NULL};
    fflush(stdout);
    for (size_t i = 0; i < 3; i++) {
        siginfo_t info;
        int pidfd = -1;
        spawn call = (spawn)dlsym(RTLD_DEFAULT, names[i]);
        const int why = call(&pidfd, paths[i], NULL, NULL, argv, environ);
        printf("%s=%s\n", names[i], why == 0 ? "0" : strerrorname_np(why));
        if (why == 0) {
            waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED);
            printf("exited=%d status=%d\n", info.si_code == CLD_EXITED, info.si_status);
        }
    }
}
void probe_dlopen(const char *path) {
    void *library = dlopen(path, RTLD_NOW);
    printf("dlopen=%s\n", library == NULL ? "NULL" : "ok");
}

/* A little of everything, one line each; for runs in which the shim's own calls fail. */
void probe_everything(const char *directory) {
    char path[8][512];
    static const char *const names[] = {"jam/a,v",  "cut,v",  "linked,v", "linked2,v",
                                        "gone,v",   "away,v", "none,v",   "jam"};
    for (int i = 0; i < 8; i++) {
        snprintf(path[i], sizeof path[i], "%s/%s", directory, names[i]);
    }
    struct stat st;
    int rc = stat(path[0], &st);
    printf("stat=%d %s %lld\n", rc, S_ISREG(st.st_mode) ? "regular" : "socket",
           (long long)st.st_size);
    DIR *dir = opendir(path[7]);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] != '.') {
            printf("list=%d\n", e->d_type);
        }
    }
    closedir(dir);
    const struct timeval times[2] = {{1, 1}, {1234567890, 5}};
    probe_show("times", utimes(path[0], times));
    probe_show_fd(open(path[0], O_RDONLY));
    probe_show_fd(open(path[0], O_RDONLY));
    probe_show("missing", open(path[6], O_RDONLY));
    probe_show("truncate", truncate(path[1], 5));
    probe_show("link", link(path[2], path[3]));
    probe_show("unlink", unlink(path[4]));
    probe_show("rename", rename(path[5], getenv("PROBE_TO")));
}
