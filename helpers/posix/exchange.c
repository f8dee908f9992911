/*
 * exchange.c - two names trade places, and how that is taken back.
 *
 * p4d renames its own files over `target` at any moment and knows nothing of us. So a name is
 * only ever exchanged, never replaced, and what came out is looked at before anything is removed.
 */
#include "posix.h"

int pin(const char *path, struct pinned *out) {
    out->fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (out->fd < 0) {
        return failure();
    }
    if (fstat(out->fd, &out->st) != 0) {
        const int result = failure();
        unpin(out);
        return result;
    }
    return 0;
}

void unpin(struct pinned *held) {
    if (held->fd >= 0) {
        close(held->fd);
    }
    held->fd = -1;
}

int exchange_names(const char *a, const char *b) {
    return result_of(renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE));
}

int rename_no_replace(const char *from, const char *to) {
    return result_of(renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE));
}

P4POSIX_EXPORT int p4posix_exchange(const char *a, const char *b) {
    return exchange_names(a, b);
}

P4POSIX_EXPORT int p4posix_rename_no_replace(const char *from, const char *to) {
    return rename_no_replace(from, to);
}

/*
 * Puts what is at `aside`, which came out of `target` by an exchange, back to `target`, where `put`
 * (whose inode the caller holds) was left.
 *
 * If `target` is no longer what we put there, somebody renamed a newer file over it, and exchanging
 * made the older one visible. Then that newer one, now at `aside`, is put back in its turn: when an
 * exchange gives out exactly what we put last, `target` has the newest and `aside` has what its
 * writer replaced. Each further turn needs one more rename by somebody else in between, so it ends.
 *
 * If `target` vanished, it was removed or moved away in between, and what is at `aside` goes back
 * without replacing: a file that was to be deleted and is still there is the lesser evil.
 *
 * 0: `aside` has what may be removed, or nothing. Negative: what is at `aside` must be kept.
 */
int put_back(const char *aside, const char *target, const struct stat *put) {
    struct pinned last = {.fd = -1, .st = *put};
    int result;
    for (;;) {
        struct pinned next;
        /* Out of descriptors: an inode that may be reused is better than a file that stays aside. */
        result = pin(aside, &next);
        if (result < 0 && lstat(aside, &next.st) != 0) {
            break;
        }
        result = exchange_names(aside, target);
        if (result == -ENOENT) {
            result = rename_no_replace(aside, target);
            unpin(&next);
            if (result == -EEXIST) {
                continue;
            }
            break;
        }
        struct stat out;
        if (result == 0) {
            result = result_of(lstat(aside, &out));
        }
        const bool is_done = result == 0 && is_same_inode(&out, &last.st);
        unpin(&last);
        last = next;
        if (result < 0 || is_done) {
            break;
        }
    }
    unpin(&last);
    return result;
}
