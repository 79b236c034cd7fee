// Plain data that the loops read: tables and scratch, laid out once per stream by plans.cpp.
//
// Nothing here has a constructor or a method, so that the files compiled per instruction set share no inline code with
// the rest of the module (see pixel.h).
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "pixel.h"

enum class Number : int { FLOAT32, FLOAT16, BFLOAT16, INT8, UINT8 };
enum class Reading : int { ALPHA, LOGITS, CLASSES, SOFTMAX };
enum class Behind : int { COLOUR, PICTURE, BLUR, ORIGINAL, TRANSPARENT };
enum class StyleOn : int { PRODUCT, BACKGROUND, ALL };

static constexpr int MAX_PAIRS = 8;         // of rows that 8-bit weights filter
static constexpr int MAX_AHEAD = 8;         // rows fetched ahead of one output row
static constexpr int MAX_RADIUS = 5;       // network pixels: keeps the integer box sums of the guided filter in 31 bits
static constexpr int RING = 2 * MAX_RADIUS + 2;
static constexpr int MAX_LEVELS = 14;      // of the colour pyramid
static constexpr int MAX_BLUR_TAPS = 32;   // half a Gaussian
static constexpr int BLOCK = 32;           // luma pixels that the full-size pass classifies and blends together
static constexpr int GROUP = 8;             // outputs that the horizontal filter computes together
static constexpr int FIELD_ROWS = 8;       // a row pair reads at most 6
static constexpr int PAD = 64;             // readable elements past the end of every scratch row

struct View {
    uint8_t* data;
    ptrdiff_t stride;                      // bytes from row to row
    ptrdiff_t step;                        // bytes from sample to sample, 1 or 2
};
struct Picture {
    View plane[3];                         // y, u, v
};

// One axis of an antialiased resize: output i = sum of weight[i][k] * source[first[i] + k].
// Down, up to 2 * MAX_PAIRS taps: weights in 128ths, which is what 8-bit multiplication takes; they are part of the
// filter's definition, and so of the twin. With more taps that would be too coarse, and weights are Q16.
struct Filter {
    int count, taps;
    int low, span;                         // the source samples that are read: low .. low + span - 1
    const int32_t* first;                  // across: columns counted from `low`; down: rows, [count][2 * pairs] or [count]
    const int32_t* last;                   // down, pairs > 0: the last row of each output
    const uint8_t* weight7;                // down: [count][2 * pairs], each 0..127, sums to 128
    const uint16_t* weight16;              // down, pairs 0: [count][taps], sums to 65536 (one lone tap: 65535)
    const int16_t* weight14;               // across: in groups as simd.h says, sums to 16384
    int pairs;                             // down: of taps; 0: too many taps
    int chunks;                            // across: of 8 taps; 0: at most 4 taps
};

struct PrePlan {
    int width, height;                     // of the network input
    int frame_width, frame_height;
    Filter across[2], down[2];             // luma, chroma
    ColourMatrix matrix;
    float gain[3], offset[3];              // tensor = clamp01(c) * gain + offset, per R, G, B
    Number number;
    bool channels_first, reversed;
    int16_t *band, *single;                // one vertically filtered source row, Q7; one channel of an interleaved one
    uint16_t* row[3];                      // one output row of Y, Cb, Cr, Q8
    float* tone[3];                        // one output row of R, G, B after normalisation
};

// Bilinear position of every output sample in a low-resolution row: index[i] and the one after, frac[i] in 0..1.
struct Axis {
    int count;
    const int32_t* index;
    const float* frac;
    int last;                              // the last sample of the source row
    bool enlarging;                        // steps of at most one source sample
};

// Low-resolution planes on one grid, as the full-size pass reads them: enlarged across by blocks, and kept in a few rows.
// A kept row holds, block after block, each plane's samples side by side: 32 of a luma plane, 16 of a chroma plane.
struct Field {
    int planes, stride;                    // stride of data, floats
    const float* data[6];
    bool chroma[6];
    int offset[6], block;                  // floats from a block's start to a plane's samples; floats per block
    const Axis *luma_x, *luma_y, *chroma_x, *chroma_y;
    float* row[FIELD_ROWS];
    uint8_t* done[FIELD_ROWS];             // which blocks of row[] hold data
    int held[FIELD_ROWS];                  // which source row, -1: none
    // for the row pair at hand: luma row 0, luma row 1, chroma row
    int upper[3], lower[3];                // index into row[]
    float frac[3];
    int needed[6], needed_count;           // the different ones among upper and lower
};

