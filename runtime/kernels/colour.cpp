// colour: low-resolution colours of product and scene, each extended under the other; blurred scene; style difference.
// In    guide uint8[3][h][w], matte float32[h][w]
// Out   ColourGrid level 0, half the guide's size: Y, U, V of product and of scene, smooth and defined everywhere
// Map   push: trust-weighted sums, halved until two cells are left; pull: where trust is low, the coarser level's colour.
//       Blur: a Gaussian on the coarsest level that still resolves it, brought back by bilinear doubling.
// Cost  7 B read per guide pixel, 32 B written per cell of a quarter as many cells: cached, bound by arithmetic
// Source   Forte: Approximate Fast Foreground Colour Estimation, ICIP 2021 (weighted means of both colours); the
//          pyramid instead of box filters reaches any distance at the same cost
// Twin  reference.py::fill_colours, blurred, style_delta; no allocation, no locks
#include "stages.h"

namespace CUTLINE_ISA {

#define VECTOR_LOOP _Pragma("GCC ivdep")

static constexpr float PULL = 1.0f / 16.0f;   // trust at which a cell's own colour and the coarser one weigh the same
static constexpr float NOTHING = 1e-6f;       // trust of neutral grey, which fills a picture with no product at all

// Adds one guide row to the eight line sums.
static void add_line(const ColourGrid& g, const uint8_t* guide, const float* matte, int row, bool first) {
    const ptrdiff_t plane = (ptrdiff_t)g.base_width * g.base_height, start = (ptrdiff_t)row * g.base_width;
    const uint8_t *__restrict y = guide + start, *__restrict u = y + plane, *__restrict v = u + plane;
    const float* __restrict alpha = matte + start;
    float *__restrict fw = g.line[0], *__restrict fy = g.line[1], *__restrict fu = g.line[2], *__restrict fv = g.line[3];
    float *__restrict bw = g.line[4], *__restrict by = g.line[5], *__restrict bu = g.line[6], *__restrict bv = g.line[7];
    const float keep = first ? 0.0f : 1.0f;
    const int width = g.base_width;
    VECTOR_LOOP
    for (int x = 0; x < width; x++) {
        const float front = trust(alpha[x]), behind = trust(1.0f - alpha[x]);
        const float cy = (float)y[x], cu = (float)u[x], cv = (float)v[x];
        fw[x] = fw[x] * keep + front;
        fy[x] = fy[x] * keep + front * cy;
        fu[x] = fu[x] * keep + front * cu;
        fv[x] = fv[x] * keep + front * cv;
        bw[x] = bw[x] * keep + behind;
        by[x] = by[x] * keep + behind * cy;
        bu[x] = bu[x] * keep + behind * cu;
        bv[x] = bv[x] * keep + behind * cv;
    }
}

// Pairs of columns; an odd last column counts twice, as an odd last row does.
static void halve_row(const float* __restrict from, int n, float scale, float* __restrict to) {
    VECTOR_LOOP
    for (int x = 0; x < n / 2; x++) to[x] = (from[2 * x] + from[2 * x + 1]) * scale;
    if (n & 1) to[n / 2] = from[n - 1] * (2.0f * scale);
}

static void push_base(const ColourGrid& g, const uint8_t* guide, const float* matte) {
    for (int row = 0; row < g.height[0]; row++) {
        const int lower = 2 * row + 1 < g.base_height ? 2 * row + 1 : 2 * row;
        add_line(g, guide, matte, 2 * row, true);
        add_line(g, guide, matte, lower, false);
        for (int c = 0; c < 8; c++)
            halve_row(g.line[c], g.base_width, 0.25f, g.plane[0][c] + (ptrdiff_t)row * g.stride[0]);
    }
}

static void push_level(const ColourGrid& g, int level) {
    const int width = g.width[level - 1], height = g.height[level - 1], stride = g.stride[level - 1];
    for (int row = 0; row < g.height[level]; row++)
        for (int c = 0; c < 8; c++) {
            const float* __restrict upper = g.plane[level - 1][c] + (ptrdiff_t)(2 * row) * stride;
            const float* __restrict lower = 2 * row + 1 < height ? upper + stride : upper;
            float* __restrict line = g.line[c];
            VECTOR_LOOP
            for (int x = 0; x < width; x++) line[x] = upper[x] + lower[x];
            halve_row(line, width, 0.25f, g.plane[level][c] + (ptrdiff_t)row * g.stride[level]);
        }
}

// Row `row` of a plane doubled in size: cell centres lie a quarter cell from the nearest coarse centre.
static void double_row(const float* coarse, int width, int height, int stride, int row, int n, float* line,
                       float* __restrict to) {
    const int near = row / 2, other = (row & 1) ? (near + 1 < height ? near + 1 : near) : (near > 0 ? near - 1 : 0);
    const float *__restrict a = coarse + (ptrdiff_t)near * stride, *__restrict b = coarse + (ptrdiff_t)other * stride;
    float* __restrict mixed = line + 1;
    VECTOR_LOOP
    for (int x = 0; x < width; x++) mixed[x] = 0.75f * a[x] + 0.25f * b[x];
    mixed[-1] = mixed[0];
    mixed[width] = mixed[width - 1];
    VECTOR_LOOP
    for (int x = 0; x < n / 2; x++) {
        to[2 * x] = 0.75f * mixed[x] + 0.25f * mixed[x - 1];
        to[2 * x + 1] = 0.75f * mixed[x] + 0.25f * mixed[x + 1];
    }
    if (n & 1) to[n - 1] = 0.75f * mixed[n / 2] + 0.25f * mixed[n / 2 - 1];
}

static void settle_row(const float* __restrict weight, const float* __restrict coarse, float pull, int n,
                       float* __restrict colour) {
    VECTOR_LOOP
    for (int x = 0; x < n; x++) colour[x] = (colour[x] + pull * coarse[x]) / (weight[x] + pull);
}

static void pull_level(const ColourGrid& g, int level) {
    const int width = g.width[level], stride = g.stride[level];
    float* coarse = g.line[7];
    for (int row = 0; row < g.height[level]; row++)
        for (int c = 0; c < 8; c++) {
            if (c % 4 == 0) continue;
            const ptrdiff_t start = (ptrdiff_t)row * stride;
            const bool top = level + 1 == g.levels;
            if (top)
                for (int x = 0; x < width; x++) coarse[x] = 128.0f;
            else
                double_row(g.plane[level + 1][c], g.width[level + 1], g.height[level + 1], g.stride[level + 1], row, width,
                           g.line[0], coarse);
            settle_row(g.plane[level][c & 4] + start, coarse, top ? NOTHING : PULL, width, g.plane[level][c] + start);
        }
}

void fill_colours(const ColourGrid& g, const uint8_t* guide, const float* matte) {
    push_base(g, guide, matte);
    for (int level = 1; level < g.levels; level++) push_level(g, level);
    for (int level = g.levels - 1; level >= 0; level--) pull_level(g, level);
}

// ---- blur ----------------------------------------------------------------------------------------------------------

static void blur_across(const float* from, int n, const PostJob& job, float* line, float* __restrict to) {
    float* __restrict padded = line + MAX_BLUR_TAPS;
    __builtin_memcpy(padded, from, sizeof(float) * (size_t)n);
    for (int k = 1; k < job.blur_taps; k++) {
        padded[-k] = from[0];
        padded[n - 1 + k] = from[n - 1];
    }
    VECTOR_LOOP
    for (int x = 0; x < n; x++) to[x] = padded[x] * job.blur_weight[0];
    for (int k = 1; k < job.blur_taps; k++) {
        const float weight = job.blur_weight[k];
        VECTOR_LOOP
        for (int x = 0; x < n; x++) to[x] += (padded[x - k] + padded[x + k]) * weight;
    }
}

static void blur_down(const float* from, int stride, int height, int row, int n, const PostJob& job,
                      float* __restrict to) {
    const float* __restrict centre = from + (ptrdiff_t)row * stride;
    VECTOR_LOOP
    for (int x = 0; x < n; x++) to[x] = centre[x] * job.blur_weight[0];
    for (int k = 1; k < job.blur_taps; k++) {
        const float weight = job.blur_weight[k];
        const float* __restrict above = from + (ptrdiff_t)(row - k > 0 ? row - k : 0) * stride;
        const float* __restrict below = from + (ptrdiff_t)(row + k < height ? row + k : height - 1) * stride;
        VECTOR_LOOP
        for (int x = 0; x < n; x++) to[x] += (above[x] + below[x]) * weight;
    }
}

void blur_scene(const ColourGrid& g, const PostJob& job) {
    for (int c = 0; c < 3; c++) {
        int level = job.blur_level;
        const int stride = g.stride[level];
        for (int row = 0; row < g.height[level]; row++)
            blur_across(g.plane[level][5 + c] + (ptrdiff_t)row * stride, g.width[level], job, g.line[0],
                        g.spare + (ptrdiff_t)row * stride);
        for (int row = 0; row < g.height[level]; row++)
            blur_down(g.spare, stride, g.height[level], row, g.width[level], job,
                      g.blurred[level][c] + (ptrdiff_t)row * stride);
        for (; level > 0; level--)
            for (int row = 0; row < g.height[level - 1]; row++)
                double_row(g.blurred[level][c], g.width[level], g.height[level], g.stride[level], row, g.width[level - 1],
                           g.line[0], g.blurred[level - 1][c] + (ptrdiff_t)row * g.stride[level - 1]);
    }
}

// ---- style ---------------------------------------------------------------------------------------------------------


static inline float styled_channel(const PostPlan& p, const float* style, int c, int x, int y) {
    const ptrdiff_t pixel = (ptrdiff_t)y * p.style_width + x;
    const int stored = p.style_reversed ? 2 - c : c;
    const float value = p.style_channels_first ? style[stored * (ptrdiff_t)p.style_width * p.style_height + pixel]
                                               : style[pixel * 3 + stored];
    const float tone = value * p.style_gain[c] + p.style_offset[c];
    return tone == tone ? clamp01(tone) : 0.0f;
}

// The style network's picture minus the guide, in codes, on the network grid.
void style_delta(const PostPlan& p, const PostJob& job) {
    const ptrdiff_t plane = (ptrdiff_t)p.net_width * p.net_height;
    for (int row = 0; row < p.net_height; row++) {
        const uint8_t* guide = job.guide + (ptrdiff_t)row * p.net_width;
        const ptrdiff_t start = (ptrdiff_t)row * p.stride;
        const int y = p.style_down.index[row], below = y + 1 < p.style_height ? y + 1 : y;
        for (int x = 0; x < p.net_width; x++) {
            const int left = p.style_across.index[x], right = left + 1 < p.style_width ? left + 1 : left;
            const float fx = p.style_across.frac[x], fy = p.style_down.frac[row];
            float tone[3];
            for (int c = 0; c < 3; c++)
                tone[c] = mix(mix(styled_channel(p, job.style, c, left, y), styled_channel(p, job.style, c, right, y), fx),
                              mix(styled_channel(p, job.style, c, left, below),
                                  styled_channel(p, job.style, c, right, below), fx), fy);
            const Yuv code = to_yuv(p.matrix, {tone[0], tone[1], tone[2]});
            p.delta[0][start + x] = code.y - (float)guide[x];
            p.delta[1][start + x] = code.u - (float)guide[plane + x];
            p.delta[2][start + x] = code.v - (float)guide[2 * plane + x];
        }
    }
}

}  // namespace CUTLINE_ISA
