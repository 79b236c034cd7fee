// Low-resolution planes, enlarged bilinearly, a block of full-size samples at a time.
//
// Across, a block is computed once and kept for the rows that read it (about four at 1080p from 288 rows); down, two kept
// rows are mixed where they are used. 16 outputs of an enlarging axis read at most 17 neighbours, so they are loaded once
// and permuted, where the instruction set can; gathers cost three times as much.
#pragma once

#include "simd.h"

namespace CUTLINE_ISA {

#define VECTOR_LOOP _Pragma("GCC ivdep")

template <int N>
static inline void enlarge_plane(const float* from, const Axis& across, int block, float* to) {
    const int32_t* index = across.index + (ptrdiff_t)block * N;
    const float* frac = across.frac + (ptrdiff_t)block * N;
    if (across.enlarging)
        for (int i = 0; i < N; i += LANES)
            save(to + i, mix(permuted(from, index + i), permuted(from + 1, index + i), load(frac + i)));
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

static inline Lanes at(const Strip& s, int i) { return mix(load(s.upper + i), load(s.lower + i), s.frac); }

static inline Strip strip(const Field& f, int plane, int r, int block) {
    const ptrdiff_t start = (ptrdiff_t)block * f.block + f.offset[plane];
    return {f.row[f.upper[r]] + start, f.row[f.lower[r]] + start, f.frac[r]};
}

}  // namespace CUTLINE_ISA
