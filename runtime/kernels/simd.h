// What compilers do not vectorise well, by hand: vectors of floats for the full-size pass; weighted sums of byte rows and
// short dot products at scattered places for the resize.
//
// Layout of the horizontal weights, the same for every instruction set: outputs in groups of 8; within a group, chunks of 8 taps;
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

// ---- vectors of floats: Lanes, LANES of them -----------------------------------------------------------------------
// load, save         floats, aligned to the vector's size
// load_codes         unsigned bytes -> floats
// save_codes         floor(clamp(v, 0, 255) + 0.5) as bytes: pixel.h's store_code
// evens, odds        every other one of 2 * LANES floats
// after              v moved up by one lane, `first` before it
// permuted           the samples from[index[i]], all of them in from[0 .. LANES - 1]

#if defined(__AVX512F__)

typedef __m512 Lanes;
static constexpr int LANES = 16;
static inline Lanes load(const float* from) { return _mm512_load_ps(from); }
static inline void save(float* to, Lanes v) { _mm512_store_ps(to, v); }
static inline Lanes load_codes(const uint8_t* from) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)from)));
}
static inline void save_whole(uint8_t* to, Lanes v) {
    _mm_storeu_si128((__m128i*)to, _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(v)));
}
static inline Lanes lanes_of(float v) { return _mm512_set1_ps(v); }
static inline Lanes least(Lanes a, Lanes b) { return _mm512_min_ps(a, b); }
static inline Lanes most(Lanes a, Lanes b) { return _mm512_max_ps(a, b); }
static inline Lanes evens(const float* from) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_ps(load(from), even, load(from + 16));
}
static inline Lanes odds(const float* from) {
    const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    return _mm512_permutex2var_ps(load(from), odd, load(from + 16));
}
static inline Lanes after(float first, Lanes v) {
    const __m512i before = _mm512_castps_si512(lanes_of(first));
    return _mm512_castsi512_ps(_mm512_alignr_epi32(_mm512_castps_si512(v), before, 15));
}
static inline Lanes permuted(const float* from, const int32_t* index) {
    const __m512i place = _mm512_sub_epi32(_mm512_load_si512(index), _mm512_set1_epi32(index[0]));
    return _mm512_permutexvar_ps(place, _mm512_loadu_ps(from + index[0]));
}

#elif defined(__AVX2__)

typedef __m256 Lanes;
static constexpr int LANES = 8;
static inline Lanes load(const float* from) { return _mm256_load_ps(from); }
static inline void save(float* to, Lanes v) { _mm256_store_ps(to, v); }
static inline Lanes load_codes(const uint8_t* from) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)from)));
}
static inline void save_whole(uint8_t* to, Lanes v) {
    const __m256i whole = _mm256_cvttps_epi32(v);
    const __m128i shorts = _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    _mm_storel_epi64((__m128i*)to, _mm_packus_epi16(shorts, shorts));
}
static inline Lanes lanes_of(float v) { return _mm256_set1_ps(v); }
static inline Lanes least(Lanes a, Lanes b) { return _mm256_min_ps(a, b); }
static inline Lanes most(Lanes a, Lanes b) { return _mm256_max_ps(a, b); }
static inline Lanes in_order(__m256 v) {
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8));
}
static inline Lanes evens(const float* from) { return in_order(_mm256_shuffle_ps(load(from), load(from + 8), 0x88)); }
static inline Lanes odds(const float* from) { return in_order(_mm256_shuffle_ps(load(from), load(from + 8), 0xdd)); }
static inline Lanes after(float first, Lanes v) {
    const __m256 turned = _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(7, 0, 1, 2, 3, 4, 5, 6));
    return _mm256_blend_ps(turned, lanes_of(first), 1);
}
static inline Lanes permuted(const float* from, const int32_t* index) {
    const __m256i place = _mm256_sub_epi32(_mm256_load_si256((const __m256i*)index), _mm256_set1_epi32(index[0]));
    return _mm256_permutevar8x32_ps(_mm256_loadu_ps(from + index[0]), place);
}

#elif defined(__SSE4_1__)

