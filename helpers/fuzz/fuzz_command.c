/* fuzz_command.c - any bytes as a line of the daemon: a command within its bounds, or refused. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "../common/output.h"
#include "../gate/command.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

/* What was read, written by the other side's rules, reads as the same. */
static void check_again(const struct command *first) {
    static struct command second;
    struct output out = {0};
    output_text(&out, first->kind == COMMAND_LINE ? "{\"t\":\"line\"" : "{\"t\":\"last\"");
    output_text(&out, ",\"id\":");
    output_number(&out, (int64_t)first->id);
    output_text(&out, ",\"line\":");
    output_string(&out, first->reply, first->reply_bytes);
    output_text(&out, "}");
    if (!command_parse(out.bytes, out.end, &second) || second.kind != first->kind ||
        second.id != first->id || second.reply_bytes != first->reply_bytes ||
        memcmp(second.reply, first->reply, first->reply_bytes) != 0) {
        abort();
    }
    free(out.bytes);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes) {
    static struct command command;
    char *line = malloc(bytes == 0 ? 1 : bytes);
    if (line == NULL) {
        return 0;
    }
    memcpy(line, data, bytes);
    if (command_parse(line, bytes, &command)) {
        if (command.kind == COMMAND_ALLOW ? command.uid_count > COMMAND_UIDS_MAX
                                          : command.reply_bytes >= REPLY_LINE_BYTES_MAX) {
            abort();
        }
        if (command.kind != COMMAND_ALLOW && command.id <= INT64_MAX) {
            check_again(&command);
        }
    }
    free(line);
    return 0;
}
