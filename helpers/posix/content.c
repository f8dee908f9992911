/*
 * content.c - files that are made under names of our own, and small ones in one call: read whole, and
 * brought to their name.
 *
 * One call because each step of its own would be a change of thread, and most files are small.
 */
#include "posix.h"

#include <inttypes.h>

/*
 * Reads a regular file from its start, at most `capacity` bytes. `out`: the file as it was opened.
 * Returns how many bytes came.
 */
P4POSIX_EXPORT int p4posix_read_file(const char *path, void *buffer, int capacity,
                                     struct p4posix_stat *out) {
    const int fd = open_for_read(path);
    if (fd < 0) {
        return fd;
    }
    struct stat st;
    int result = result_of(fstat(fd, &st));
    if (result == 0) {
        fill_stat(out, &st);
        result = read_at(fd, buffer, capacity, 0);
    }
    close(fd);
    return result;
}

/* Makes `first` and gives it the name `<first>.<inode>`, by which a restart knows it from any other. */
static int create_named(const char *first, char name[PATH_MAX], uint64_t *ino) {
    const int fd = create_temp(first, 0600);
    if (fd < 0) {
        return fd;
    }
    struct stat st;
    int result = result_of(fstat(fd, &st));
    if (result == 0) {
        *ino = st.st_ino;
        const int bytes = snprintf(name, PATH_MAX, "%s.%" PRIu64, first, *ino);
        result = bytes < PATH_MAX ? result_of(rename(first, name)) : -ENAMETOOLONG;
    }
    if (result < 0) {
        close(fd);
        unlink(first);
        return result;
    }
    return fd;
}

/* Returns the descriptor, for reading and writing. On failure nothing is left. */
P4POSIX_EXPORT int p4posix_create_named(const char *first, uint64_t *ino) {
    char name[PATH_MAX];
    return create_named(first, name, ino);
}

/*
 * Makes `first`, as p4posix_create_named(), fills it, and publishes it: results and what may be left at
 * its name are those of p4posix_publish(). `out`: the file in the end, by its own descriptor; its inode
 * is 0 when none was made.
 */
P4POSIX_EXPORT int p4posix_bring(const char *first, const char *target, const void *bytes, int count,
                                 const struct p4posix_attributes *attributes,
                                 const struct p4posix_expect *expect, struct p4posix_shown *shown,
                                 struct p4posix_stat *out) {
    char name[PATH_MAX];
    memset(shown, 0, sizeof *shown);
    memset(out, 0, sizeof *out);
    const int write_fd = create_named(first, name, &out->ino);
    if (write_fd < 0) {
        out->ino = 0;
        return write_fd;
    }
    /* Opened before the first write, so that its fsync tells of every error since. */
    const int fd = open_for_read(name);
    int result = fd < 0 ? fd : write_at(write_fd, bytes, count, 0);
    /* Before it has its name: execve of what is open for writing fails with ETXTBSY. */
    close(write_fd);
    if (result == 0) {
        result = p4posix_publish(name, target, fd, attributes, expect, shown);
    }
    struct stat st;
    if (fd >= 0 && fstat(fd, &st) == 0) {
        fill_stat(out, &st);
    }
    if (fd >= 0) {
        close(fd);
    }
    return result;
}
