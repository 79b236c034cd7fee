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

// Names the kept rows that luma rows 2 pair and 2 pair + 1 and chroma row `pair` read. They are neighbours, so each has its
// place; only where the grid is far finer than the frame are they not, and then nothing is worth keeping.
static void aim(Field& f, int pair, int rows, int blocks) {
    int wanted[6], low = 1 << 30, high = 0;
    for (int r = 0; r < 3; r++) {
        const Axis& down = r < 2 ? *f.luma_y : *f.chroma_y;
        const int y = r < 2 ? 2 * pair + (r < rows ? r : 0) : pair, row = down.index[y];
        wanted[2 * r] = row;
        wanted[2 * r + 1] = row + 1;
        low = row < low ? row : low;
        high = row + 1 > high ? row + 1 : high;
        f.frac[r] = down.frac[y];
    }
    unsigned needed = 0;
    for (int k = 0; k < 6; k++) {
        int kept = wanted[k] % FIELD_ROWS;
        if (high - low >= FIELD_ROWS)
            for (kept = 0; wanted[kept] != wanted[k];) kept++;
        if (f.held[kept] != wanted[k]) {
            f.held[kept] = wanted[k];
            __builtin_memset(f.done[kept], 0, (size_t)blocks);
        }
        (k % 2 ? f.lower : f.upper)[k / 2] = kept;
        needed |= 1u << kept;
    }
    f.needed_count = 0;
    for (int kept = 0; kept < FIELD_ROWS; kept++)
        if (needed >> kept & 1) f.needed[f.needed_count++] = kept;
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
