// Low-resolution planes, enlarged bilinearly, a block of full-size samples at a time.
//
// Across, a block is computed once and kept for the rows that read it (about four at 1080p from 288 rows); down, two kept
// rows are mixed where they are used. 16 outputs of an enlarging axis read at most 17 neighbours, so they are loaded once
// and permuted, where the instruction set can; gathers cost three times as much.
#pragma once

#include "plan.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace CUTLINE_ISA {

#define VECTOR_LOOP _Pragma("GCC ivdep")

#if defined(__AVX512F__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"   // GCC's own header passes an undefined register, on purpose
static inline void enlarge_lanes(const float* from, const int32_t* index, const float* frac, float* to) {
    const __m512i place = _mm512_sub_epi32(_mm512_load_si512(index), _mm512_set1_epi32(index[0]));
    const __m512 low = _mm512_permutexvar_ps(place, _mm512_loadu_ps(from + index[0]));
    const __m512 high = _mm512_permutexvar_ps(place, _mm512_loadu_ps(from + index[0] + 1));
    _mm512_store_ps(to, _mm512_fmadd_ps(_mm512_sub_ps(high, low), _mm512_load_ps(frac), low));
}
#pragma GCC diagnostic pop
static constexpr int LANES = 16;
#elif defined(__AVX2__)
static inline void enlarge_lanes(const float* from, const int32_t* index, const float* frac, float* to) {
    const __m256i place = _mm256_sub_epi32(_mm256_load_si256((const __m256i*)index), _mm256_set1_epi32(index[0]));
    const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(from + index[0]), place);
    const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(from + index[0] + 1), place);
    _mm256_store_ps(to, _mm256_fmadd_ps(_mm256_sub_ps(high, low), _mm256_load_ps(frac), low));
}
static constexpr int LANES = 8;
#else
static inline void enlarge_lanes(const float* from, const int32_t* index, const float* frac, float* to) {
    for (int i = 0; i < 4; i++) to[i] = mix(from[index[i]], from[index[i] + 1], frac[i]);
}
static constexpr int LANES = 4;
#endif

template <int N>
static inline void enlarge_plane(const float* from, const Axis& across, int block, float* to) {
    const int32_t* index = across.index + (ptrdiff_t)block * N;
    const float* frac = across.frac + (ptrdiff_t)block * N;
    if (across.enlarging)
        for (int i = 0; i < N; i += LANES) enlarge_lanes(from, index + i, frac + i, to + i);
    else
        for (int i = 0; i < N; i++) to[i] = mix(from[index[i]], from[index[i] + 1], frac[i]);
}

static void enlarge_block(Field& f, int kept, int block) {
    float* to = f.row[kept] + (ptrdiff_t)block * f.block;
    const ptrdiff_t start = (ptrdiff_t)f.held[kept] * f.stride;
    for (int plane = 0; plane < f.planes; plane++) {
        if (f.chroma[plane])
            enlarge_plane<BLOCK / 2>(f.data[plane] + start, *f.chroma_x, block, to + f.offset[plane]);
        else
            enlarge_plane<BLOCK>(f.data[plane] + start, *f.luma_x, block, to + f.offset[plane]);
    }
}

// Makes sure that this block of every row that the row pair needs is there.
static inline void want_block(Field& f, int block) {
    for (int i = 0; i < f.needed_count; i++) {
        uint8_t* done = f.done[f.needed[i]] + block;
        if (*done) continue;
        *done = 1;
        enlarge_block(f, f.needed[i], block);
    }
}

static int keep_row(Field& f, int row, int blocks) {
    int kept = 0, oldest = -1;
    while (kept < FIELD_ROWS && f.held[kept] != row) kept++;
    const bool fresh = kept == FIELD_ROWS;
    for (int i = 0; fresh && i < FIELD_ROWS; i++) {
        bool used = false;
        for (int k = 0; k < f.needed_count; k++) used |= f.needed[k] == i;
        if (!used && (oldest < 0 || f.held[i] < f.held[oldest])) oldest = i;
    }
    if (fresh) {
        kept = oldest;
        f.held[kept] = row;
        __builtin_memset(f.done[kept], 0, (size_t)blocks);
    }
    for (int k = 0; k < f.needed_count; k++)
        if (f.needed[k] == kept) return kept;
    f.needed[f.needed_count++] = kept;
    return kept;
}

// Names the kept rows that luma rows 2 pair and 2 pair + 1 and chroma row `pair` read.
static void aim(Field& f, int pair, int rows, int blocks) {
    f.needed_count = 0;
    for (int r = 0; r < 3; r++) {
        const Axis& down = r < 2 ? *f.luma_y : *f.chroma_y;
        const int y = r < 2 ? 2 * pair + (r < rows ? r : 0) : pair;
        f.upper[r] = keep_row(f, down.index[y], blocks);
        f.lower[r] = keep_row(f, down.index[y] + 1, blocks);
        f.frac[r] = down.frac[y];
    }
}

static void forget(Field& f) {
    for (int kept = 0; kept < FIELD_ROWS; kept++) f.held[kept] = -1;
}

// One plane of a block at one of the row pair's rows: mix(upper[i], lower[i], frac).
struct Strip {
    const float *upper, *lower;
    float frac;
};

CUTLINE_FN float at(const Strip& s, int i) { return mix(s.upper[i], s.lower[i], s.frac); }

static inline Strip strip(const Field& f, int plane, int r, int block) {
    const ptrdiff_t start = (ptrdiff_t)block * f.block + f.offset[plane];
    return {f.row[f.upper[r]] + start, f.row[f.lower[r]] + start, f.frac[r]};
}

}  // namespace CUTLINE_ISA
