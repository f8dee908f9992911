/*
 * checksum.c - CRC-32 (IEEE) and CRC-32C (Castagnoli), eight bytes a step, as in
 * src/manifest/crc32c.ts.
 */
#include "pages.h"

typedef uint32_t steps_t[8][256];

static steps_t ieee;
static steps_t castagnoli;

static void make_steps(steps_t steps, uint32_t polynomial) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 1) != 0 ? (crc >> 1) ^ polynomial : crc >> 1;
        }
        steps[0][byte] = crc;
    }
    for (int step = 1; step < 8; step++) {
        for (int byte = 0; byte < 256; byte++) {
            const uint32_t before = steps[step - 1][byte];
            steps[step][byte] = (before >> 8) ^ steps[0][before & 0xff];
        }
    }
}

/* When the library is loaded: pthread_once would ask for glibc 2.34 (old_glibc.h). */
static __attribute__((constructor)) void make_all_steps(void) {
    make_steps(ieee, UINT32_C(0xedb88320));
    make_steps(castagnoli, UINT32_C(0x82f63b78));
}

static inline uint32_t extended(const steps_t steps, uint32_t crc, const unsigned char *bytes,
                                size_t length) {
    for (; length >= 8; bytes += 8, length -= 8) {
        const uint32_t low = crc ^ u32_at(bytes);
        const uint32_t high = u32_at(bytes + 4);
        crc = steps[7][low & 0xff] ^ steps[6][low >> 8 & 0xff] ^ steps[5][low >> 16 & 0xff] ^
              steps[4][low >> 24] ^ steps[3][high & 0xff] ^ steps[2][high >> 8 & 0xff] ^
              steps[1][high >> 16 & 0xff] ^ steps[0][high >> 24];
    }
    for (; length > 0; bytes++, length--) {
        crc = steps[0][(crc ^ *bytes) & 0xff] ^ crc >> 8;
    }
    return crc;
}

uint32_t crc32_after(uint32_t before, const unsigned char *bytes, size_t length) {
    return extended(ieee, before, bytes, length);
}

uint32_t crc32c_after(uint32_t before, const unsigned char *bytes, size_t length) {
    return extended(castagnoli, before, bytes, length);
}