// Colours of product and scene, each filled in where it is hidden, at half the network's size; level 0 is the finest.
struct ColourGrid {
    int base_width, base_height;           // of the guide that it is computed from
    int levels;
    int width[MAX_LEVELS], height[MAX_LEVELS], stride[MAX_LEVELS];
    float* plane[MAX_LEVELS][8];           // trust, Y, U, V of the product; trust, Y, U, V of the scene
    float* blurred[MAX_LEVELS][3];
    float* spare;                          // as large as one plane of level 0
    float* line[3];                        // base_width
};

struct PostPlan {
    int width, height;                     // frame
    int net_width, net_height, stride;     // network grid, floats per padded row
    // decode
    int raw_width, raw_height, channels, chosen_count;
    const int32_t* chosen;
    bool channels_first;
    Reading reading;
    Axis raw_across, raw_down;             // raw to network grid, when they differ
    bool raw_resized;
    float *decoded, *fresh;                // raw size; one row of the network's
    // temporal state
    float temporal, level_gain, level_offset;
    float *past_alpha, *past_luma;
    bool primed;
    int64_t nans;
    // guided filter
    bool refine;
    int radius;
    float epsilon;                         // luma in 0..1, squared
    uint16_t* matte12;                     // Q12
    uint16_t* anywhere;                    // per column, the bits of all of them
    int first_row, last_row, first_column, last_column;   // where the matte is above 0; last < first: nowhere
    int32_t *slope, *base, *fit;           // Q14, the last RING rows
    int32_t *moments[5], *sums[3];         // per column, over a window's rows
    const float* inverse;                  // 1 / window width per column
    float *a, *b;
    uint8_t* verdict;                      // bit 0: may be above 0, bit 1: may be below 1
    // colours
    bool decontaminate;
    bool wide_blur;                        // the window leaves parts of the frame out: the blur needs its own small frame
    ColourGrid near, wide;
    const PrePlan* wide_pre;
    uint8_t* wide_guide;
    float* wide_matte;
    Axis wide_across, wide_down;           // wide grid to network grid
    int wide_left, wide_right, wide_top, wide_bottom;
    // style
    int style_width, style_height;
    bool style_channels_first, style_reversed;
    float style_gain[3], style_offset[3];
    ColourMatrix matrix;
    Axis style_across, style_down;
    float* delta[3];
    // full-size pass
    int left, right, top, bottom;          // frame pixels that lie inside the window
    Axis net_x, net_y, net_cx, net_cy, tone_x, tone_y, tone_cx, tone_cy, wide_x, wide_y, wide_cx, wide_cy;
    const int32_t *block_first, *block_last;  // network columns that a block of luma pixels reads
    int blocks, block_stride;              // block_stride: rounded up to whole vectors
    const uint8_t *block_mask, *block_extra;  // mask 0: outside the window; extra 2: partly outside
    uint8_t *row_verdict, *block_verdict;  // [net_height][block_stride]; of the row pair at hand
    int judged_first, judged_last;         // the network rows that block_verdict stands for, -1: none
    Field line, tone, blur, style;         // a, b; product's and scene's Y, U, V; scene's Y, U, V; difference's Y, U, V
};

struct PostJob {
    Picture frame, out, background;
    Behind kind;
    uint8_t colour[3];
    const float* raw;
    const uint8_t* guide;
    float* matte;
    View alpha;                            // data null: not wanted
    const float* style;
    float style_strength;
    StyleOn style_on;
    int blur_level, blur_taps;             // taps: weights from the centre outwards
    float blur_weight[MAX_BLUR_TAPS];
};

struct Kernels {
    const char* name;
    void (*pre)(const PrePlan&, const Picture& frame, void* tensor, uint8_t* guide);
    void (*post)(PostPlan&, const PostJob&);
};
