// Raw network output -> temporally steady matte and the guided filter's lines, at the network's size.
// In    raw float32 (1 x C x h x w or 1 x h x w x C), guide uint8[3][h][w]
// Out   matte float32[h][w]; line float2[h][w], alpha = x * luma + y; verdict uint8[h][w]
// Map   one thread is one network pixel. cutline_decode where the answer has another size than the network's input;
//       cutline_steady: temporal filter and levels; cutline_fit and cutline_average: the two box filters of the guided
//       filter, a tile of 32 x 8 and its rim in shared memory, down and then across. The sums are integers, as on the
//       CPU, so the order in which they are taken changes nothing.
// Cost  60 B per network pixel, all of it in L2: 512x288 is 9 MB, and the launches cost more than the bytes
// Twin  reference.py::decode, steady, lines; no allocation, no sync: safe under graph capture
#pragma once

#include "cuda_memory.cuh"

static constexpr float ONE12 = 4096.0f, ONE14 = 16384.0f;
static constexpr int BOX_COLUMNS = 32, BOX_ROWS = 8;
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

// A block's place, and how many pixels of the picture lie in the window around its thread's pixel.
struct Box {
    int left, top, x, y, radius, columns;  // columns: of tile and rim
    float inverse_columns, inverse_rows;
};

DEVICE float inverse_count(int at, int radius, int limit) {
    return 1.0f / (float)(least(at + radius, limit - 1) - most(at - radius, 0) + 1);
}

DEVICE Box box_of(const MatteParams& p) {
    const int left = (int)blockIdx.x * BOX_COLUMNS, top = (int)blockIdx.y * BOX_ROWS, radius = p.radius;
    const int x = left + (int)threadIdx.x, y = top + (int)threadIdx.y;
    return {left, top, x, y, radius, BOX_COLUMNS + 2 * radius, inverse_count(x, radius, p.width),
            inverse_count(y, radius, p.height)};
}

// Column sums over 2 radius + 1 rows, for every column of tile and rim.
DEVICE void sum_down(const Box& box, const int (*plane)[RIM_COLUMNS], int (*sums)[RIM_COLUMNS]) {
    ROLLED for (int task = thread_of_block(); task < BOX_ROWS * box.columns; task += BOX_COLUMNS * BOX_ROWS) {
        const int row = task / box.columns, column = task - row * box.columns;
        int sum = 0;
        for (int k = 0; k <= 2 * box.radius; k++) sum += plane[row + k][column];
        sums[row][column] = sum;
    }
}

DEVICE float sum_across(const Box& box, const int (*sums)[RIM_COLUMNS]) {
    int sum = 0;
    for (int k = 0; k <= 2 * box.radius; k++) sum += sums[threadIdx.y][threadIdx.x + k];
    return (float)sum;
}

DEVICE int nearest(float v) { return (int)(v + (v < 0.0f ? -0.5f : 0.5f)); }

// The line alpha = slope * luma + base of each window, luma in 0..1, and how much of the alpha it explains, all Q14.
KERNEL((BOX_COLUMNS * BOX_ROWS), cutline_fit, MatteParams) {
    __shared__ code_t luma[RIM_ROWS][RIM_COLUMNS];
    __shared__ unsigned short matte[RIM_ROWS][RIM_COLUMNS];
    __shared__ int sums[5][BOX_ROWS][RIM_COLUMNS];
    const Box box = box_of(p);
    ROLLED for (int task = thread_of_block(); task < (BOX_ROWS + 2 * box.radius) * box.columns; task += BOX_COLUMNS * BOX_ROWS) {
        const int row = task / box.columns, column = task - row * box.columns;
        const int x = box.left - box.radius + column, y = box.top - box.radius + row;
        const bool inside = x >= 0 && x < p.width && y >= 0 && y < p.height;
        luma[row][column] = inside ? p.guide[y * p.width + x] : (code_t)0;
        matte[row][column] = inside ? p.matte12[y * p.width + x] : (unsigned short)0;
    }
    __syncthreads();
    ROLLED for (int task = thread_of_block(); task < BOX_ROWS * box.columns; task += BOX_COLUMNS * BOX_ROWS) {
        const int row = task / box.columns, column = task - row * box.columns;
        int si = 0, sp = 0, sip = 0, sii = 0, spp = 0;
        for (int k = 0; k <= 2 * box.radius; k++) {
            const int i = luma[row + k][column], m = matte[row + k][column];
            si += i, sp += m, sip += i * m, sii += i * i, spp += m * m;
        }
        sums[0][row][column] = si, sums[1][row][column] = sp, sums[2][row][column] = sip;
        sums[3][row][column] = sii, sums[4][row][column] = spp;
    }
    __syncthreads();
    if (box.x >= p.width || box.y >= p.height) return;
    const float unit_i = 1.0f / 255.0f, unit_p = 1.0f / ONE12;
    const float n = box.inverse_columns * box.inverse_rows, n_i = n * unit_i, n_p = n * unit_p;
    const float mean = sum_across(box, sums[0]) * n_i, alpha = sum_across(box, sums[1]) * n_p;
    const float joint = sum_across(box, sums[2]) * (n_i * unit_p) - mean * alpha;
    const float spread = sum_across(box, sums[3]) * (n_i * unit_i) - mean * mean + p.epsilon;
    const float edge = sum_across(box, sums[4]) * (n_p * unit_p) - alpha * alpha + EDGE_FLOOR;
    const float line = joint / spread;
    const int pixel = box.y * p.width + box.x;
    p.slope[pixel] = nearest(line * ONE14);
    p.base[pixel] = nearest((alpha - line * mean) * ONE14);
    p.fit[pixel] = nearest(clamp01(line * joint / edge) * ONE14);
}

KERNEL((BOX_COLUMNS * BOX_ROWS), cutline_average, MatteParams) {
    __shared__ int plane[3][RIM_ROWS][RIM_COLUMNS];
    __shared__ int sums[3][BOX_ROWS][RIM_COLUMNS];
    const Box box = box_of(p);
    ROLLED for (int task = thread_of_block(); task < (BOX_ROWS + 2 * box.radius) * box.columns; task += BOX_COLUMNS * BOX_ROWS) {
        const int row = task / box.columns, column = task - row * box.columns;
        const int x = box.left - box.radius + column, y = box.top - box.radius + row, pixel = y * p.width + x;
        const bool inside = x >= 0 && x < p.width && y >= 0 && y < p.height;
        plane[0][row][column] = inside ? p.slope[pixel] : 0;
        plane[1][row][column] = inside ? p.base[pixel] : 0;
        plane[2][row][column] = inside ? p.fit[pixel] : 0;
    }
    __syncthreads();
    for (int c = 0; c < 3; c++) sum_down(box, plane[c], sums[c]);
    __syncthreads();
    if (box.x >= p.width || box.y >= p.height) return;
    const int pixel = box.y * p.width + box.x;
    const float n = box.inverse_columns * (box.inverse_rows / ONE14), luma = (float)p.guide[pixel];
    const float line = sum_across(box, sums[0]) * n * (1.0f / 255.0f);
    const float level = refined(p.matte[pixel], line * luma + sum_across(box, sums[1]) * n, sum_across(box, sums[2]) * n);
    store_line(p, pixel, line * p.level_gain, (level - line * luma) * p.level_gain + p.level_offset);
}
