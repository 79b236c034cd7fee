// Raw network output -> temporally steady matte and the guided filter's lines, at the network's size.
// In    raw float32 (1 x C x h x w or 1 x h x w x C), guide uint8[3][h][w]
// Out   matte float32[h][w]; line float2[h][w], alpha = x * luma + y; verdict uint8[h][w]
// Map   one thread is one network pixel. cutline_decode where the answer has another size than the network's input;
//       cutline_steady: temporal filter and levels; cutline_fit and cutline_average: the two box filters of the guided
//       filter, a tile of 32 x 16 and its rim in shared memory. Down: a thread slides its window over four rows of a column.
//       Across: it takes two neighbours, whose windows differ at their ends alone. The sums are integers, as on the CPU, so
//       the order in which they are taken changes nothing.
// Cost  60 B per network pixel, all of it in L2: 512x288 is 9 MB, and the launches cost more than the bytes
// Twin  reference.py::decode, steady, lines; no allocation, no sync: safe under graph capture
#pragma once

#include "cuda_memory.cuh"

static constexpr float ONE12 = 4096.0f, ONE14 = 16384.0f;
static constexpr int BOX_COLUMNS = 32, BOX_ROWS = 16, BOX_THREADS = 256;
static constexpr int SLIDE = 4;            // rows over which a thread slides its window
static constexpr int RIM_COLUMNS = BOX_COLUMNS + 2 * MAX_RADIUS, RIM_ROWS = BOX_ROWS + 2 * MAX_RADIUS;

// Opacity of one pixel of the network's output. A NaN says nothing about its pixel: it becomes 0 and is counted.
DEVICE float opacity_of(const MatteParams& p, int pixel) {
    const ptrdiff_t pixels = (ptrdiff_t)p.raw_width * p.raw_height;
    const ptrdiff_t channel = p.channels_first ? pixels : 1;
    const float* at = p.raw + (ptrdiff_t)pixel * (p.channels_first ? 1 : p.channels);
    float opacity, sum = 0.0f;
    if (p.reading == CLASSES || p.reading == SOFTMAX) {
        const bool softmax = p.reading == SOFTMAX;
        float peak = at[0], all = 0.0f;
        opacity = 0.0f;
        ROLLED for (int c = 1; c < p.channels; c++) peak = greater(peak, at[c * channel]);
        ROLLED for (int c = 0; c < p.channels; c++) {
            sum += at[c * channel];
            if (softmax) all += exponential(at[c * channel] - peak);
        }
        ROLLED for (int k = 0; k < p.chosen_count; k++) {
            const float value = at[p.chosen[k] * channel];
            opacity += softmax ? exponential(value - peak) : value;
        }
        if (softmax) opacity = opacity / all;
        opacity = clamp01(opacity);
    } else {
        sum = at[p.chosen[0] * channel];
        opacity = p.reading == LOGITS ? sigmoid(sum) : clamp01(sum);
    }
    if (!is_nan(sum)) return opacity;
    atomicAdd(p.nans, 1ull);
    return 0.0f;
}

KERNEL((256), cutline_decode, MatteParams) {
    const int pixel = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (pixel < p.raw_width * p.raw_height) p.decoded[pixel] = opacity_of(p, pixel);
}

// Bilinear, edge repeated.
DEVICE float sampled(const float* plane, int width, int height, const Axis& across, const Axis& down, int x, int y) {
    const int left = across.index[x], right = least(left + 1, width - 1);
    const int row = down.index[y], next = least(row + 1, height - 1);
    const float *upper = plane + (ptrdiff_t)row * width, *lower = plane + (ptrdiff_t)next * width;
    const float f = down.frac[y];
    return mix(mix(upper[left], lower[left], f), mix(upper[right], lower[right], f), across.frac[x]);
}

// alpha is linear in luma, so its extremes over all lumas are at codes 0 and 255.
DEVICE code_t judge(float a, float b) {
    const float other = b + a * 255.0f;
    return (code_t)((greater(b, other) > 0.0f ? 1 : 0) | (lesser(b, other) < 1.0f ? 2 : 0));
}

DEVICE void store_line(const MatteParams& p, int pixel, float a, float b) {
    p.line[pixel] = make_float2(a, b);
    p.verdict[pixel] = judge(a, b);
}

