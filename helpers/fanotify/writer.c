/* writer.c - see writer.h. */
#define _GNU_SOURCE
#include "writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* "Uid:" stands in the first half page of /proc/<pid>/status, after a name of at most 64 bytes. */
#define STATUS_BYTES 1024
/* As long as one write of an archive may take. After that its process's number may be another's. */
#define NEW_SECONDS 600

static bool effective_uid(pid_t pid, uid_t *uid) {
    char text[STATUS_BYTES + 1];
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    const ssize_t bytes = read(fd, text, STATUS_BYTES);
    close(fd);
    if (bytes <= 0) {
        return false;
    }
    text[bytes] = '\0';
    /* Real, effective, saved, file system. A line feed in the process's name is escaped. */
    const char *line = strstr(text, "\nUid:\t");
    unsigned real;
    unsigned effective;
    if (line == NULL || sscanf(line, "\nUid:\t%u\t%u", &real, &effective) != 2) {
        return false;
    }
    *uid = effective;
    return true;
}

/* EPERM says that it is there. A zombie is there too: its number is not used again yet. */
static bool is_still_there(int pidfd) {
    return syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) == 0 || errno == EPERM;
}

/* Where an access list lets anybody write, the group's bit is its mask, and set. */
static bool may_others_write(const struct statx *file) {
    return S_ISREG(file->stx_mode) && (file->stx_mode & (S_IWGRP | S_IWOTH)) != 0;
}

/* An older file was not made by whoever seems to have made it: he has linked it. */
static bool is_new(const struct statx *file) {
    const int64_t age = (int64_t)time(NULL) - file->stx_btime.tv_sec;
    /* time() is that of the last tick, and behind a file system that counts finer. */
    return (file->stx_mask & STATX_BTIME) != 0 && age >= -1 && age <= NEW_SECONDS;
}

/*
 * The owner's word counts where only he may write, and for a file that the process has made itself:
 * p4d with a umask of 002 or 0 leaves `,d` files that others may write, and forks for each
 * connection.
 */
static struct writer owner_of(const struct written_at *place) {
    struct statx file;
    if (place->path == NULL || statx(place->directory_fd, place->path,
                                     AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH,
                                     STATX_BASIC_STATS | STATX_BTIME, &file) != 0) {
        return (struct writer){.auth = WRITER_NONE};
    }
    if (may_others_write(&file) && !(place->is_makers && is_new(&file))) {
        return (struct writer){.auth = WRITER_OTHER};
    }
    return (struct writer){.uid = file.stx_uid, .auth = WRITER_OWNER};
}

struct writer writer_of(const struct fan_event *event, bool has_pidfd,
                        const struct written_at *place) {
    uid_t uid;
    const bool may_ask = event->pid > 0 && (!has_pidfd || event->pidfd >= 0);
    if (may_ask && effective_uid(event->pid, &uid) &&
        (!has_pidfd || is_still_there(event->pidfd))) {
        return (struct writer){.uid = uid, .auth = has_pidfd ? WRITER_PIDFD : WRITER_PROC};
    }
    return owner_of(place);
}

const char *writer_auth_name(enum writer_auth auth) {
    static const char *const names[] = {[WRITER_PIDFD] = "pidfd",
                                        [WRITER_PROC] = "proc",
                                        [WRITER_OWNER] = "owner",
                                        [WRITER_OTHER] = "other",
                                        [WRITER_NONE] = "none"};
    return names[auth];
}
