/*
 * killed.c - publish, put_marker and take_out, killed before any of their steps, and what recover.c makes of it.
 *
 * A rival (rival.h) acts before the kill, after it, while nothing runs, and during the recovery, which
 * may be killed in its turn. At the end the rival's last word must stand under the name, and a version
 * that nobody saw under it because of us must still be there.
 */
#include "rival.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

int p4posix_recover_exchange(const char *aside, char *target_out);
int p4posix_take_out(const char *target, const char *aside, int kind,
                     const struct p4posix_expect *expect);

enum { NOTHING_LEFT = 0, HAS_ITS_NAME = 1, TO_BE_KEPT = 2, NO_NOTE = 3 };

/* With the whole path, as the daemon gives it. */
static char target[PATH_MAX];

typedef void (*begin_fn)(void);
typedef int (*work_fn)(void);

static struct p4posix_expect expect_of_file;
static int fd_of_temp = -1;

static void begin_put_marker(void) {
    expect_of_file = make_version_1();
}

static int put_marker(void) {
    struct p4posix_stat put;
    return p4posix_put_marker(target, "own/x", &expect_of_file, &marker_of_1, &put);
}

static void begin_publish(void) {
    fd_of_temp = make_file("own/x", 1);
    CHECK(p4posix_make_marker("depot/target", &marker_of_1) == 0);
}

static int publish(void) {
    struct stat st = {0};
    CHECK(stat("depot/target", &st) == 0 || rival->is_name_ours == false);
    const struct p4posix_expect expect = expect_of(&st);
    struct p4posix_shown shown;
    return p4posix_publish("own/x", target, fd_of_temp, &marker_of_1.attributes, &expect,
                           &shown);
}

/* A marker at a name that its file has left. */
static void begin_take_out(void) {
    CHECK(p4posix_make_marker("depot/target", &marker_of_1) == 0);
    rival->is_name_ours = false;
}

static int take_out(void) {
    struct stat st;
    if (lstat("depot/target", &st) != 0) {
        return 0;
    }
    const struct p4posix_expect expect = {.ino = st.st_ino, .mtime_ns = time_ns(st.st_mtim)};
    return p4posix_take_out(target, "own/x", KIND_SOCKET, &expect);
}

static int recover(void) {
    char name[PATH_MAX] = "";
    const int result = p4posix_recover_exchange("own/x", name);
    CHECK(result == NO_NOTE || strcmp(name, target) == 0);
    return result;
}

/* In a process of its own, which the plan may kill. Its result, or NEVER if it was killed. */
static int run_apart(work_fn work, const struct plan *plan) {
    int status;
    rival->plan = *plan;
    rival->steps = 0;
    const pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        rival->is_acting = false;
        const int result = work();
        rival->is_acting = true;
        _exit(result < 0 ? 100 : result);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    rival->is_acting = true;
    if (WIFSIGNALED(status)) {
        CHECK(WTERMSIG(status) == SIGKILL);
        return NEVER;
    }
    return WEXITSTATUS(status);
}

struct run {
    begin_fn begin;
    work_fn work;
    bool has_lease;
    struct plan before;
    int after; /* an act while nothing runs, or NEVER */
    struct plan during;
};

/* A version that p4d wrote last and that lies aside now, or 0. */
static int hidden_version(void) {
    return rival->at_target > 1 && size_at("own/x") == rival->at_target ? rival->at_target : 0;
}

/* `hidden`: must still be somewhere, unless the rival itself may have replaced or removed it since. */
static void judge_recovery(int result, int hidden) {
    if (result == 100) {
        rival_fail("the recovery failed", result);
    }
    /* A crash before there was a note: what lies aside is ours by its name. */
    if (result == NO_NOTE && size_at("own/x") > 1) {
        rival_fail("nothing says what is aside", result);
    }
    if (result == NO_NOTE) {
        unlink("own/x");
    }
    if (hidden > 0 && rival->at_moved != hidden && size_at("own/x") != hidden &&
        size_at("depot/target") != hidden && size_at("moved") != hidden) {
        rival_fail("a version that was replaced unseen is gone", result);
    }
    rival_judge(0, true);
}

