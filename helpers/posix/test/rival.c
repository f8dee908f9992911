/* rival.c - see rival.h. */
#include "rival.h"

#include <signal.h>

static const char *const act_names[] = {"replace", "remove", "move", "write", "chmod",
                                        "write aside"};

static struct rival own;
struct rival *rival = &own;

/* A moved version may be back at the name, put there for want of one: its next owner ends it. */
static void end_what_was_put_back(void) {
    if (rival->at_moved > 0 && size_at("depot/target") == rival->at_moved) {
        rival->at_moved = 0;
    }
}

static void replace(void) {
    end_what_was_put_back();
    rival->version++;
    rival->replaced++;
    close(make_file("newer", rival->version));
    CHECK(rename("newer", "depot/target") == 0);
    rival->at_target = rival->version;
}

/* A version that was replaced unseen by us while it was in the name is the mover's to keep. */
static void move(void) {
    if (rename("depot/target", "moved") == 0) {
        rival->at_moved = rival->at_target;
        rival->at_target = 0;
    }
}

static void remove_name(void) {
    end_what_was_put_back();
    unlink("depot/target");
    rival->at_target = 0;
}

static void write_in_place(void) {
    const int fd = open("depot/target", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return; /* ENXIO: a marker. EWOULDBLOCK: a lease; a patient writer would wait */
    }
    end_what_was_put_back();
    rival->version++;
    CHECK(ftruncate(fd, rival->version) == 0);
    close(fd);
    rival->at_target = rival->version;
}

/* What the name had, before or after it was replaced, and no older version. */
static void write_aside(void) {
    const int newest = rival->at_target > 0 ? rival->at_target : 1;
    if (size_at("own/x") != newest || size_at("depot/target") == newest) {
        return;
    }
    const int fd = open("own/x", O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    rival->version++;
    CHECK(ftruncate(fd, rival->version) == 0);
    close(fd);
    rival->at_target = rival->version;
}

void rival_act(enum act what) {
    switch (what) {
    case REPLACE:
        replace();
        break;
    case REMOVE:
        rival->is_name_ours = false;
        remove_name();
        break;
    case MOVE:
        rival->is_name_ours = false;
        move();
        break;
    case WRITE_ASIDE:
        write_aside();
        break;
    case CHMOD:
        CHECK(chmod("depot/target", MODE_OF_CHMOD) == 0);
        break;
    default:
        write_in_place();
        break;
    }
}

/* Called before each system call of the code under test. */
void before_call(const char *name) {
    (void)name;
    if (rival->is_acting) {
        return;
    }
    const int saved = errno;
    rival->is_acting = true;
    struct stat st;
    if (rival->is_name_ours && stat("depot/target", &st) != 0) {
        rival->was_name_missing = true;
    }
    if (rival->plan.kill_at == rival->steps) {
        kill(getpid(), SIGKILL);
    }
    for (int i = 0; i < rival->plan.count; i++) {
        if (rival->plan.step[i] == rival->steps) {
            rival_act(rival->plan.act[i]);
        }
    }
    rival->steps++;
    rival->is_acting = false;
    errno = saved;
}

_Noreturn void rival_fail(const char *what, int result) {
    fprintf(stderr, "%s; result %d, version %d, at target %d, at moved %d; acts:", what,
            result, rival->version, rival->at_target, rival->at_moved);
    for (int i = 0; i < rival->plan.count; i++) {
        fprintf(stderr, " %s before step %d", act_names[rival->plan.act[i]], rival->plan.step[i]);
    }
    if (rival->plan.kill_at != NEVER) {
        fprintf(stderr, " killed before step %d", rival->plan.kill_at);
    }
    fprintf(stderr, "\n");
    exit(1);
}

void rival_begin(const struct plan *plan) {
    *rival = (struct rival){.is_acting = true, .is_name_ours = true, .version = 1, .plan = *plan};
    unlink("depot/target");
    unlink("moved");
    unlink("own/x");
    unlink("own/x.note");
    unlink("own/x.note.new");
}

static bool is_there(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 || lstat(path, &st) == 0;
}

void rival_judge(int result, bool is_disturbed) {
    rival->is_acting = true;
    if (result < 0) {
        rival_fail("an error", result);
    }
    if (rival->was_name_missing) {
        rival_fail("the name was missing for a moment", result);
    }
    if (rival->at_target > 1 && size_at("depot/target") != rival->at_target) {
        rival_fail("the newest version is not at the target", result);
    }
    if (rival->at_moved > 1 && size_at("moved") != rival->at_moved &&
        size_at("depot/target") != rival->at_moved && size_at("own/x") != rival->at_moved &&
        rival->at_target == 0) {
        rival_fail("a version that was moved away is lost", result);
    }
    struct stat st;
    if (rival->is_name_ours && stat("depot/target", &st) != 0) {
        rival_fail("the name is gone", result);
    }
    if (is_there("own/x.note") && !is_there("own/x")) {
        rival_fail("a note is left of nothing", result);
    }
    if (!is_disturbed && result != 0) {
        rival_fail("an undisturbed run did not succeed", result);
    }
}
