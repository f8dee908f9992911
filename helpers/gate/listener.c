/* listener.c - see listener.h. */
#define _GNU_SOURCE
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../common/output.h"

#define SUFFIX ".new"

/*
 * Opens the directory and keeps the name: an address holds 107 bytes, a path any number. A link in
 * the directory's place is somebody else's, who would have us bind elsewhere.
 */
static void open_directory(struct listener *listener, const char *path) {
    char directory[PATH_MAX];
    const size_t bytes = strlen(path);
    if (path[0] != '/' || path[bytes - 1] == '/' || bytes >= sizeof directory) {
        output_fatal(EINVAL, "Cannot bind \"%s\": the absolute path of a file is wanted", path);
    }
    listener->name = path + bytes;
    while (listener->name[-1] != '/') {
        listener->name--;
    }
    const int slash = (int)(listener->name - path) - 1; /* with one at its end, a link is followed */
    snprintf(directory, sizeof directory, "%.*s", slash == 0 ? 1 : slash, path);
    listener->directory_fd = open(directory, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (listener->directory_fd < 0) {
        output_fatal(errno, "Cannot open directory \"%s\": %s", directory, strerror(errno));
    }
}

static void refuse_other_kinds(const struct listener *listener, const char *path) {
    struct stat st;
    if (fstatat(listener->directory_fd, listener->name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno != ENOENT) {
            output_fatal(errno, "Cannot look at \"%s\": %s", path, strerror(errno));
        }
    } else if (!S_ISSOCK(st.st_mode)) {
        output_fatal(EEXIST, "Cannot bind \"%s\": it exists and is no socket, move it away", path);
    }
}

/* Binds below the current directory, which is left at "/". */
static void bind_new(struct listener *listener, const char *new_name, const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, new_name, strlen(new_name) + 1);
    const mode_t mask = umask(0177);
    if (fchdir(listener->directory_fd) != 0 ||
        (unlinkat(listener->directory_fd, new_name, 0) != 0 && errno != ENOENT) ||
        bind(listener->fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        output_fatal(errno, "Cannot bind \"%s\": %s", path, strerror(errno));
    }
    umask(mask);
    if (chdir("/") != 0) {
        output_fatal(errno, "Cannot leave the directory of \"%s\"", path);
    }
}

void listener_open(struct listener *listener, int type, const char *path, mode_t mode) {
    char new_name[sizeof ((struct sockaddr_un *)0)->sun_path];
    struct stat st;
    open_directory(listener, path);
    refuse_other_kinds(listener, path);
    const int bytes = snprintf(new_name, sizeof new_name, "%s" SUFFIX, listener->name);
    if (bytes < 0 || (size_t)bytes >= sizeof new_name) {
        output_fatal(ENAMETOOLONG, "Cannot bind \"%s\": its last name may have %zu bytes", path,
                     sizeof new_name - sizeof SUFFIX);
    }
    listener->fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->fd < 0) {
        output_fatal(errno, "Cannot make a socket: %s", strerror(errno));
    }
    const int on = 1;
    if (type == SOCK_DGRAM &&
        setsockopt(listener->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0) {
        output_fatal(errno, "Cannot ask for the credentials of senders: %s", strerror(errno));
    }
    bind_new(listener, new_name, path);
    if (fchmodat(listener->directory_fd, new_name, mode, 0) != 0 ||
        fstatat(listener->directory_fd, new_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
        (type == SOCK_STREAM && listen(listener->fd, SOMAXCONN) != 0) ||
        renameat(listener->directory_fd, new_name, listener->directory_fd, listener->name) != 0) {
        output_fatal(errno, "Cannot open socket \"%s\": %s", path, strerror(errno));
    }
    listener->dev = st.st_dev;
    listener->ino = st.st_ino;
}

void listener_close(struct listener *listener) {
    struct stat st;
    if (fstatat(listener->directory_fd, listener->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        st.st_dev == listener->dev && st.st_ino == listener->ino) {
        unlinkat(listener->directory_fd, listener->name, 0);
    }
    close(listener->fd);
}
