/*
 * pages.h - the pages of the manifest's file (LMDB, pages of 8,192 bytes), read without trust:
 * src/manifest/page_file.ts has the layout.
 */
#ifndef P4POSIX_PAGES_H
#define P4POSIX_PAGES_H

#include "posix.h"

#define PAGE_BYTES 8192
#define PAGE_HEADER_BYTES 24
#define NODE_HEADER_BYTES 8
#define PAGE_ROOM (PAGE_BYTES - PAGE_HEADER_BYTES)
/* Bits of the flags that say what a page is. */
#define KIND_BITS 0x6f
#define BRANCH 0x01
#define LEAF 0x02
#define META 0x08

struct key {
    const unsigned char *bytes; /* NULL: no bound */
    size_t length;
};

static inline uint16_t u16_at(const unsigned char *at) {
    return (uint16_t)(at[0] | at[1] << 8);
}

static inline uint32_t u32_at(const unsigned char *at) {
    return (uint32_t)u16_at(at) | (uint32_t)u16_at(at + 2) << 16;
}

static inline uint64_t u64_at(const unsigned char *at) {
    return (uint64_t)u32_at(at) | (uint64_t)u32_at(at + 4) << 32;
}

/* Inline, eight bytes a step: a search compares a dozen keys, most of them alike for long. */
static inline int compare_keys(struct key a, struct key b) {
    const size_t shorter = a.length < b.length ? a.length : b.length;
    size_t i = 0;
    for (; i + 8 <= shorter; i += 8) {
        const uint64_t of_a = __builtin_bswap64(u64_at(a.bytes + i));
        const uint64_t of_b = __builtin_bswap64(u64_at(b.bytes + i));
        if (of_a != of_b) {
            return of_a < of_b ? -1 : 1;
        }
    }
    for (; i < shorter; i++) {
        if (a.bytes[i] != b.bytes[i]) {
            return a.bytes[i] < b.bytes[i] ? -1 : 1;
        }
    }
    return a.length < b.length ? -1 : a.length > b.length;
}

/* The number of nodes; 0 if the header is not sound. */
static inline int nodes_of(const unsigned char *page) {
    const int lower = u16_at(page + 20);
    const int upper = u16_at(page + 22);
    const bool is_sound = lower % 2 == 0 && lower <= upper && upper <= PAGE_ROOM;
    return is_sound ? lower / 2 : 0;
}

/* Where the page says that its node `index` is; NULL if that is not within it. */
static inline const unsigned char *node_at(const unsigned char *page, int index) {
    const int pointer = u16_at(page + PAGE_HEADER_BYTES + 2 * index);
    if (pointer < u16_at(page + 22) || pointer > PAGE_ROOM - NODE_HEADER_BYTES) {
        return NULL;
    }
    return page + PAGE_HEADER_BYTES + pointer;
}

/* Whether the key of `node` is within its page. */
static inline bool key_of(const unsigned char *page, const unsigned char *node, struct key *out) {
    *out = (struct key){node + NODE_HEADER_BYTES, u16_at(node + 6)};
    return out->length <= (size_t)(page + PAGE_BYTES - out->bytes);
}

/* Whether the value behind `key` is within the page. */
static inline bool value_of(const unsigned char *page, const unsigned char *node, struct key key,
                            struct key *out) {
    *out = (struct key){key.bytes + key.length, u32_at(node)};
    return out->length <= (size_t)(page + PAGE_BYTES - out->bytes);
}

/* The page below a node of a branch page. */
static inline uint64_t child_of(const unsigned char *node) {
    return (uint64_t)u32_at(node) | (uint64_t)u16_at(node + 4) << 32;
}

/* Whether `page` is page `number`, of that kind, and no newer than the transaction. */
static inline bool is_page(const unsigned char *page, uint64_t number, int kind,
                           uint64_t transaction_max) {
    return u64_at(page) == number && u64_at(page + 8) <= transaction_max &&
           (u16_at(page + 18) & KIND_BITS) == kind;
}

/* checksum.c: of what stands after what gave `before`; ~0 and the complement around all. */
uint32_t crc32_after(uint32_t before, const unsigned char *bytes, size_t length);
uint32_t crc32c_after(uint32_t before, const unsigned char *bytes, size_t length);

#endif
