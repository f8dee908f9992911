/*
 * setting.c - a time in the environment. Pure: no system call, no state.
 */
#include <string.h>

#include "shim.h"

int64_t p4shim_setting_ms(const char *text, int64_t otherwise) {
    const size_t digits = strspn(text, "0123456789");
    if (digits == 0 || text[digits] != '\0') {
        return otherwise;
    }
    int64_t ms = 0;
    for (const char *c = text; *c != '\0' && ms <= P4SHIM_SETTING_MS_MAX; c++) {
        ms = ms * 10 + (*c - '0');
    }
    return ms > P4SHIM_SETTING_MS_MAX ? P4SHIM_SETTING_MS_MAX : ms;
}
