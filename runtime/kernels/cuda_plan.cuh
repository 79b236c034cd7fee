// What each CUDA kernel is told: one structure, passed by value. runtime/cuda/params.py writes the same bytes.
#pragma once

#include "pixel.h"

enum : int { FLOAT32, FLOAT16, BFLOAT16, INT8, UINT8 };                     // Number of plan.h
enum : int { ALPHA, LOGITS, CLASSES, SOFTMAX };                             // Reading
enum : int { COLOUR, PICTURE, BLUR, ORIGINAL, TRANSPARENT };                // Behind

static constexpr int MAX_RADIUS = 5;       // network pixels, as in plan.h
static constexpr int MAX_LEVELS = 14;      // of the colour pyramid
static constexpr int BLUR_TAPS = 13;       // half a Gaussian of at most 4 cells
static constexpr int SPLIT = 4;            // pyramid levels that a block reduces by itself

// Addresses and pitches are multiples of 16, and rows are pitch bytes long, the last one too: they are read and written
// 16 bytes at a time, padding included. NV12 (`interleaved`): v is u + 1.
struct Picture {
    code_t *y, *u, *v;
    int luma_pitch, chroma_pitch;          // bytes
    int interleaved;
};

// Bilinear position of every output sample: index[i] and the one after, frac[i] in 0..1. Padded to a multiple of 32.
struct Axis {
    const int* index;
    const float* frac;
};
struct Grid {
    Axis luma_x, luma_y, chroma_x, chroma_y;
    int width, height;
};

// Both axes of an antialiased resize. Across: int16 Q14, [taps_x][outputs]. Down: bytes, four taps to a word, Q7,
// [outputs][words_y]; `fine`: Q16, [outputs][2][words_y], low bytes and then high bytes.
struct Resize {
    const int* first_x;
    const short* weight_x;
    const int* first_y;
    const unsigned* weight_y;
    int taps_x, words_y, fine;
    int last_row;                          // the last row that may be read
};

struct PreParams {
    Picture frame;
    Resize luma, chroma;
    void* tensor;                          // null: only the guide is wanted
    code_t* guide;                         // null: only the tensor
    ColourMatrix matrix;
    float gain[3], offset[3];              // tensor = clamp01(c) * gain + offset, per R, G, B
    int frame_width, width, height;
    int number, channels_first, reversed;
};

struct MatteParams {
    const float* raw;
    float* decoded;                        // raw size, when that is not the network's
    const code_t* guide;
    float *matte, *past_alpha, *past_luma;
    unsigned short* matte12;               // Q12
    int *slope, *base, *fit;               // Q14
    float2* line;                          // alpha = x * luma + y
    code_t* verdict;                       // bit 0: may be above 0, bit 1: may be below 1
    const int* chosen;
    unsigned long long* nans;
    Axis raw_across, raw_down;
    int raw_width, raw_height, raw_resized, channels, channels_first, reading, chosen_count;
    int width, height, refine, radius;
    float temporal, level_gain, level_offset, epsilon;
};

// Colours of product and scene on half the guide's grid and coarser. front, behind: (trust, Y, U, V) per cell: sums, and
// from level `split` on, after cutline_top, colours. The finest level's colours go to tone_luma and tone_chroma, and the
// scene's at scene_level, for the blur, to `scene`.
struct ColourParams {
    const code_t* guide;
    const float* matte;
    float2* tone_luma;                     // product, scene
    float4* tone_chroma;                   // product's U, V, scene's U, V
    float4* scene;                         // null: not wanted, or scene_level >= split
    float4 *front[MAX_LEVELS], *behind[MAX_LEVELS];
    int width[MAX_LEVELS], height[MAX_LEVELS];
    int base_width, base_height, levels, split, scene_level;
};

struct BlurParams {
    const float4* scene;                   // at `level`
    float4* blurred;                       // at `level`
    float* luma;                           // at level 0
    float2* chroma;
    int width[MAX_LEVELS], height[MAX_LEVELS];
    int level, taps;
    float weight[BLUR_TAPS];               // from the centre outwards
};

struct SpreadParams {
    const float* matte;
    float* wide;
    Axis across, down;
    int net_width, net_height, width, height, left, right, top, bottom;
};

struct StyleParams {
    const float* style;
    const code_t* guide;
    float* luma;
    float2* chroma;
    Axis across, down;
    ColourMatrix matrix;
    float gain[3], offset[3];              // c = value * gain + offset, per R, G, B
    int width, height, style_width, style_height, channels_first, reversed;
};

struct ComposeParams {
    Picture frame, out, background;
    code_t* alpha;                         // null: not wanted
    const float2* line;
    const code_t* verdict;
    const float2* tone_luma;
    const float4* tone_chroma;
    const float* blur_luma;
    const float2* blur_chroma;
    const float* style_luma;
    const float2* style_chroma;
    const float* strengths;                // of the style: on the product, on the scene
    Grid net, tone, blur;
    int width, height;
    int left, right, top, bottom;          // frame pixels inside the window
    int alpha_pitch;
    int kind, clean, styled;
    code_t colour[4];
};
