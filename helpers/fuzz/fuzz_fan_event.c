/* fuzz_fan_event.c - any bytes as what the kernel gave: every pointer stays inside, and it ends. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "../fanotify/fan_event.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

static void touch(uint64_t *sum, const struct fan_handle *handle) {
    if (handle->is_given) {
        *sum += fan_handle_hash(handle);
    }
}

static void touch_name(uint64_t *sum, const struct fan_name *name) {
    touch(sum, &name->directory);
    if (name->directory.is_given) {
        if (name->name_bytes == 0 || strlen(name->name) != name->name_bytes) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes) {
    char *buffer = malloc(bytes == 0 ? 1 : bytes);
    if (buffer == NULL) {
        return 0;
    }
    memcpy(buffer, data, bytes);
    struct fan_event event;
    size_t offset = 0;
    size_t before = 0;
    uint64_t sum = 0;
    while (fan_event_next(buffer, bytes, &offset, &event) == FAN_STEP_EVENT) {
        if (offset <= before || offset > bytes) {
            abort();
        }
        before = offset;
        touch_name(&sum, &event.at);
        touch_name(&sum, &event.from);
        touch_name(&sum, &event.to);
        touch(&sum, &event.file);
    }
    free(buffer);
    return (int)(sum & 0); /* the sums are read, so that the reads stay */
}
