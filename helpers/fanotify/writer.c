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
#include <unistd.h>

/* "Uid:" stands in the first half page of /proc/<pid>/status, after a name of at most 64 bytes. */
#define STATUS_BYTES 1024

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

static struct writer owner_of(int directory_fd, const char *path) {
    struct stat st;
    if (path == NULL ||
        fstatat(directory_fd, path, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0) {
        return (struct writer){.auth = WRITER_NONE};
    }
    return (struct writer){.uid = st.st_uid, .auth = WRITER_OWNER};
}

struct writer writer_of(const struct fan_event *event, bool has_pidfd, int directory_fd,
                        const char *path) {
    uid_t uid;
    const bool may_ask = event->pid > 0 && (!has_pidfd || event->pidfd >= 0);
    if (may_ask && effective_uid(event->pid, &uid) &&
        (!has_pidfd || is_still_there(event->pidfd))) {
        return (struct writer){.uid = uid, .auth = has_pidfd ? WRITER_PIDFD : WRITER_PROC};
    }
    return owner_of(directory_fd, path);
}

const char *writer_auth_name(enum writer_auth auth) {
    static const char *const names[] = {[WRITER_PIDFD] = "pidfd",
                                        [WRITER_PROC] = "proc",
                                        [WRITER_OWNER] = "owner",
                                        [WRITER_NONE] = "none"};
    return names[auth];
}