KERNEL((256), cutline_steady, MatteParams) {
    const int x = (int)(blockIdx.x * blockDim.x + threadIdx.x), y = (int)(blockIdx.y * blockDim.y + threadIdx.y);
    if (x >= p.width || y >= p.height) return;
    const int pixel = y * p.width + x;
    const float fresh = p.raw_resized ? sampled(p.decoded, p.raw_width, p.raw_height, p.raw_across, p.raw_down, x, y)
                                      : opacity_of(p, pixel);
    const float now = (float)p.guide[pixel], past = p.past_alpha[pixel], past_luma = p.past_luma[pixel];
    const float keep = memory(p.temporal, now - past_luma, fresh - past);   // nothing of a past that was reset
    const float alpha = mix(fresh, past, keep), level = clamp01(alpha * p.level_gain + p.level_offset);
    p.past_alpha[pixel] = alpha;
    p.past_luma[pixel] = mix(now, past_luma, keep);
    p.matte[pixel] = level;
    p.matte12[pixel] = (unsigned short)(int)(level * ONE12 + 0.5f);
    if (!p.refine) store_line(p, pixel, 0.0f, level);
}

// ---- guided filter -------------------------------------------------------------------------------------------------

// A block's place, that of its thread's first pixel, and how many columns tile and rim have.
struct Box {
    int left, top, column, row, radius, columns;
};

DEVICE Box box_of(const MatteParams& p) {
    const int pairs = BOX_COLUMNS / 2, thread = thread_of_block();
    return {(int)blockIdx.x * BOX_COLUMNS, (int)blockIdx.y * BOX_ROWS, 2 * (thread % pairs), thread / pairs, p.radius,
            BOX_COLUMNS + 2 * p.radius};
}

// 1 / how many pixels of a row, or of a column, lie in the window around one.
DEVICE float inverse_count(int at, int radius, int limit) {
    return 1.0f / (float)(least(at + radius, limit - 1) - most(at - radius, 0) + 1);
}

// Sums across the windows of a thread's two pixels. Both together may pass 2^31; each of them does not.
DEVICE void sum_across(const Box& box, const int (*sums)[RIM_COLUMNS], float* pair) {
    const uint2* at = (const uint2*)(sums[box.row] + box.column);
    const unsigned first = at[0].x;
    unsigned all = 0, last = 0;
    for (int k = 0; k <= box.radius; k++) {
        const uint2 two = at[k];
        all += two.x + two.y, last = two.y;
    }
    pair[0] = (float)(int)(all - last), pair[1] = (float)(int)(all - first);
}

DEVICE int nearest(float v) { return (int)(v + (v < 0.0f ? -0.5f : 0.5f)); }

// Of luma i and matte m: what a window's line is made of.
struct Moments {
    int i, m, im, ii, mm;

    __device__ __forceinline__ void take(int luma, int matte, int sign) {
        i += sign * luma, m += sign * matte, im += sign * luma * matte, ii += sign * luma * luma, mm += sign * matte * matte;
    }
};