static void run_once(const struct run *run) {
    const struct plan none = {.kill_at = NEVER};
    rival_begin(&none);
    run->begin();
    const bool was_killed = run_apart(run->work, &run->before) == NEVER;
    if (fd_of_temp >= 0) {
        close(fd_of_temp);
        fd_of_temp = -1;
    }
    if (!was_killed) {
        return; /* it took fewer steps: interleave.c has these */
    }
    const int hidden = run->after == WRITE_ASIDE ? 0 : hidden_version();
    if (run->after != NEVER) {
        rival_act((enum act)run->after);
    }
    int result = run_apart(recover, &run->during);
    if (result == NEVER) {
        result = run_apart(recover, &none);
    }
    judge_recovery(result, run->during.count == 0 ? hidden : 0);
}

static struct plan plan_of(int step, int act, int kill_at) {
    return (struct plan){
        .count = act == NEVER ? 0 : 1, .step = {step}, .act = {(enum act)act}, .kill_at = kill_at};
}

/* Each kill, each act before it at each step, each act after it. */
static long run_all(struct run run, int steps) {
    long runs = 0;
    run.during = (struct plan){.kill_at = NEVER};
    for (int kill_at = 0; kill_at < steps; kill_at++) {
        for (int step = 0; step <= kill_at; step++) {
            for (int act = step == 0 ? NEVER : 0; act < ACTS; act++) {
                run.before = plan_of(step, act, kill_at);
                for (run.after = NEVER; run.after < ACTS; run.after++) {
                    run_once(&run);
                    runs++;
                }
                if (run.has_lease && act != REMOVE && act != MOVE) {
                    run.after = WRITE_ASIDE;
                    run_once(&run);
                    runs++;
                }
            }
        }
    }
    return runs;
}

static int pick(unsigned *seed, int count) {
    return (int)((unsigned)rand_r(seed) % (unsigned)count);
}

/* Two acts before the kill; one during the recovery, and perhaps a kill. */
static long run_some(struct run run, int steps, long runs, unsigned *seed) {
    for (long i = 0; i < runs; i++) {
        const int kill_at = pick(seed, steps + 8);
        const int first = pick(seed, kill_at + 1);
        has_short_symlinks = pick(seed, 4) == 0;
        run.before = plan_of(first, REPLACE, kill_at);
        run.before.count = 1 + pick(seed, 2);
        run.before.step[1] = first + pick(seed, kill_at + 1 - first);
        run.before.act[1] = (enum act)pick(seed, WRITE);
        run.after = pick(seed, 3) == 0 ? pick(seed, ACTS) : NEVER;
        run.during = plan_of(pick(seed, 12), pick(seed, WRITE + 1) - 1,
                             pick(seed, 2) == 0 ? pick(seed, 16) : NEVER);
        run_once(&run);
    }
    return runs;
}

int main(int argc, char **argv) {
    unsigned seed = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : (unsigned)time(NULL);
    const long random_runs = argc > 2 ? strtol(argv[2], NULL, 10) : 1000;
    fprintf(stderr, "killed: seed %u\n", seed);
    rival = mmap(NULL, sizeof *rival, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(rival != MAP_FAILED);
    rival->is_acting = true;
    enter_scratch();
    CHECK(getcwd(target, sizeof target - sizeof "/depot/target") != NULL);
    strcat(target, "/depot/target");
    const struct run evict = {
        .begin = begin_put_marker, .work = put_marker, .has_lease = true};
    const struct run restore = {.begin = begin_publish, .work = publish};
    const struct run removal = {.begin = begin_take_out, .work = take_out};
    long runs = run_all(evict, 30) + run_all(restore, 30) + run_all(removal, 10);
    runs += run_some(evict, 30, random_runs, &seed) + run_some(restore, 20, random_runs, &seed);
    printf("killed: %ld runs: ok\n", runs);
    const struct plan none = {.kill_at = NEVER};
    rival_begin(&none);
    leave_scratch();
    return 0;
}
