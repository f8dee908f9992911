/*
 * fuzz_rows.c - a manifest's file of three rows, with any bytes anywhere in it: nothing is read
 * outside of the file, every search ends, and a row that is told is the one that was sealed.
 *
 * The input is edits, five bytes each: page, place (two bytes), how many, what is added to each.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "../posix/pages.h"

#define MUST(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

#define PAGES 9
#define ROWS 3
#define CONTENT_BYTES 120
#define ROW_BYTES (CONTENT_BYTES + 4)
#define TRANSACTION 8 /* meta page 0 is the newer */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

struct p4posix_rows;
int p4posix_rows_open(int fd, struct p4posix_rows **out);
int p4posix_rows_renew(struct p4posix_rows *rows);
int p4posix_rows_find(const struct p4posix_rows *rows, const unsigned char *path, int path_bytes,
                      unsigned char *memory, int memory_bytes);
void p4posix_rows_close(struct p4posix_rows *rows);

static const char *const paths[ROWS] = {"depot/a,v", "depot/b,v", "depot/c,d/1.1.gz"};
static unsigned char sealed[ROWS][ROW_BYTES];
static unsigned char good[PAGES * PAGE_BYTES];
static int fd;

static void put(unsigned char *at, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) {
        at[i] = (unsigned char)(value >> 8 * i);
    }
}

static unsigned char *begin_page(int number, int kind) {
    unsigned char *page = good + number * PAGE_BYTES;
    put(page, (uint64_t)number, 8);
    put(page + 8, TRANSACTION, 8);
    put(page + 18, (uint64_t)kind, 2);
    put(page + 22, PAGE_ROOM, 2);
    return page;
}

/* Adds a node behind the others: of a leaf page with `low` as its value's length. */
static void add_node(unsigned char *page, struct key key, uint64_t low, int flags,
                     const unsigned char *value, size_t value_bytes) {
    const size_t bytes = (NODE_HEADER_BYTES + key.length + value_bytes + 1) / 2 * 2;
    const int lower = u16_at(page + 20);
    const int upper = u16_at(page + 22) - (int)bytes;
    put(page + PAGE_HEADER_BYTES + lower, (uint64_t)upper, 2);
    put(page + 20, (uint64_t)lower + 2, 2);
    put(page + 22, (uint64_t)upper, 2);
    unsigned char *node = page + PAGE_HEADER_BYTES + upper;
    put(node, low, 4);
    put(node + 4, (uint64_t)flags, 2);
    put(node + 6, key.length, 2);
    memcpy(node + NODE_HEADER_BYTES, key.bytes, key.length);
    memcpy(node + NODE_HEADER_BYTES + key.length, value, value_bytes);
}

static void add_table(unsigned char *page, const char *name, int depth, int root) {
    unsigned char tree[48] = {0};
    put(tree + 6, (uint64_t)depth, 2);
    put(tree + 40, (uint64_t)root, 8);
    const struct key key = {(const unsigned char *)name, strlen(name) + 1};
    add_node(page, key, sizeof tree, 2, tree, sizeof tree);
}

static void make_meta(int number) {
    unsigned char *page = begin_page(number, META);
    put(page + 24, 0xbeefc0de, 4);
    put(page + 28, 2, 4);
    put(page + 48, PAGE_BYTES, 4);
    put(page + 96 + 6, 1, 2);
    put(page + 96 + 40, 2, 8);
    put(page + 152, (uint64_t)(TRANSACTION - number), 8);
}

/* Tables on page 2; paths: branch page 3, leaves 4 and 5; rows: branch page 6, leaves 7 and 8. */
static void make_file(void) {
    make_meta(0);
    make_meta(1);
    unsigned char *tables = begin_page(2, LEAF);
    add_table(tables, "files_by_path", 2, 3);
    add_table(tables, "rows_by_id", 2, 6);
    unsigned char *branches[] = {begin_page(3, BRANCH), begin_page(6, BRANCH)};
    unsigned char *leaves[] = {begin_page(4, LEAF), begin_page(5, LEAF), begin_page(7, LEAF),
                               begin_page(8, LEAF)};
    /* So that rows stand far from the end of their page, and a length may say more than fits. */
    static const unsigned char filler[5000];
    for (int leaf = 2; leaf < 4; leaf++) {
        add_node(leaves[leaf], (struct key){filler, 8}, sizeof filler, 0, filler, sizeof filler);
    }
    for (int i = 0; i < ROWS; i++) {
        const int second = i > 0;
        const unsigned char id[8] = {[7] = (unsigned char)(i + 1)};
        const struct key path = {(const unsigned char *)paths[i], strlen(paths[i])};
        memset(sealed[i], i + 7, CONTENT_BYTES);
        memcpy(sealed[i], "P4FE\2", 5);
        const uint32_t label = crc32c_after(UINT32_MAX, path.bytes, path.length);
        put(sealed[i] + CONTENT_BYTES, ~crc32c_after(label, sealed[i], CONTENT_BYTES), 4);
        add_node(leaves[second], path, sizeof id, 0, id, sizeof id);
        add_node(leaves[2 + second], (struct key){id, sizeof id}, ROW_BYTES, 0, sealed[i],
                 ROW_BYTES);
        if (i < 2) {
            const size_t all = i == 0 ? 0 : 1; /* the first key of a branch page is empty */
            add_node(branches[0], (struct key){path.bytes, all * path.length},
                     (uint64_t)(4 + second), 0, path.bytes, 0);
            add_node(branches[1], (struct key){id, all * sizeof id}, (uint64_t)(7 + second), 0, id,
                     0);
        }
    }
}

/* How many rows are found; each is the one that was sealed. */
static int find_all(void) {
    struct p4posix_rows *rows;
    MUST(p4posix_rows_open(fd, &rows) == 0);
    int found = 0;
    unsigned char none[8 + 4096];
    MUST(p4posix_rows_find(rows, (const unsigned char *)paths[0], 9, none, sizeof none) == -ENOENT);
    if (p4posix_rows_renew(rows) == 0) {
        for (int i = 0; i < ROWS; i++) {
            unsigned char memory[8 + 4096];
            const int length =
                p4posix_rows_find(rows, (const unsigned char *)paths[i], (int)strlen(paths[i]),
                                  memory, sizeof memory);
            MUST(length == -ENOENT ||
                 (length == ROW_BYTES && memcmp(memory + 8, sealed[i], ROW_BYTES) == 0));
            found += length >= 0;
        }
    }
    p4posix_rows_close(rows);
    return found;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    make_file();
    fd = memfd_create("rows", MFD_CLOEXEC);
    MUST(fd >= 0 && pwrite(fd, good, sizeof good, 0) == (ssize_t)sizeof good);
    MUST(find_all() == ROWS);
    return 0;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes) {
    static unsigned char edited[PAGES * PAGE_BYTES];
    memcpy(edited, good, sizeof good);
    for (; bytes >= 5; data += 5, bytes -= 5) {
        const size_t page = data[0] % PAGES;
        const size_t place = page * PAGE_BYTES + u16_at(data + 1) % PAGE_BYTES;
        for (size_t i = 0; i < data[3] && place + i < sizeof edited; i++) {
            edited[place + i] = (unsigned char)(edited[place + i] + data[4]);
        }
    }
    MUST(pwrite(fd, edited, sizeof edited, 0) == (ssize_t)sizeof edited);
    find_all();
    return 0;
}