// The line alpha = slope * luma + base of each window, luma in 0..1, and how much of the alpha it explains, all Q14.
KERNEL((BOX_THREADS), cutline_fit, MatteParams) {
    __shared__ code_t luma[RIM_ROWS][RIM_COLUMNS];
    __shared__ unsigned short matte[RIM_ROWS][RIM_COLUMNS];
    __shared__ __align__(8) int sums[5][BOX_ROWS][RIM_COLUMNS];
    const Box box = box_of(p);
    ROLLED for (int task = thread_of_block(); task < (BOX_ROWS + 2 * box.radius) * box.columns; task += BOX_THREADS) {
        const int row = task / box.columns, column = task - row * box.columns;
        const int x = box.left - box.radius + column, y = box.top - box.radius + row;
        const bool inside = x >= 0 && x < p.width && y >= 0 && y < p.height;
        luma[row][column] = inside ? p.guide[y * p.width + x] : (code_t)0;
        matte[row][column] = inside ? p.matte12[y * p.width + x] : (unsigned short)0;
    }
    __syncthreads();
    ROLLED for (int task = thread_of_block(); task < BOX_ROWS / SLIDE * box.columns; task += BOX_THREADS) {
        const int part = task / box.columns, column = task - part * box.columns, top = part * SLIDE, below = 2 * box.radius;
        Moments sum = {};
        for (int k = -below; k < SLIDE; k++) {     // the window's row of the tile is top + k
            sum.take(luma[top + k + below][column], matte[top + k + below][column], 1);
            if (k < 0) continue;
            sums[0][top + k][column] = sum.i, sums[1][top + k][column] = sum.m, sums[2][top + k][column] = sum.im;
            sums[3][top + k][column] = sum.ii, sums[4][top + k][column] = sum.mm;
            sum.take(luma[top + k][column], matte[top + k][column], -1);
        }
    }
    __syncthreads();
    float total[5][2];
    for (int k = 0; k < 5; k++) sum_across(box, sums[k], total[k]);
    const float unit_i = 1.0f / 255.0f, unit_p = 1.0f / ONE12, inverse_rows = inverse_count(box.top + box.row, box.radius, p.height);
    for (int i = 0; i < 2; i++) {
        const int x = box.left + box.column + i, y = box.top + box.row, pixel = y * p.width + x;
        if (x >= p.width || y >= p.height) return;
        const float n = inverse_count(x, box.radius, p.width) * inverse_rows, n_i = n * unit_i, n_p = n * unit_p;
        const float mean = total[0][i] * n_i, alpha = total[1][i] * n_p, joint = total[2][i] * (n_i * unit_p) - mean * alpha;
        const float spread = total[3][i] * (n_i * unit_i) - mean * mean + p.epsilon;
        const float edge = total[4][i] * (n_p * unit_p) - alpha * alpha + EDGE_FLOOR;
        const float line = joint / spread;
        p.slope[pixel] = nearest(line * ONE14);
        p.base[pixel] = nearest((alpha - line * mean) * ONE14);
        p.fit[pixel] = nearest(clamp01(line * joint / edge) * ONE14);
    }
}

KERNEL((BOX_THREADS), cutline_average, MatteParams) {
    __shared__ int plane[3][RIM_ROWS][RIM_COLUMNS];
    __shared__ __align__(8) int sums[3][BOX_ROWS][RIM_COLUMNS];
    const Box box = box_of(p);
    ROLLED for (int task = thread_of_block(); task < (BOX_ROWS + 2 * box.radius) * box.columns; task += BOX_THREADS) {
        const int row = task / box.columns, column = task - row * box.columns;
        const int x = box.left - box.radius + column, y = box.top - box.radius + row, pixel = y * p.width + x;
        const bool inside = x >= 0 && x < p.width && y >= 0 && y < p.height;
        plane[0][row][column] = inside ? p.slope[pixel] : 0;
        plane[1][row][column] = inside ? p.base[pixel] : 0;
        plane[2][row][column] = inside ? p.fit[pixel] : 0;
    }
    __syncthreads();
    ROLLED for (int task = thread_of_block(); task < BOX_ROWS / SLIDE * box.columns; task += BOX_THREADS) {
        const int part = task / box.columns, column = task - part * box.columns, top = part * SLIDE, below = 2 * box.radius;
        int sum[3] = {};
        for (int k = -below; k < SLIDE; k++) {     // the window's row of the tile is top + k
            for (int c = 0; c < 3; c++) sum[c] += plane[c][top + k + below][column];
            if (k < 0) continue;
            for (int c = 0; c < 3; c++) {
                sums[c][top + k][column] = sum[c];
                sum[c] -= plane[c][top + k][column];
            }
        }
    }
    __syncthreads();
    float total[3][2];
    for (int k = 0; k < 3; k++) sum_across(box, sums[k], total[k]);
    const float inverse_rows = inverse_count(box.top + box.row, box.radius, p.height) / ONE14;
    for (int i = 0; i < 2; i++) {
        const int x = box.left + box.column + i, y = box.top + box.row, pixel = y * p.width + x;
        if (x >= p.width || y >= p.height) return;
        const float n = inverse_count(x, box.radius, p.width) * inverse_rows, luma = (float)p.guide[pixel];
        const float line = total[0][i] * n * (1.0f / 255.0f);
        const float level = refined(p.matte[pixel], line * luma + total[1][i] * n, total[2][i] * n);
        store_line(p, pixel, line * p.level_gain, (level - line * luma) * p.level_gain + p.level_offset);
    }
}