typedef __m128 Lanes;
static constexpr int LANES = 4;
static inline Lanes load(const float* from) { return _mm_load_ps(from); }
static inline void save(float* to, Lanes v) { _mm_store_ps(to, v); }
static inline Lanes load_codes(const uint8_t* from) {
    int32_t four;
    __builtin_memcpy(&four, from, 4);
    return _mm_cvtepi32_ps(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(four)));
}
static inline void save_whole(uint8_t* to, Lanes v) {
    const __m128i whole = _mm_cvttps_epi32(v), shorts = _mm_packus_epi32(whole, whole);
    const int32_t four = _mm_cvtsi128_si32(_mm_packus_epi16(shorts, shorts));
    __builtin_memcpy(to, &four, 4);
}
static inline Lanes lanes_of(float v) { return _mm_set1_ps(v); }
static inline Lanes least(Lanes a, Lanes b) { return _mm_min_ps(a, b); }
static inline Lanes most(Lanes a, Lanes b) { return _mm_max_ps(a, b); }
static inline Lanes evens(const float* from) { return _mm_shuffle_ps(load(from), load(from + 4), 0x88); }
static inline Lanes odds(const float* from) { return _mm_shuffle_ps(load(from), load(from + 4), 0xdd); }
static inline Lanes after(float first, Lanes v) {
    return _mm_move_ss(_mm_shuffle_ps(v, v, 0x93), _mm_set_ss(first));
}
static inline Lanes permuted(const float* from, const int32_t* index) {
    return _mm_setr_ps(from[index[0]], from[index[1]], from[index[2]], from[index[3]]);
}

#elif defined(__aarch64__)

typedef float32x4_t Lanes;
static constexpr int LANES = 4;
static inline Lanes load(const float* from) { return vld1q_f32(from); }
static inline void save(float* to, Lanes v) { vst1q_f32(to, v); }
static inline Lanes load_codes(const uint8_t* from) {
    uint32_t four;
    __builtin_memcpy(&four, from, 4);
    const uint16x8_t shorts = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four)));
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(shorts)));
}
static inline void save_whole(uint8_t* to, Lanes v) {
    const uint16x4_t shorts = vmovn_u32(vcvtq_u32_f32(v));
    const uint32_t four = vget_lane_u32(vreinterpret_u32_u8(vmovn_u16(vcombine_u16(shorts, shorts))), 0);
    __builtin_memcpy(to, &four, 4);
}
static inline Lanes lanes_of(float v) { return vdupq_n_f32(v); }
static inline Lanes least(Lanes a, Lanes b) { return vminq_f32(a, b); }
static inline Lanes most(Lanes a, Lanes b) { return vmaxq_f32(a, b); }
static inline Lanes evens(const float* from) { return vuzp1q_f32(load(from), load(from + 4)); }
static inline Lanes odds(const float* from) { return vuzp2q_f32(load(from), load(from + 4)); }
static inline Lanes after(float first, Lanes v) { return vextq_f32(lanes_of(first), v, 3); }
static inline Lanes permuted(const float* from, const int32_t* index) {
    const float four[4] = {from[index[0]], from[index[1]], from[index[2]], from[index[3]]};
    return vld1q_f32(four);
}

#endif

}  // namespace CUTLINE_ISA

template <> inline __attribute__((always_inline)) CUTLINE_ISA::Lanes splat(float v) { return CUTLINE_ISA::lanes_of(v); }
template <> inline __attribute__((always_inline)) CUTLINE_ISA::Lanes lesser(CUTLINE_ISA::Lanes a, CUTLINE_ISA::Lanes b) {
    return CUTLINE_ISA::least(a, b);
}
template <> inline __attribute__((always_inline)) CUTLINE_ISA::Lanes greater(CUTLINE_ISA::Lanes a, CUTLINE_ISA::Lanes b) {
    return CUTLINE_ISA::most(a, b);
}

namespace CUTLINE_ISA {

static inline void save_codes(uint8_t* to, Lanes v) { save_whole(to, clamp(v, 0.0f, 255.0f) + 0.5f); }

// ---- weighted sums of rows -----------------------------------------------------------------------------------------
// weigh_step: STEP samples of sum(rows[2 i][x] * weight[2 i] + rows[2 i + 1][x] * weight[2 i + 1]) over PAIRS pairs, Q7.
// Weights are 0..127 and sum to 128, so that no 16-bit sum overflows: 255 * 128 = 32640.

#if defined(__AVX512BW__)

static constexpr int STEP = 64;
template <int PAIRS>
static inline void weigh_step(const uint8_t* const* rows, const uint8_t* weight, ptrdiff_t x, int16_t* out) {
    __m512i low = _mm512_setzero_si512(), high = _mm512_setzero_si512();
    for (int i = 0; i < PAIRS; i++) {
        const __m512i a = _mm512_loadu_si512(rows[2 * i] + x), b = _mm512_loadu_si512(rows[2 * i + 1] + x);
        const __m512i w = _mm512_set1_epi16((int16_t)(weight[2 * i] | weight[2 * i + 1] << 8));
        low = _mm512_add_epi16(low, _mm512_maddubs_epi16(_mm512_unpacklo_epi8(a, b), w));
        high = _mm512_add_epi16(high, _mm512_maddubs_epi16(_mm512_unpackhi_epi8(a, b), w));
    }
    const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), last = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    _mm512_storeu_si512(out + x, _mm512_permutex2var_epi64(low, first, high));
    _mm512_storeu_si512(out + x + 32, _mm512_permutex2var_epi64(low, last, high));
}

