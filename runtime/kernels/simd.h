// The two loops that no compiler vectorises well, by hand: short dot products at scattered places.
//
// Layout of the weights, the same for every instruction set: outputs in groups of 8; within a group, chunks of 8 taps;
// within a chunk, rows i = 0..3 of 16 weights, those of output i and then of output i + 4, so that one 256-bit register
// holds a row. Filters of up to 4 taps have one chunk of 2 rows: outputs 0, 1, 4, 5 and then 2, 3, 6, 7, 4 weights each.
#pragma once

#include "plan.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif


namespace CUTLINE_ISA {

#if defined(__AVX2__)

static inline __m256i two_halves(const int16_t* low, const int16_t* high) {
    const __m128i first = _mm_loadu_si128((const __m128i*)low);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(first), _mm_loadu_si128((const __m128i*)high), 1);
}

static inline void store_group(__m256i sum, uint16_t* out) {
    const __m256i q8 = _mm256_srli_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(1 << 12)), 13);
    const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(q8), _mm256_extracti128_si256(q8, 1));
    _mm_storeu_si128((__m128i*)out, packed);
}

static inline void dot_group(const int16_t* band, const int32_t* first, const int16_t* weight, int chunks, uint16_t* out) {
    __m256i sum[4];
    for (int i = 0; i < 4; i++) sum[i] = _mm256_setzero_si256();
    for (int chunk = 0; chunk < chunks; chunk++, band += 8, weight += 64)
        for (int i = 0; i < 4; i++) {
            const __m256i samples = two_halves(band + first[i], band + first[i + 4]);
            const __m256i product = _mm256_madd_epi16(samples, _mm256_load_si256((const __m256i*)(weight + 16 * i)));
            sum[i] = _mm256_add_epi32(sum[i], product);
        }
    const __m256i low = _mm256_hadd_epi32(sum[0], sum[1]), high = _mm256_hadd_epi32(sum[2], sum[3]);
    store_group(_mm256_hadd_epi32(low, high), out);
}

static inline __m128i two_quarters(const int16_t* low, const int16_t* high) {
    const __m128i first = _mm_loadl_epi64((const __m128i*)low);
    return _mm_castps_si128(_mm_loadh_pi(_mm_castsi128_ps(first), (const __m64*)high));
}

static inline void dot_short_group(const int16_t* band, const int32_t* first, const int16_t* weight, uint16_t* out) {
    __m256i product[2];
    for (int i = 0; i < 2; i++) {
        const __m128i low = two_quarters(band + first[2 * i], band + first[2 * i + 1]);
        const __m128i high = two_quarters(band + first[2 * i + 4], band + first[2 * i + 5]);
        const __m256i samples = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
        product[i] = _mm256_madd_epi16(samples, _mm256_load_si256((const __m256i*)(weight + 16 * i)));
    }
    store_group(_mm256_hadd_epi32(product[0], product[1]), out);
}

#elif defined(__SSSE3__)

static inline void store_half(__m128i sum, uint16_t* out) {
    const __m128i q8 = _mm_srli_epi32(_mm_add_epi32(sum, _mm_set1_epi32(1 << 12)), 13);
    _mm_storel_epi64((__m128i*)out, _mm_packus_epi32(q8, q8));
}

static inline void dot_group(const int16_t* band, const int32_t* first, const int16_t* weight, int chunks, uint16_t* out) {
    for (int half = 0; half < 2; half++) {
        __m128i sum[4];
        for (int i = 0; i < 4; i++) sum[i] = _mm_setzero_si128();
        for (int chunk = 0; chunk < chunks; chunk++)
            for (int i = 0; i < 4; i++) {
                const __m128i samples = _mm_loadu_si128((const __m128i*)(band + 8 * chunk + first[i + 4 * half]));
                const __m128i* at = (const __m128i*)(weight + 64 * chunk + 16 * i + 8 * half);
                sum[i] = _mm_add_epi32(sum[i], _mm_madd_epi16(samples, _mm_load_si128(at)));
            }
        const __m128i low = _mm_hadd_epi32(sum[0], sum[1]), high = _mm_hadd_epi32(sum[2], sum[3]);
        store_half(_mm_hadd_epi32(low, high), out + 4 * half);
    }
}

static inline void dot_short_group(const int16_t* band, const int32_t* first, const int16_t* weight, uint16_t* out) {
    for (int half = 0; half < 2; half++) {
        __m128i product[2];
        for (int i = 0; i < 2; i++) {
            const __m128i low = _mm_loadl_epi64((const __m128i*)(band + first[2 * i + 4 * half]));
            const __m64* high = (const __m64*)(band + first[2 * i + 1 + 4 * half]);
            const __m128i samples = _mm_castps_si128(_mm_loadh_pi(_mm_castsi128_ps(low), high));
            product[i] = _mm_madd_epi16(samples, _mm_load_si128((const __m128i*)(weight + 16 * i + 8 * half)));
        }
        store_half(_mm_hadd_epi32(product[0], product[1]), out + 4 * half);
    }
}

#elif defined(__aarch64__)

static inline void dot_group(const int16_t* band, const int32_t* first, const int16_t* weight, int chunks, uint16_t* out) {
    for (int half = 0; half < 2; half++) {
        int32x4_t sum[4];
        for (int i = 0; i < 4; i++) sum[i] = vdupq_n_s32(0);
        for (int chunk = 0; chunk < chunks; chunk++)
            for (int i = 0; i < 4; i++) {
                const int16x8_t samples = vld1q_s16(band + 8 * chunk + first[i + 4 * half]);
                const int16x8_t factors = vld1q_s16(weight + 64 * chunk + 16 * i + 8 * half);
                sum[i] = vmlal_s16(sum[i], vget_low_s16(samples), vget_low_s16(factors));
                sum[i] = vmlal_high_s16(sum[i], samples, factors);
            }
        const int32x4_t total = vpaddq_s32(vpaddq_s32(sum[0], sum[1]), vpaddq_s32(sum[2], sum[3]));
        vst1_u16(out + 4 * half, vmovn_u32(vreinterpretq_u32_s32(vrshrq_n_s32(total, 13))));
    }
}

static inline void dot_short_group(const int16_t* band, const int32_t* first, const int16_t* weight, uint16_t* out) {
    for (int half = 0; half < 2; half++) {
        int32x4_t product[4];
        for (int i = 0; i < 4; i++) {
            const int16x4_t samples = vld1_s16(band + first[i + 4 * half]);
            product[i] = vmull_s16(samples, vld1_s16(weight + 16 * (i / 2) + 8 * half + 4 * (i % 2)));
        }
        const int32x4_t total = vpaddq_s32(vpaddq_s32(product[0], product[1]), vpaddq_s32(product[2], product[3]));
        vst1_u16(out + 4 * half, vmovn_u32(vreinterpretq_u32_s32(vrshrq_n_s32(total, 13))));
    }
}

#endif

}  // namespace CUTLINE_ISA
