// cutline_pre: YUV 4:2:0 frame -> the network's tensor and its guide, cropped, resized, coloured, normalised, in one pass.
// In    y, u, v or interleaved uv; rows start at multiples of 16 bytes
// Out   tensor 3 x h x w (either layout, any Number), guide uint8[3][h][w] = Y, Cb, Cr at the network's size
// Map   a block makes 32 x 16 outputs. Down: a thread filters 16 neighbouring source bytes for one output row, four rows to
//       a dp4a, into shared memory as Q7. Across: a thread makes two outputs, one below the other, of each plane out of that
//       band: they have their weights in common. Bands of any length go through the same shared memory in chunks of 288 bytes, which is
//       more than a tile needs up to a step of 7.
// Cost  reads 1.5 B per source pixel once from memory (1.3 times from L2: tiles overlap), writes 3 x sizeof(Number) + 3 B
//       per output: memory-bound
// Same  integers as the CPU's loops for up to 16 taps down: the guide is the same to the bit
// Twin  reference.py::pre; no allocation, no sync: safe under graph capture
#pragma once

#include "cuda_memory.cuh"

static constexpr int PRE_COLUMNS = 32, PRE_ROWS = 16, PRE_THREADS = 256;
static constexpr int EACH = PRE_COLUMNS * PRE_ROWS / PRE_THREADS, APART = PRE_ROWS / EACH;   // rows of a thread, and between them
static constexpr int CHUNK = 288;          // bytes of a luma band; as many again for chroma

// Bytes begin .. end - 1 of a row are what a tile's outputs read; up to `reach` there are taps, the last ones without weight.
struct Stretch {
    int begin, end, reach;
};

DEVICE Stretch stretch(const Resize& r, int first_output, int last_output, int row_bytes, int step) {
    const int begin = r.first_x[first_output] * step / 16 * 16, reach = (r.first_x[last_output] + r.taps_x) * step;
    return {begin, least(reach, row_bytes), reach};
}

// Byte columns out of four rows: word j holds byte j of rows a, b, c, d.
DEVICE void turned(unsigned a, unsigned b, unsigned c, unsigned d, unsigned* column) {
    const unsigned ab = __byte_perm(a, b, 0x5140), cd = __byte_perm(c, d, 0x5140);
    const unsigned ab_high = __byte_perm(a, b, 0x7362), cd_high = __byte_perm(c, d, 0x7362);
    column[0] = __byte_perm(ab, cd, 0x5410);
    column[1] = __byte_perm(ab, cd, 0x7632);
    column[2] = __byte_perm(ab_high, cd_high, 0x5410);
    column[3] = __byte_perm(ab_high, cd_high, 0x7632);
}

// 16 vertically filtered bytes of output row `row`, Q7. column: the first of them in the plane's first row.
template <bool FINE>
DEVICE void filter_down(const Resize& r, int row, const code_t* column, int pitch, unsigned short* band) {
    const unsigned* weight = r.weight_y + row * r.words_y * (FINE ? 2 : 1);
    const int first = r.first_y[row];
    unsigned low[16] = {}, high[16] = {};
    ROLLED for (int word = 0; word < r.words_y; word++) {
        Codes<16> line[4];
        for (int i = 0; i < 4; i++) {
            const int source = least(first + 4 * word + i, r.last_row);
            line[i] = load_codes<16>(column + row_bytes(source, pitch));
        }
        const unsigned taps = weight[word], taps_high = FINE ? weight[r.words_y + word] : 0;
        for (int i = 0; i < 4; i++) {
            unsigned column[4];
            turned(line[0].word[i], line[1].word[i], line[2].word[i], line[3].word[i], column);
            for (int j = 0; j < 4; j++) {
                low[4 * i + j] = __dp4a(column[j], taps, low[4 * i + j]);
                if (FINE) high[4 * i + j] = __dp4a(column[j], taps_high, high[4 * i + j]);
            }
        }
    }
    unsigned pair[8];
    for (int i = 0; i < 8; i++) {
        unsigned two[2];
        for (int j = 0; j < 2; j++) {
            const int k = 2 * i + j;
            two[j] = FINE ? ((high[k] << 8) + low[k] + 256) >> 9 : low[k];
        }
        pair[i] = two[0] | two[1] << 16;
    }
    ((uint4*)band)[0] = make_uint4(pair[0], pair[1], pair[2], pair[3]);
    ((uint4*)band)[1] = make_uint4(pair[4], pair[5], pair[6], pair[7]);
}

