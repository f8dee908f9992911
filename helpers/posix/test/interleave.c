/*
 * interleave.c - publish and put_marker, with a program that acts between any two of their steps.
 *
 * Before each of their system calls (calls.h) a rival may act on the target as p4d, or worse, would: rename a newer version over it, remove it, move it away, write
 * into it. Every single act at every step, every pair of acts at every pair of steps, then random
 * threes. After each run, what the rival did last must be what is found; nothing that it wrote and did
 * not itself replace or remove may be gone.
 *
 * Versions tell themselves by size: version v is a file of v bytes. Version 1 is in the store.
 */
#include "calls.h"

#include <time.h>

enum act { REPLACE, REMOVE, MOVE, WRITE, ACTS };
static const char *const act_names[] = {"replace", "remove", "move", "write"};

enum { ACTS_MAX = 3 };

struct plan {
    int count;
    int step[ACTS_MAX];
    enum act act[ACTS_MAX];
};

/* What the rival knows: the versions it wrote and where they must be. */
struct rival {
    struct plan plan;
    int steps;
    bool is_acting;
    bool is_name_ours; /* the rival never removed or moved the name: it must always be there */
    int version;       /* the last that it wrote */
    int at_target;     /* version that must be at target; 0: none must */
    int at_moved;      /* version that must be at moved or, put back, at target; 0: none must */
    bool was_name_missing;
};

static struct rival rival;

static void replace(void) {
    rival.version++;
    close(make_file("newer", rival.version));
    CHECK(rename("newer", "depot/target") == 0);
    rival.at_target = rival.version;
}

/* A version that was replaced unseen by us while it was in the name is the mover's to keep. */
static void move(void) {
    if (rename("depot/target", "moved") == 0) {
        rival.at_moved = rival.at_target;
        rival.at_target = 0;
    }
}

static void remove_name(void) {
    if (size_at("depot/target") == rival.at_moved) {
        rival.at_moved = 0; /* put back for want of the name, and now removed by its owner */
    }
    unlink("depot/target");
    rival.at_target = 0;
}

static void write_in_place(void) {
    const int fd = open("depot/target", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return; /* ENXIO: a marker. EWOULDBLOCK: a lease; a patient writer would wait */
    }
    rival.version++;
    CHECK(ftruncate(fd, rival.version) == 0);
    close(fd);
    rival.at_target = rival.version;
}

static void act(enum act what) {
    switch (what) {
    case REPLACE:
        replace();
        break;
    case REMOVE:
        rival.is_name_ours = false;
        remove_name();
        break;
    case MOVE:
        rival.is_name_ours = false;
        move();
        break;
    default:
        write_in_place();
        break;
    }
}

/* Called before each system call of the code under test. */
void before_call(const char *name) {
    (void)name;
    if (rival.is_acting) {
        return;
    }
    const int saved = errno;
    rival.is_acting = true;
    struct stat st;
    if (rival.is_name_ours && stat("depot/target", &st) != 0) {
        rival.was_name_missing = true;
    }
    for (int i = 0; i < rival.plan.count; i++) {
        if (rival.plan.step[i] == rival.steps) {
            act(rival.plan.act[i]);
        }
    }
    rival.steps++;
    rival.is_acting = false;
    errno = saved;
}

static void fail(const char *what, int result) {
    fprintf(stderr, "interleave: %s; result %d, version %d, at target %d, at moved %d; acts:", what,
            result, rival.version, rival.at_target, rival.at_moved);
    for (int i = 0; i < rival.plan.count; i++) {
        fprintf(stderr, " %s before step %d", act_names[rival.plan.act[i]], rival.plan.step[i]);
    }
    fprintf(stderr, "\n");
    exit(1);
}

static void begin(const struct plan *plan) {
    rival = (struct rival){.is_acting = true, .is_name_ours = true, .version = 1, .plan = *plan};
    unlink("depot/target");
    unlink("moved");
    unlink("own/x");
}

