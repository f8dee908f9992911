/*
 * interleave.c - publish and put_marker, with a rival that acts between any two of their steps.
 *
 * Every single act at every step, every pair of acts at every pair of steps, then random threes. After
 * each run, what the rival did last must be what is found; nothing that it wrote and did not itself
 * replace or remove may be gone.
 */
#include "rival.h"

#include <time.h>

/* Each returns how many steps it took. */
static int run_publish(const struct plan *plan, bool has_marker) {
    rival_begin(plan);
    const int fd = make_file("own/x", 1);
    struct stat st = {0};
    if (has_marker) {
        CHECK(p4posix_make_marker("depot/target", &marker_of_1) == 0);
        CHECK(stat("depot/target", &st) == 0);
    }
    rival->is_name_ours = has_marker;
    rival->is_acting = false;
    const struct p4posix_expect expect = expect_of(&st);
    struct p4posix_shown shown;
    const int result = p4posix_publish("own/x", "depot/target", fd, &marker_of_1.attributes,
                                       has_marker ? &expect : NULL, &shown);
    rival_judge(result, plan->count > 0);
    if (result == 0 && stat("own/x", &st) == 0) {
        rival_fail("published, and something is left aside", result);
    }
    /* What the caller may remove is its own file, or a version that the rival replaced. */
    if (result != 0 && size_at("own/x") > 1 && size_at("own/x") == rival->at_target) {
        rival_fail("the newest version is left aside", result);
    }
    /* What nobody can have written is removed without a look. */
    if (shown.was_shown == 0 && (result == 0 || size_at("own/x") != 1)) {
        rival_fail("said not to have had the name", result);
    }
    close(fd);
    return rival->steps;
}

static int run_publish_over_marker(const struct plan *plan) {
    return run_publish(plan, true);
}

static int run_publish_to_free_name(const struct plan *plan) {
    return run_publish(plan, false);
}

static int run_put_marker(const struct plan *plan) {
    rival_begin(plan);
    const struct p4posix_expect expect = make_version_1();
    rival->is_acting = false;
    struct p4posix_stat put;
    const int result = p4posix_put_marker("depot/target", "own/x", &expect, &marker_of_1, &put);
    rival_judge(result, plan->count > 0);
    /* But for a version that was replaced while the name showed an older one. */
    struct stat st;
    if (lstat("own/x", &st) == 0 && (size_at("own/x") < 1 || rival->replaced == 0)) {
        rival_fail("something is left aside", result);
    }
    return rival->steps;
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
    struct plan plan = {.count = 0, .kill_at = NEVER};
    const int steps = run(&plan) + 12; /* a disturbed run takes more */
    long runs = 1;
    for (int a = 0; a < steps * ACTS; a++) {
        plan = (struct plan){.kill_at = NEVER, .count = 1, .step = {a / ACTS}, .act = {(enum act)(a % ACTS)}};
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

/* File or marker: the name has the mode that was given to it at any step. */
static long run_chmods(run_fn run) {
    struct plan plan = {.count = 0, .kill_at = NEVER};
    const int steps = run(&plan);
    plan = (struct plan){.count = 1, .act = {CHMOD}, .kill_at = NEVER};
    for (int step = 0; step < steps; step++) {
        struct stat st;
        plan.step[0] = step;
        run(&plan);
        if (stat("depot/target", &st) != 0 || (st.st_mode & 07777) != MODE_OF_CHMOD) {
            rival_fail("a mode is lost", 0);
        }
    }
    return steps;
}

int main(int argc, char **argv) {
    unsigned seed = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : (unsigned)time(NULL);
    const unsigned first = seed;
    rival->is_acting = true;
    fprintf(stderr, "interleave: seed %u\n", first);
    enter_scratch();
    const long over =
        run_all(run_publish_over_marker, &seed) + run_chmods(run_publish_over_marker);
    const long free_name = run_all(run_publish_to_free_name, &seed);
    const long evict = run_all(run_put_marker, &seed) + run_chmods(run_put_marker);
    printf("interleave: %ld publish over a marker, %ld publish to a free name, %ld put_marker: ok\n",
           over, free_name, evict);
    const struct plan none = {.kill_at = NEVER};
    rival_begin(&none);
    leave_scratch();
    return 0;
}