DEVICE void filter_down(const Resize& r, int row, const code_t* column, int pitch, unsigned short* band) {
    if (r.fine)
        filter_down<true>(r, row, column, pitch, band);
    else
        filter_down<false>(r, row, column, pitch, band);
}

// Filters a tile's bytes down: `groups` of 16 from byte `from` on of one plane or two alike, for each output row.
// first: the thread's first task. Luma and chroma are different code, so they begin at opposite ends of the block: a warp that had
// tasks of both would do one after the other.
struct Down {
    const code_t *plane, *second;          // second: null, or Cr
    int pitch, from, groups, first, place, apart;                     // where in the band, and second's place after the first's

    __device__ __forceinline__ void fill(const Resize& r, int top, int rows, unsigned short (*band)[2 * CHUNK]) const {
        const int all = second ? 2 * groups : groups;
        ROLLED for (int task = first; task < all * rows; task += PRE_THREADS) {
            const int row = task / all;
            int group = task - row * all, at = place;
            const bool other = second && group >= groups;
            if (other) group -= groups, at += apart;
            filter_down(r, top + row, (other ? second : plane) + from + 16 * group, pitch, band[row] + at + 16 * group);
        }
    }
};

// Taps of output x that lie in bytes from .. from + length - 1 of a band whose samples are 1 << shift bytes apart.
struct Taps {
    int begin, end;
    const unsigned short* at;              // of tap `begin`
    const short* weight;
};

DEVICE Taps taps_of(const Resize& r, int x, int outputs, const unsigned short* band, int from, int length, int shift, bool whole) {
    const int first = r.first_x[x];
    int begin = 0, end = r.taps_x;
    if (!whole) {
        begin = most((from >> shift) - first, 0);
        end = least(((from + length) >> shift) - first, end);
    }
    return {begin, end, band + (((first + begin) << shift) - from), r.weight_x + x + begin * outputs};
}

DEVICE float as_q8(int sum) { return (float)((sum + (1 << 12)) >> 13); }

template <class T>
DEVICE void store_three(const PreParams& p, int x, int y, T r, T g, T b) {
    T* tensor = (T*)p.tensor;
    const int plane = p.width * p.height, pixel = y * p.width + x;
    const int step = p.channels_first ? plane : 1;
    if (!p.channels_first) tensor += 3 * pixel;
    else tensor += pixel;
    tensor[0] = p.reversed ? b : r;
    tensor[step] = g;
    tensor[2 * step] = p.reversed ? r : b;
}

DEVICE void store_tensor(const PreParams& p, int x, int y, Rgb c) {
    const float r = c.r * p.gain[0] + p.offset[0], g = c.g * p.gain[1] + p.offset[1], b = c.b * p.gain[2] + p.offset[2];
    switch (p.number) {
        case FLOAT32: return store_three<float>(p, x, y, r, g, b);
        case FLOAT16: return store_three<unsigned short>(p, x, y, to_half(r), to_half(g), to_half(b));
        case BFLOAT16: return store_three<unsigned short>(p, x, y, to_bfloat16(r), to_bfloat16(g), to_bfloat16(b));
        case INT8:
            return store_three<signed char>(p, x, y, (signed char)to_integer(r, -128.0f, 127.0f),
                                            (signed char)to_integer(g, -128.0f, 127.0f),
                                            (signed char)to_integer(b, -128.0f, 127.0f));
        default:
            return store_three<code_t>(p, x, y, (code_t)to_integer(r, 0.0f, 255.0f), (code_t)to_integer(g, 0.0f, 255.0f),
                                       (code_t)to_integer(b, 0.0f, 255.0f));
    }
}

