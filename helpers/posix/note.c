/*
 * note.c - what an exchange of names is about, written beside it before it begins.
 *
 * An exchange that gives out another file than it was to is taken back at once. Killed in between, the
 * daemon leaves what p4d wrote last in our own directory and an older version under the name. The note
 * at `<aside>.note` says where it belongs and what stood in its place, so that the next start can go on.
 *
 * It is a symlink that leads nowhere: its text comes with its name in one transaction of the file
 * system's journal, before the exchange's, so that it needs no flush. XFS keeps 1024 bytes in one; a
 * longer text goes into a file, which does.
 */
#include "posix.h"

#include <inttypes.h>
#include <stdlib.h>

#define SUFFIX ".note"
#define VERSION 1

/* Six numbers and a path. */
#define TEXT_BYTES (PATH_MAX + 256)

struct identity identity_of(const struct stat *st) {
    return (struct identity){.type = st->st_mode & S_IFMT,
                             .ino = st->st_ino,
                             .size_bytes = st->st_size,
                             .mtime_ns = time_ns(st->st_mtim)};
}

/* The number of an inode alone may be another file's by now; with size and time it is not. */
bool is_identical(const struct stat *st, const struct identity *known) {
    return (st->st_mode & S_IFMT) == known->type && st->st_ino == known->ino &&
           st->st_size == known->size_bytes && time_ns(st->st_mtim) == known->mtime_ns;
}

static int name_of(char out[PATH_MAX], const char *aside, const char *suffix) {
    const int bytes = snprintf(out, PATH_MAX, "%s%s", aside, suffix);
    return bytes < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int write_file(const char *path, const char *text) {
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return failure();
    }
    const size_t bytes = strlen(text);
    const ssize_t written = write(fd, text, bytes);
    int result = written < 0 ? failure() : written == (ssize_t)bytes ? 0 : -ENOSPC;
    if (result == 0) {
        result = result_of(fsync(fd));
    }
    close(fd);
    if (result < 0) {
        unlink(path);
    }
    return result;
}

/* One that is there already is replaced in one step. */
int note_write(const char *aside, const struct note *note) {
    char path[PATH_MAX];
    char fresh[PATH_MAX];
    char text[TEXT_BYTES];
    if (name_of(path, aside, SUFFIX) < 0 || name_of(fresh, aside, SUFFIX ".new") < 0) {
        return -ENAMETOOLONG;
    }
    snprintf(text, sizeof text,
             "%d %d %o %" PRIu64 " %" PRId64 " %" PRId64 " %o %" PRIu64 " %" PRId64 " %" PRId64 " %s",
             VERSION, note->stage, note->put.type, note->put.ino, note->put.size_bytes,
             note->put.mtime_ns, note->wanted.type, note->wanted.ino, note->wanted.size_bytes,
             note->wanted.mtime_ns, note->target);
    unlink(fresh);
    int result = result_of(symlink(text, fresh));
    if (result == -ENAMETOOLONG) {
        result = write_file(fresh, text);
    }
    return result < 0 ? result : result_of(rename(fresh, path));
}

static ssize_t read_text(const char *path, char *text, size_t size) {
    ssize_t bytes = readlink(path, text, size);
    if (bytes >= 0 || errno != EINVAL) {
        return bytes;
    }
    const int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    bytes = read(fd, text, size);
    close(fd);
    return bytes;
}

/* 0, -ENOENT, or -EBADMSG for what is no whole note. */
int note_read(const char *aside, struct note *out) {
    char path[PATH_MAX];
    char text[TEXT_BYTES];
    if (name_of(path, aside, SUFFIX) < 0) {
        return -ENAMETOOLONG;
    }
    const ssize_t bytes = read_text(path, text, sizeof text - 1);
    if (bytes < 0) {
        return failure();
    }
    text[bytes] = '\0';
    int version = 0;
    int at = 0;
    const int found = sscanf(
        text,
        "%d %d %o %" SCNu64 " %" SCNd64 " %" SCNd64 " %o %" SCNu64 " %" SCNd64 " %" SCNd64 " %n",
        &version, &out->stage, &out->put.type, &out->put.ino, &out->put.size_bytes,
        &out->put.mtime_ns, &out->wanted.type, &out->wanted.ino, &out->wanted.size_bytes,
        &out->wanted.mtime_ns, &at);
    const char *target = text + at;
    if (found != 10 || version != VERSION || target[0] != '/' || strlen(target) >= PATH_MAX) {
        return -EBADMSG;
    }
    memcpy(out->target, target, strlen(target) + 1);
    return 0;
}

void note_remove(const char *aside) {
    char path[PATH_MAX];
    if (name_of(path, aside, SUFFIX) == 0) {
        unlink(path);
    }
}
