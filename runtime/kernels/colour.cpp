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

// Trust-weighted sums of one cell.
struct Cell {
    float fw, fy, fu, fv, bw, by, bu, bv;
};

CUTLINE_FN Cell weighed(float alpha, float y, float u, float v) {
    const float front = trust(alpha), behind = trust(1.0f - alpha);
    return {front, front * y, front * u, front * v, behind, behind * y, behind * u, behind * v};
}

CUTLINE_FN Cell sum_of(const Cell& a, const Cell& b) {
    return {a.fw + b.fw, a.fy + b.fy, a.fu + b.fu, a.fv + b.fv, a.bw + b.bw, a.by + b.by, a.bu + b.bu, a.bv + b.bv};
}

// One guide row as the loop sees it.
struct Row {
    const float* alpha;
    const uint8_t *y, *u, *v;
};

CUTLINE_FN Cell weighed_at(const Row& row, int x) {
    return weighed(row.alpha[x], (float)row.y[x], (float)row.u[x], (float)row.v[x]);
}

// A row of cells out of two guide rows; an odd last column counts twice, as an odd last row does.
static void push_rows(const ColourGrid& g, const Row upper, const Row lower, int row) {
    const ptrdiff_t start = (ptrdiff_t)row * g.stride[0];
    float *const *plane = g.plane[0], *__restrict fw = plane[0] + start, *__restrict fy = plane[1] + start;
    float *__restrict fu = plane[2] + start, *__restrict fv = plane[3] + start, *__restrict bw = plane[4] + start;
    float *__restrict by = plane[5] + start, *__restrict bu = plane[6] + start, *__restrict bv = plane[7] + start;
    const auto put = [&](int x, int left, int right) {
        const Cell c = sum_of(sum_of(weighed_at(upper, left), weighed_at(upper, right)),
                              sum_of(weighed_at(lower, left), weighed_at(lower, right)));
        fw[x] = c.fw * 0.25f, fy[x] = c.fy * 0.25f, fu[x] = c.fu * 0.25f, fv[x] = c.fv * 0.25f;
        bw[x] = c.bw * 0.25f, by[x] = c.by * 0.25f, bu[x] = c.bu * 0.25f, bv[x] = c.bv * 0.25f;
    };
    const int pairs = g.base_width / 2;
    VECTOR_LOOP
    for (int x = 0; x < pairs; x++) put(x, 2 * x, 2 * x + 1);
    if (g.base_width & 1) put(pairs, 2 * pairs, 2 * pairs);
}

static void push_base(const ColourGrid& g, const uint8_t* guide, const float* matte) {
    const ptrdiff_t plane = (ptrdiff_t)g.base_width * g.base_height;
    const auto row_at = [&](int row) {
        const ptrdiff_t start = (ptrdiff_t)row * g.base_width;
        return Row{matte + start, guide + start, guide + plane + start, guide + 2 * plane + start};
    };
    for (int row = 0; row < g.height[0]; row++)
        push_rows(g, row_at(2 * row), row_at(2 * row + 1 < g.base_height ? 2 * row + 1 : 2 * row), row);
}

static void push_level(const ColourGrid& g, int level) {
    const int width = g.width[level - 1], height = g.height[level - 1], stride = g.stride[level - 1], pairs = width / 2;
    for (int row = 0; row < g.height[level]; row++)
        for (int c = 0; c < 8; c++) {
            const float* __restrict upper = g.plane[level - 1][c] + (ptrdiff_t)(2 * row) * stride;
            const float* __restrict lower = 2 * row + 1 < height ? upper + stride : upper;
            float* __restrict to = g.plane[level][c] + (ptrdiff_t)row * g.stride[level];
            VECTOR_LOOP
            for (int x = 0; x < pairs; x++)
                to[x] = 0.25f * (upper[2 * x] + upper[2 * x + 1] + lower[2 * x] + lower[2 * x + 1]);
            if (width & 1) to[pairs] = 0.5f * (upper[width - 1] + lower[width - 1]);
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

// Lines: 0 is double_row's own, 1 the coarser level's colour, 2 what a unit of trust counts.
static void pull_level(const ColourGrid& g, int level) {
    const int width = g.width[level];
    const bool top = level + 1 == g.levels;
    const float pull = top ? NOTHING : PULL;
    float *__restrict coarse = g.line[1], *__restrict share = g.line[2];
    for (int row = 0; row < g.height[level]; row++)
        for (int c = 0; c < 8; c++) {
            float* __restrict colour = g.plane[level][c] + (ptrdiff_t)row * g.stride[level];
            if (c % 4 == 0) {                      // the trust of the three colours that follow
                VECTOR_LOOP
                for (int x = 0; x < width; x++) share[x] = 1.0f / (colour[x] + pull);
                continue;
            }
            if (top)
                for (int x = 0; x < width; x++) coarse[x] = 128.0f;
            else
                double_row(g.plane[level + 1][c], g.width[level + 1], g.height[level + 1], g.stride[level + 1], row, width,
                           g.line[0], coarse);
            VECTOR_LOOP
            for (int x = 0; x < width; x++) colour[x] = (colour[x] + pull * coarse[x]) * share[x];
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
    return is_nan(value) ? 0.0f : clamp01(tone);
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