DEVICE void store_output(const PreParams& p, int x, int y, const int* sum) {
    const float q8[3] = {as_q8(sum[0]), as_q8(sum[1]), as_q8(sum[2])};
    const int plane = p.width * p.height, pixel = y * p.width + x;
    const float unit = 1.0f / 256.0f;
    if (p.guide)
        for (int c = 0; c < 3; c++) p.guide[c * plane + pixel] = (code_t)(((int)q8[c] + 128) >> 8);
    if (p.tensor) store_tensor(p, x, y, to_rgb(p.matrix, {q8[0] * unit, q8[1] * unit, q8[2] * unit}));
}

KERNEL((PRE_THREADS, 3), cutline_pre, PreParams) {
    __shared__ __align__(16) unsigned short band[PRE_ROWS][2 * CHUNK];
    constexpr int BELOW = APART * 2 * CHUNK;                          // from a thread's output to its next in the band
    const int left = (int)blockIdx.x * PRE_COLUMNS, top = (int)blockIdx.y * PRE_ROWS;
    const int x = left + (int)threadIdx.x, y = top + (int)threadIdx.y, shift = p.frame.interleaved ? 1 : 0, step = 1 << shift;
    const int right = least(left + PRE_COLUMNS, p.width) - 1, rows = least(PRE_ROWS, p.height - top);
    const int chroma_chunk = shift ? CHUNK : CHUNK / 2;               // of pairs, or of each plane
    const Stretch luma = stretch(p.luma, left, right, p.frame_width, 1);
    const Stretch chroma = stretch(p.chroma, left, right, (p.frame_width + 1) / 2 * step, step);
    const bool whole = luma.reach - luma.begin <= CHUNK && chroma.reach - chroma.begin <= chroma_chunk;
    const int thread = thread_of_block(), last = PRE_THREADS - 1;
    int sum[EACH][3] = {};
    int luma_from = luma.begin, chroma_from = chroma.begin;
    while (luma_from < luma.end || chroma_from < chroma.end) {
        const int luma_groups = most(least(luma.end - luma_from, CHUNK) + 15, 0) / 16;
        const int chroma_groups = most(least(chroma.end - chroma_from, chroma_chunk) + 15, 0) / 16;
        const Down y_down = {p.frame.y, nullptr, p.frame.luma_pitch, luma_from, luma_groups, thread, 0, 0};
        y_down.fill(p.luma, top, rows, band);
        const Down uv_down = {p.frame.u, shift ? nullptr : p.frame.v, p.frame.chroma_pitch, chroma_from, chroma_groups, last - thread,
                              CHUNK, chroma_chunk};
        uv_down.fill(p.chroma, top, rows, band);
        __syncthreads();
        if (x < p.width && y < p.height) {
            const Taps across = taps_of(p.luma, x, p.width, band[threadIdx.y], luma_from, 16 * luma_groups, 0, whole);
            BY_FOUR for (int k = 0; k < across.end - across.begin; k++) {
                const int weight = across.weight[k * p.width];
                for (int i = 0; i < EACH; i++) sum[i][0] += across.at[i * BELOW + k] * weight;
            }
            const Taps both = taps_of(p.chroma, x, p.width, band[threadIdx.y] + CHUNK, chroma_from, 16 * chroma_groups, shift, whole);
            BY_FOUR for (int k = 0; k < both.end - both.begin; k++) {
                const int weight = both.weight[k * p.width];
                for (int i = 0; i < EACH; i++) {
                    sum[i][1] += both.at[i * BELOW + (k << shift)] * weight;
                    sum[i][2] += both.at[i * BELOW + (k << shift) + (shift ? 1 : chroma_chunk)] * weight;
                }
            }
        }
        __syncthreads();
        luma_from += CHUNK;
        chroma_from += chroma_chunk;
    }
    for (int i = 0; i < EACH; i++)
        if (x < p.width && y + i * APART < p.height) store_output(p, x, y + i * APART, sum[i]);
}
