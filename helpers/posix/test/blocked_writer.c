/*
 * blocked_writer.c - put_marker, with a patient writer that comes before any one of its steps.
 *
 * The writer opens the target for writing and waits as long as the kernel lets it. If it gets the file
 * that is being evicted, what it writes must be found under the name; so put_marker has to see it wait.
 *
 * A second writer has looked the name up before all this and goes on only now: it opens the inode. It
 * may lose only where evict.c says that it does, from the unlink on.
 */
#include "calls.h"

#include <stdio.h>
#include <sys/wait.h>

enum { EVICTED = 0, BUSY = 1, GOT_MARKER = 42 };

struct tally {
    int busy;
    int marker;
    int lost;
};

static int step_of_writer;
static int steps;
static int step_of_unlink;
static pid_t writer;
static char writer_path[64];

static void write_version_2(void) {
    const int fd = open(writer_path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        _exit(errno == ENXIO ? GOT_MARKER : 1);
    }
    _exit(ftruncate(fd, 2) == 0 ? 0 : 1);
}

static char state_of(pid_t pid) {
    char path[64];
    char text[256] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    CHECK(file != NULL && fgets(text, sizeof text, file) != NULL);
    fclose(file);
    const char *end = strrchr(text, ')');
    CHECK(end != NULL && end[1] == ' ');
    return end[2];
}

/* Returns once the writer waits in open(2), or is done. */
static void start_writer(void) {
    int started[2];
    char byte;
    CHECK(pipe(started) == 0);
    writer = fork();
    CHECK(writer >= 0);
    if (writer == 0) {
        CHECK(write(started[1], "s", 1) == 1);
        write_version_2();
    }
    CHECK(read(started[0], &byte, 1) == 1);
    close(started[0]);
    close(started[1]);
    for (char state = state_of(writer); state != 'S' && state != 'Z'; state = state_of(writer)) {
        usleep(100);
    }
}

void before_call(const char *name) {
    const int saved = errno;
    const int step = steps++;
    if (step_of_unlink < 0 && strcmp(name, "unlink") == 0) {
        step_of_unlink = step;
    }
    if (step == step_of_writer) {
        step_of_writer = -1;
        start_writer();
    }
    errno = saved;
}

static void judge_writer(int step, int result, struct tally *tally) {
    int status;
    CHECK(waitpid(writer, &status, 0) == writer && WIFEXITED(status));
    const int code = WEXITSTATUS(status);
    CHECK(code == 0 || code == GOT_MARKER);
    if (code == GOT_MARKER) {
        CHECK(result == EVICTED);
        tally->marker++;
    } else if (result == EVICTED) {
        CHECK(step >= step_of_unlink);
        tally->lost++;
    } else {
        CHECK(size_at("depot/target") == 2);
        tally->busy += result == BUSY;
    }
}

/* Whether the writer came at all. */
static bool run(int step, bool has_looked_up, struct tally *tally) {
    const struct p4posix_expect expect = make_version_1();
    step_of_writer = -1;
    const int pinned = open("depot/target", O_PATH | O_CLOEXEC);
    CHECK(pinned >= 0);
    snprintf(writer_path, sizeof writer_path, "/proc/self/fd/%d", pinned);
    if (!has_looked_up) {
        snprintf(writer_path, sizeof writer_path, "depot/target");
    }
    steps = 0;
    step_of_unlink = -1;
    writer = 0;
    step_of_writer = step;
    struct p4posix_stat put;
    const int result = p4posix_put_marker("depot/target", "own/x", &expect, &marker_of_1, &put);
    step_of_writer = -1;
    CHECK(result >= 0);
    if (writer != 0) {
        judge_writer(step, result, tally);
    }
    close(pinned);
    CHECK(access("own/x", F_OK) != 0 && unlink("depot/target") == 0);
    return writer != 0;
}

int main(void) {
    struct tally by_name = {0};
    struct tally by_inode = {0};
    int step = 0;
    enter_scratch();
    while (run(step, false, &by_name)) {
        CHECK(run(step, true, &by_inode));
        step++;
    }
    leave_scratch();
    /* All must have been met, or this has shown nothing. */
    CHECK(by_name.busy > 0 && by_name.marker > 0 && by_name.lost == 0 && by_inode.busy > 0);
    printf("blocked_writer: %d steps; by name %d busy, %d too late; by inode %d busy, %d too late: ok\n",
           step, by_name.busy, by_name.marker, by_inode.busy, by_inode.lost);
    return 0;
}
