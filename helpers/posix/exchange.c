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

/*
 * Exchanges what is at `aside`, which must be `put`, with `target`, from which `wanted` is to come. The
 * note of it stays until end_exchange(). On failure nothing has changed, and there is no note.
 */
int begin_exchange(const char *aside, const char *target, const struct identity *put,
                   const struct identity *wanted) {
    struct note note = {.stage = 0, .put = *put, .wanted = *wanted};
    if (strlen(target) >= sizeof note.target) {
        return -ENAMETOOLONG;
    }
    memcpy(note.target, target, strlen(target) + 1);
    int result = note_write(aside, &note);
    /* Evictions are what ends a full disk: they do without. */
    if (result == 0 || result == -ENOSPC || result == -EDQUOT) {
        result = exchange_names(aside, target);
    }
    if (result < 0) {
        note_remove(aside);
    }
    return result;
}

/* Once what is aside is gone, or may go. */
void end_exchange(const char *aside) {
    note_remove(aside);
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
 * PUT_BACK: `aside` has `put`, or nothing. PUT_BACK_NEWER: it has a version that p4d replaced while the
 * name showed an older one; made without knowing it, perhaps, so it must be kept. Negative: the same.
 * The note is kept in step, except on a full disk: then it still tells right of all but two renames in a
 * row. `stage`: of the exchange that gave out what is at `aside`.
 */
int put_back(const char *aside, const char *target, const struct stat *put, int stage) {
    struct pinned last = {.fd = -1, .st = *put};
    struct note note = {.stage = stage};
    memcpy(note.target, target, strlen(target) + 1);
    int result;
    for (;;) {
        struct pinned next;
        /* Out of descriptors: an inode that may be reused is better than a file that stays aside. */
        result = pin(aside, &next);
        if (result < 0 && lstat(aside, &next.st) != 0) {
            break;
        }
        note.stage++;
        note.put = identity_of(&next.st);
        note.wanted = identity_of(&last.st);
        (void)note_write(aside, &note);
        result = exchange_names(aside, target);
        if (result == -ENOENT) {
            result = rename_no_replace(aside, target);
            unpin(&next);
            if (result == -EEXIST) {
                note.stage--;
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
        if (is_done) {
            result = note.stage == 1 ? PUT_BACK : PUT_BACK_NEWER;
        }
        if (result < 0 || is_done) {
            break;
        }
    }
    unpin(&last);
    return result;
}

enum { GONE = 0, LEFT = 1, KEPT = 2 };

/* What has the name by now? If it is not what was to go, back with it. */
static int judge_taken(const char *target, const char *aside, const struct identity *wanted) {
    struct stat out;
    if (lstat(aside, &out) != 0) {
        return failure();
    }
    if (is_identical(&out, wanted)) {
        return unlink(aside) == 0 ? GONE : failure();
    }
    const int result = rename_no_replace(aside, target);
    return result == -EEXIST ? KEPT : result < 0 ? result : LEFT;
}

/*
 * Removes what is at `target`, of `kind`, if it is what was expected. p4d may rename a file over it at
 * any moment, so it is taken out first, and goes back if it is not that.
 *
 * GONE: it was removed. LEFT: `target` is as its writers have it. KEPT: so too, but a version that was
 * out for a moment is at `aside`, with its note: what replaced it may not have known it. -errno: what is
 * at `aside`, if anything, must be kept.
 */
P4POSIX_EXPORT int p4posix_take_out(const char *target, const char *aside, int kind,
                                    const struct p4posix_expect *expect) {
    struct note note = {.stage = 0,
                        .wanted = {.type = kind == KIND_SOCKET ? S_IFSOCK : S_IFREG,
                                   .ino = expect->ino,
                                   .size_bytes = expect->size_bytes,
                                   .mtime_ns = expect->mtime_ns}};
    if (strlen(target) >= sizeof note.target) {
        return -ENAMETOOLONG;
    }
    memcpy(note.target, target, strlen(target) + 1);
    int result = note_write(aside, &note);
    if (result < 0 && result != -ENOSPC && result != -EDQUOT) {
        return result;
    }
    result = result_of(rename(target, aside));
    if (result == 0) {
        result = judge_taken(target, aside, &note.wanted);
    } else if (result == -ENOENT || result == -ENOTDIR) {
        result = LEFT;
    }
    if (result == GONE || result == LEFT) {
        note_remove(aside);
    }
    return result;
}
