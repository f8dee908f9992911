/* command.c - see command.h. */
#define _GNU_SOURCE
#include "command.h"

#include <string.h>

struct cursor {
    const char *at;
    const char *end;
};

static bool take(struct cursor *c, char wanted) {
    if (c->at == c->end || *c->at != wanted) {
        return false;
    }
    c->at++;
    return true;
}

static bool take_number(struct cursor *c, uint64_t max, uint64_t *number) {
    const char *const start = c->at;
    uint64_t value = 0;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++) {
        const unsigned digit = (unsigned)(*c->at - '0');
        if (value > (max - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *number = value;
    return c->at > start;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The four digits after \u; only bytes exist here. */
static bool take_byte_escape(struct cursor *c, unsigned char *byte) {
    unsigned value = 0;
    for (int i = 0; i < 4; i++, c->at++) {
        const int digit = c->at < c->end ? hex_digit(*c->at) : -1;
        if (digit < 0) {
            return false;
        }
        value = value * 16 + (unsigned)digit;
    }
    *byte = (unsigned char)value;
    return value <= 0xff;
}

static bool take_escape(struct cursor *c, unsigned char *byte) {
    static const char names[] = "\"\\/bfnrt";
    static const char values[] = "\"\\/\b\f\n\r\t";
    if (take(c, 'u')) {
        return take_byte_escape(c, byte);
    }
    const char *name = c->at < c->end && *c->at != '\0' ? strchr(names, *c->at) : NULL;
    if (name == NULL) {
        return false;
    }
    c->at++;
    *byte = (unsigned char)values[name - names];
    return true;
}

static bool take_string(struct cursor *c, char *out, size_t capacity, size_t *bytes) {
    size_t count = 0;
    if (!take(c, '"')) {
        return false;
    }
    while (c->at < c->end && *c->at != '"') {
        unsigned char byte = (unsigned char)*c->at++;
        if (byte < 0x20 || byte > 0x7e || (byte == '\\' && !take_escape(c, &byte)) ||
            count == capacity) {
            return false;
        }
        out[count++] = (char)byte;
    }
    *bytes = count;
    return take(c, '"');
}

static bool take_uids(struct cursor *c, struct command *command) {
    if (!take(c, '[')) {
        return false;
    }
    command->uid_count = 0;
    if (take(c, ']')) {
        return true;
    }
    do {
        uint64_t uid;
        if (command->uid_count == COMMAND_UIDS_MAX || !take_number(c, UINT32_MAX, &uid)) {
            return false;
        }
        command->uids[command->uid_count++] = (uid_t)uid;
    } while (take(c, ','));
    return take(c, ']');
}

enum { HAS_KIND = 1, HAS_ID = 2, HAS_LINE = 4, HAS_UIDS = 8 };

static bool is_word(const char *text, size_t bytes, const char *word) {
    return bytes == strlen(word) && memcmp(text, word, bytes) == 0;
}

static bool take_kind(struct cursor *c, struct command *command) {
    static const char *const kinds[] = {
        [COMMAND_LINE] = "line", [COMMAND_LAST] = "last", [COMMAND_ALLOW] = "allow"};
    char word[8];
    size_t bytes;
    if (!take_string(c, word, sizeof word, &bytes)) {
        return false;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (is_word(word, bytes, kinds[i])) {
            command->kind = (enum command_kind)i;
            return true;
        }
    }
    return false;
}

/* One "key":value; the bit of the key, 0 when it is not one of ours. */
static unsigned take_member(struct cursor *c, struct command *command) {
    char key[8];
    size_t bytes;
    if (!take_string(c, key, sizeof key, &bytes) || !take(c, ':')) {
        return 0;
    }
    if (is_word(key, bytes, "t")) {
        return take_kind(c, command) ? HAS_KIND : 0;
    }
    if (is_word(key, bytes, "id")) {
        return take_number(c, UINT64_MAX, &command->id) ? HAS_ID : 0;
    }
    if (is_word(key, bytes, "line")) {
        /* One byte is kept for the line feed. */
        return take_string(c, command->reply, sizeof command->reply - 1, &command->reply_bytes)
                   ? HAS_LINE
                   : 0;
    }
    if (is_word(key, bytes, "uids")) {
        return take_uids(c, command) ? HAS_UIDS : 0;
    }
    return 0;
}

bool command_parse(const char *line, size_t bytes, struct command *command) {
    struct cursor c = {line, line + bytes};
    unsigned seen = 0;
    if (!take(&c, '{')) {
        return false;
    }
    do {
        const unsigned member = take_member(&c, command);
        if (member == 0 || (seen & member) != 0) {
            return false;
        }
        seen |= member;
    } while (take(&c, ','));
    if (!take(&c, '}') || c.at != c.end || (seen & HAS_KIND) == 0) {
        return false;
    }
    return seen == (command->kind == COMMAND_ALLOW ? (unsigned)(HAS_KIND | HAS_UIDS)
                                                   : (unsigned)(HAS_KIND | HAS_ID | HAS_LINE));
}