#elif defined(__AVX2__)

static constexpr int STEP = 32;
template <int PAIRS>
static inline void weigh_step(const uint8_t* const* rows, const uint8_t* weight, ptrdiff_t x, int16_t* out) {
    __m256i low = _mm256_setzero_si256(), high = _mm256_setzero_si256();
    for (int i = 0; i < PAIRS; i++) {
        const __m256i a = _mm256_loadu_si256((const __m256i*)(rows[2 * i] + x));
        const __m256i b = _mm256_loadu_si256((const __m256i*)(rows[2 * i + 1] + x));
        const __m256i w = _mm256_set1_epi16((int16_t)(weight[2 * i] | weight[2 * i + 1] << 8));
        low = _mm256_add_epi16(low, _mm256_maddubs_epi16(_mm256_unpacklo_epi8(a, b), w));
        high = _mm256_add_epi16(high, _mm256_maddubs_epi16(_mm256_unpackhi_epi8(a, b), w));
    }
    _mm256_storeu_si256((__m256i*)(out + x), _mm256_permute2x128_si256(low, high, 0x20));
    _mm256_storeu_si256((__m256i*)(out + x + 16), _mm256_permute2x128_si256(low, high, 0x31));
}

#elif defined(__SSSE3__)

static constexpr int STEP = 16;
template <int PAIRS>
static inline void weigh_step(const uint8_t* const* rows, const uint8_t* weight, ptrdiff_t x, int16_t* out) {
    __m128i low = _mm_setzero_si128(), high = _mm_setzero_si128();
    for (int i = 0; i < PAIRS; i++) {
        const __m128i a = _mm_loadu_si128((const __m128i*)(rows[2 * i] + x));
        const __m128i b = _mm_loadu_si128((const __m128i*)(rows[2 * i + 1] + x));
        const __m128i w = _mm_set1_epi16((int16_t)(weight[2 * i] | weight[2 * i + 1] << 8));
        low = _mm_add_epi16(low, _mm_maddubs_epi16(_mm_unpacklo_epi8(a, b), w));
        high = _mm_add_epi16(high, _mm_maddubs_epi16(_mm_unpackhi_epi8(a, b), w));
    }
    _mm_storeu_si128((__m128i*)(out + x), low);
    _mm_storeu_si128((__m128i*)(out + x + 8), high);
}

#elif defined(__aarch64__)

static constexpr int STEP = 16;
template <int PAIRS>
static inline void weigh_step(const uint8_t* const* rows, const uint8_t* weight, ptrdiff_t x, int16_t* out) {
    uint16x8_t low = vdupq_n_u16(0), high = vdupq_n_u16(0);
    for (int i = 0; i < 2 * PAIRS; i++) {
        const uint8x16_t a = vld1q_u8(rows[i] + x);
        low = vmlal_u8(low, vget_low_u8(a), vdup_n_u8(weight[i]));
        high = vmlal_u8(high, vget_high_u8(a), vdup_n_u8(weight[i]));
    }
    vst1q_s16(out + x, vreinterpretq_s16_u16(low));
    vst1q_s16(out + x + 8, vreinterpretq_s16_u16(high));
}

#endif

// ---- dot products --------------------------------------------------------------------------------------------------

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

CUTLINE_FN void dot_group(const int16_t* band, const int32_t* first, const int16_t* weight, int chunks, uint16_t* out) {
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

CUTLINE_FN void dot_short_group(const int16_t* band, const int32_t* first, const int16_t* weight, uint16_t* out) {
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

CUTLINE_FN void dot_group(const int16_t* band, const int32_t* first, const int16_t* weight, int chunks, uint16_t* out) {
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

CUTLINE_FN void dot_short_group(const int16_t* band, const int32_t* first, const int16_t* weight, uint16_t* out) {
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

CUTLINE_FN void dot_group(const int16_t* band, const int32_t* first, const int16_t* weight, int chunks, uint16_t* out) {
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

CUTLINE_FN void dot_short_group(const int16_t* band, const int32_t* first, const int16_t* weight, uint16_t* out) {
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
