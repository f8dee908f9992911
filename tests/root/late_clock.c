/* late_clock.c - preloaded into the watcher: to it every file was made an hour earlier. */
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

time_t time(time_t *out) {
    const time_t late = (time_t)syscall(SYS_time, NULL) + 3600;
    if (out != NULL) {
        *out = late;
    }
    return late;
}
