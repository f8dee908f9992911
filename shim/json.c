/*
 * json.c - the few shapes of JSON that the shim writes. Pure.
 */
#define _GNU_SOURCE
#include "shim.h"

static void put(struct p4shim_json *j, const char *bytes, size_t count) {
    if (j->is_full || count > j->cap - j->bytes) {
        j->is_full = true;
        return;
    }
    memcpy(j->out + j->bytes, bytes, count);
    j->bytes += count;
}

void p4shim_json_raw(struct p4shim_json *j, const char *text) {
    put(j, text, strlen(text));
}

void p4shim_json_number(struct p4shim_json *j, int64_t value) {
    char digits[20];
    size_t n = sizeof digits;
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        digits[--n] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (value < 0) {
        digits[--n] = '-';
    }
    put(j, digits + n, sizeof digits - n);
}

static const char hex[] = "0123456789abcdef";

void p4shim_json_hex(struct p4shim_json *j, uint64_t value) {
    char digits[16];
    for (size_t i = 0; i < sizeof digits; i++) {
        digits[i] = hex[(value >> (60 - 4 * i)) & 15];
    }
    put(j, digits, sizeof digits);
}

void p4shim_json_text(struct p4shim_json *j, const char *bytes, size_t count) {
    size_t plain = 0; /* a run that needs no escape is copied at once */
    for (size_t i = 0; i < count; i++) {
        const unsigned char c = (unsigned char)bytes[i];
        if (P4SHIM_LIKELY(c >= 0x20 && c < 0x7f && c != '"' && c != '\\')) {
            continue;
        }
        const char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        put(j, bytes + plain, i - plain);
        put(j, escape, sizeof escape);
        plain = i + 1;
    }
    put(j, bytes + plain, count - plain);
}
