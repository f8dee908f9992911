/*
 * recover.c - goes on with an exchange of names that a crash cut short (note.c).
 *
 * p4d may act on the name meanwhile, as at any other time.
 */
#include "posix.h"

enum { NOTHING_LEFT = 0, HAS_ITS_NAME = 1, TO_BE_KEPT = 2, NO_NOTE = 3 };

static int remove_both(const char *aside) {
    if (unlink(aside) != 0 && errno != ENOENT) {
        return failure();
    }
    note_remove(aside);
    return NOTHING_LEFT;
}

/* An eviction's file while somebody waits to write it, or writes: what is written belongs to the name. */
static bool is_wanted_elsewhere(const char *aside, const struct stat *out) {
    return S_ISREG(out->st_mode) && p4posix_has_writer(aside) == 1;
}

/* `last`: what the name was left with, and still has. `stage`: as put_back() takes it. */
static int take_back(const char *aside, const char *target, const struct stat *last, int stage) {
    const int back = put_back(aside, target, last, stage);
    int result = back < 0 ? back : fsync_parent(target);
    if (result < 0 || back == PUT_BACK_NEWER) {
        return result < 0 ? result : TO_BE_KEPT;
    }
    result = remove_both(aside);
    return result < 0 ? result : HAS_ITS_NAME;
}

/* take_out() emptied the name itself. */
static int take_empty_name(const char *aside, const char *target) {
    int result = rename_no_replace(aside, target);
    if (result == -EEXIST || result == -ENOENT || result == -ENOTDIR) {
        return TO_BE_KEPT;
    }
    if (result == 0) {
        result = fsync_parent(target);
    }
    if (result < 0) {
        return result;
    }
    note_remove(aside);
    return HAS_ITS_NAME;
}

/* What is aside belongs to the name, if the name still has what we left there. `has_happened`: the
 * exchange that the note is of. */
static int give_back(const char *aside, const struct note *note, bool has_happened) {
    const struct identity *left = has_happened ? &note->put : &note->wanted;
    const int stage = has_happened ? note->stage : note->stage - 1;
    struct pinned there;
    int result = pin(note->target, &there);
    if (result == -ENOENT || result == -ENOTDIR) {
        /* p4d removed or moved what we had left there, or the tree is gone: what was written last may
         * be elsewhere by now. */
        return note->put.type == 0 ? take_empty_name(aside, note->target) : TO_BE_KEPT;
    }
    if (result < 0) {
        return result;
    }
    result = is_identical(&there.st, left) ? take_back(aside, note->target, &there.st, stage)
                                           : TO_BE_KEPT;
    unpin(&there);
    return result;
}

/* A file that was on its way back was written in place: a writer that waited for the lease got it
 * when we were killed. Its name still has what was to come out. */
static bool is_put_written(const struct stat *out, const struct note *note) {
    struct stat there;
    return note->stage > 0 && (out->st_mode & S_IFMT) == note->put.type &&
           out->st_ino == note->put.ino && lstat(note->target, &there) == 0 &&
           is_identical(&there, &note->wanted);
}

/*
 * NOTHING_LEFT: what was aside was ours. HAS_ITS_NAME: it was not, and is under its name again.
 * TO_BE_KEPT: the name has something newer, which may have been made without knowing what is aside, or
 * is gone; what is aside and its note are left. NO_NOTE: no exchange had begun. -errno: left as it is.
 * `target_out` (PATH_MAX): the name in question, unless NO_NOTE.
 */
P4POSIX_EXPORT int p4posix_recover_exchange(const char *aside, char *target_out) {
    struct note note;
    int result = note_read(aside, &note);
    if (result < 0) {
        return result == -ENOENT || result == -EBADMSG ? NO_NOTE : result;
    }
    memcpy(target_out, note.target, strlen(note.target) + 1);
    struct stat out;
    if (lstat(aside, &out) != 0) {
        return errno == ENOENT ? remove_both(aside) : failure();
    }
    if (is_identical(&out, &note.put) || is_put_written(&out, &note)) {
        /* It did not come to this exchange. Of ours, or of a file that is still to go back? */
        return note.stage == 0 ? remove_both(aside) : give_back(aside, &note, false);
    }
    if (!is_identical(&out, &note.wanted) ||
        (note.stage == 0 && is_wanted_elsewhere(aside, &out))) {
        return give_back(aside, &note, true);
    }
    /* From the second exchange on it is p4d's own; what replaced it may not have known it. */
    return note.stage < 2 ? remove_both(aside) : TO_BE_KEPT;
}