/* Whatever happened: the rival's last word stands, and what it wrote and kept is there. */
static void judge(int result, bool is_disturbed) {
    rival.is_acting = true;
    if (result < 0) {
        fail("an error", result);
    }
    if (rival.was_name_missing) {
        fail("the name was missing for a moment", result);
    }
    if (rival.at_target > 1 && size_at("depot/target") != rival.at_target) {
        fail("the newest version is not at the target", result);
    }
    if (rival.at_moved > 1 && size_at("moved") != rival.at_moved &&
        size_at("depot/target") != rival.at_moved && size_at("own/x") != rival.at_moved &&
        rival.at_target == 0) {
        fail("a version that was moved away is lost", result);
    }
    struct stat st;
    if (rival.is_name_ours && stat("depot/target", &st) != 0) {
        fail("the name is gone", result);
    }
    if (!is_disturbed && result != 0) {
        fail("an undisturbed run did not succeed", result);
    }
}

/* Each returns how many steps it took. */
static int run_publish(const struct plan *plan, bool has_marker) {
    begin(plan);
    const int fd = make_file("own/x", 1);
    struct stat st = {0};
    if (has_marker) {
        CHECK(p4posix_make_marker("depot/target", &marker_of_1) == 0);
        CHECK(stat("depot/target", &st) == 0);
    }
    rival.is_name_ours = has_marker;
    rival.is_acting = false;
    const int result =
        p4posix_publish("own/x", "depot/target", fd, &marker_of_1.attributes, st.st_ino);
    judge(result, plan->count > 0);
    if (result == 0 && stat("own/x", &st) == 0) {
        fail("published, and something is left aside", result);
    }
    /* What the caller may remove is its own file, or a version that the rival replaced. */
    if (result != 0 && size_at("own/x") > 1 && size_at("own/x") == rival.at_target) {
        fail("the newest version is left aside", result);
    }
    close(fd);
    return rival.steps;
}

static int run_publish_over_marker(const struct plan *plan) {
    return run_publish(plan, true);
}

static int run_publish_to_free_name(const struct plan *plan) {
    return run_publish(plan, false);
}

static int run_put_marker(const struct plan *plan) {
    begin(plan);
    const struct p4posix_expect expect = make_version_1();
    rival.is_acting = false;
    const int result = p4posix_put_marker("depot/target", "own/x", &expect, &marker_of_1);
    judge(result, plan->count > 0);
    struct stat st;
    if (stat("own/x", &st) == 0) {
        fail("something is left aside", result);
    }
    return rival.steps;
}

typedef int (*run_fn)(const struct plan *plan);

/* An in-place writer that meets a file which was in the name for an instant, between a rename of its
 * own server and our taking it back, is outside of what an exchange of names can keep. */
static bool is_possible(const struct plan *plan) {
    for (int i = 1; i < plan->count; i++) {
        if (plan->act[i] == WRITE) {
            return false;
        }
    }
    return true;
}

static long run_all(run_fn run, unsigned *seed) {
    struct plan plan = {.count = 0};
    const int steps = run(&plan) + 12; /* a disturbed run takes more */
    long runs = 1;
    for (int a = 0; a < steps * ACTS; a++) {
        plan = (struct plan){.count = 1, .step = {a / ACTS}, .act = {(enum act)(a % ACTS)}};
        run(&plan);
        runs++;
        for (int b = 0; b < steps * ACTS; b++) {
            plan.count = 2;
            plan.step[1] = b / ACTS;
            plan.act[1] = (enum act)(b % ACTS);
            if (plan.step[1] >= plan.step[0] && is_possible(&plan)) {
                run(&plan);
                runs++;
            }
        }
    }
    for (int i = 0; i < 5000; i++) {
        plan.count = 3;
        for (int k = 0; k < 3; k++) {
            const int from = k == 0 ? 0 : plan.step[k - 1];
            plan.step[k] = from + (int)((unsigned)rand_r(seed) % (unsigned)(steps - from));
            plan.act[k] = (enum act)(rand_r(seed) % ACTS);
        }
        if (is_possible(&plan)) {
            run(&plan);
            runs++;
        }
    }
    return runs;
}

int main(int argc, char **argv) {
    unsigned seed = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : (unsigned)time(NULL);
    const unsigned first = seed;
    rival.is_acting = true;
    fprintf(stderr, "interleave: seed %u\n", first);
    enter_scratch();
    const long over = run_all(run_publish_over_marker, &seed);
    const long free_name = run_all(run_publish_to_free_name, &seed);
    const long evict = run_all(run_put_marker, &seed);
    printf("interleave: %ld publish over a marker, %ld publish to a free name, %ld put_marker: ok\n",
           over, free_name, evict);
    const struct plan none = {0};
    begin(&none);
    leave_scratch();
    return 0;
}
