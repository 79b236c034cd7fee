// matte: raw network output -> temporally steady matte and the guided filter's lines, at the network's size.
// In    raw float32 (1 x C x h x w or 1 x h x w x C), guide uint8[3][h][w]
// Out   matte float32[h][w]; a, b float32[h][stride] with alpha = a * luma + b; verdict uint8[h][stride]
// Map   decode, temporal filter and levels row by row; then two box filters with running column sums. The sums are
//       integers (alpha Q12, lines Q14), so they are exact: where a window is all 0 or all 1, alpha stays 0 or 1.
// Cost  24 B read and 30 B written per network pixel, all of it cached: 512x288 is 147 k pixels, bound by arithmetic
// Source   He, Sun: Fast Guided Filter, arXiv 1505.00996; what is changed and why: DESIGN.md
// Twin  reference.py::decode, steady, lines; no allocation, no locks
#include "stages.h"

namespace CUTLINE_ISA {

#define VECTOR_LOOP _Pragma("GCC ivdep")

static constexpr float ONE12 = 4096.0f, ONE14 = 16384.0f;

// ---- decode --------------------------------------------------------------------------------------------------------

// A NaN says nothing about its pixel: it becomes 0 (transparent) and is counted.
static int decode_alpha(const float* __restrict raw, int step, int n, bool logits, float* __restrict alpha) {
    int nans = 0;
    VECTOR_LOOP
    for (int x = 0; x < n; x++) {
        const float value = raw[x * step];
        const bool number = !is_nan(value);
        const float opacity = logits ? sigmoid(value) : clamp01(value);
        nans += !number;
        alpha[x] = number ? opacity : 0.0f;
    }
    return nans;
}

static int decode_classes(const PostPlan& p, const float* raw, ptrdiff_t step, ptrdiff_t channel, int n,
                          float* __restrict alpha) {
    int nans = 0;
    const bool softmax = p.reading == Reading::SOFTMAX;
    for (int x = 0; x < n; x++) {
        const float* pixel = raw + x * step;
        float peak = pixel[0], all = 0.0f, chosen = 0.0f;
        for (int c = 1; c < p.channels; c++) peak = greater(peak, pixel[c * channel]);
        for (int c = 0; softmax && c < p.channels; c++) all += exponential(pixel[c * channel] - peak);
        for (int k = 0; k < p.chosen_count; k++) {
            const float value = pixel[p.chosen[k] * channel];
            chosen += softmax ? exponential(value - peak) : value;
        }
        float sum = 0.0f;
        for (int c = 0; c < p.channels; c++) sum += pixel[c * channel];
        const bool number = !is_nan(sum);
        nans += !number;
        alpha[x] = number ? clamp01(softmax ? chosen / all : chosen) : 0.0f;
    }
    return nans;
}

static int decode_row(const PostPlan& p, const float* raw, int row, float* alpha) {
    const ptrdiff_t pixels = (ptrdiff_t)p.raw_width * p.raw_height;
    const ptrdiff_t step = p.channels_first ? 1 : p.channels, channel = p.channels_first ? pixels : 1;
    raw += row * (ptrdiff_t)p.raw_width * step;
    if (p.reading == Reading::CLASSES || p.reading == Reading::SOFTMAX)
        return decode_classes(p, raw, step, channel, p.raw_width, alpha);
    raw += p.chosen[0] * channel;
    const bool logits = p.reading == Reading::LOGITS;
    if (step == 1) return decode_alpha(raw, 1, p.raw_width, logits, alpha);
    return decode_alpha(raw, (int)step, p.raw_width, logits, alpha);
}

void resample(const float* from, int stride, const Axis& across, const Axis& down, int row, float* __restrict to) {
    const float* upper = from + (ptrdiff_t)down.index[row] * stride;
    const float* lower = upper + (down.index[row] < down.last ? stride : 0);
    const float f = down.frac[row];
    for (int x = 0; x < across.count; x++) {
        const int i = across.index[x], next = i < across.last ? i + 1 : i;
        to[x] = mix(mix(upper[i], lower[i], f), mix(upper[next], lower[next], f), across.frac[x]);
    }
}

// ---- temporal filter -----------------------------------------------------------------------------------------------

// Returns the bits of all the row's quantised levels.
static uint16_t steady_row(const PostPlan& p, const float* __restrict fresh, const uint8_t* __restrict luma, int row,
                           float* __restrict matte) {
    float* __restrict past = p.past_alpha + (ptrdiff_t)row * p.stride;
    float* __restrict past_luma = p.past_luma + (ptrdiff_t)row * p.stride;
    uint16_t *__restrict quantised = p.matte12 + (ptrdiff_t)row * p.stride, *__restrict anywhere = p.anywhere;
    const float strength = p.primed ? p.temporal : 0.0f, gain = p.level_gain, offset = p.level_offset;
    const int width = p.net_width;
    uint16_t all = 0;
    VECTOR_LOOP
    for (int x = 0; x < width; x++) {
        const float now = (float)luma[x];
        const float keep = memory(strength, now - past_luma[x], fresh[x] - past[x]);
        const float alpha = mix(fresh[x], past[x], keep);
        past[x] = alpha;
        past_luma[x] = mix(now, past_luma[x], keep);
        const float level = clamp01(alpha * gain + offset);
        const uint16_t bits = (uint16_t)(int)(level * ONE12 + 0.5f);
        matte[x] = level;
        quantised[x] = bits;
        anywhere[x] |= bits;
        all |= bits;
    }
    return all;
}

static void find_columns(PostPlan& p) {
    p.first_column = 0;
    p.last_column = p.net_width - 1;
    while (p.first_column <= p.last_column && !p.anywhere[p.first_column]) p.first_column++;
    while (p.last_column > p.first_column && !p.anywhere[p.last_column]) p.last_column--;
}

void steady(PostPlan& p, const PostJob& job) {
    for (int row = 0; p.raw_resized && row < p.raw_height; row++)
        p.nans += decode_row(p, job.raw, row, p.decoded + (ptrdiff_t)row * p.raw_width);
    __builtin_memset(p.anywhere, 0, sizeof(uint16_t) * (size_t)p.net_width);
    p.first_row = p.net_height;
    p.last_row = -1;
    for (int row = 0; row < p.net_height; row++) {
        if (p.raw_resized)
            resample(p.decoded, p.raw_width, p.raw_across, p.raw_down, row, p.fresh);
        else
            p.nans += decode_row(p, job.raw, row, p.fresh);
        const ptrdiff_t start = (ptrdiff_t)row * p.net_width;
        if (!steady_row(p, p.fresh, job.guide + start, row, job.matte + start)) continue;
        p.first_row = row < p.first_row ? row : p.first_row;
        p.last_row = row;
    }
    find_columns(p);
    p.primed = true;
}

// ---- guided filter -------------------------------------------------------------------------------------------------

// Where the lines are worth computing: the matte's bounding box and two radii around it. Elsewhere alpha is 0.
struct Region {
    int left, right, top, bottom;          // columns and rows whose lines are averaged
    int fit_top, fit_bottom;               // rows in which lines are fitted
};

static Region region_of(const PostPlan& p, int radius) {
    const auto least = [](int v) { return v > 0 ? v : 0; };
    const auto most = [](int v, int limit) { return v < limit ? v : limit; };
    return {least(p.first_column - 2 * radius),
            most(p.last_column + 2 * radius + 1, p.net_width),
            least(p.first_row - 2 * radius),
            most(p.last_row + 2 * radius + 1, p.net_height),
            least(p.first_row - radius),
            most(p.last_row + radius + 1, p.net_height)};
}

// Columns keep `radius` zeros before the first and after the last, so that windows are cut at the picture's edge.
static void slide_moments(const PostPlan& p, const Region& at, const uint8_t* guide, int row, int sign) {
    const uint8_t* __restrict luma = guide + (ptrdiff_t)row * p.net_width;
    const uint16_t* __restrict matte = p.matte12 + (ptrdiff_t)row * p.stride;
    int32_t *__restrict si = p.moments[0], *__restrict sp = p.moments[1], *__restrict sip = p.moments[2];
    int32_t *__restrict sii = p.moments[3], *__restrict spp = p.moments[4];
    const int right = at.right;
    VECTOR_LOOP
    for (int x = at.left; x < right; x++) {
        const int32_t i = luma[x], m = matte[x], signed_i = i * sign, signed_m = m * sign;
        si[x] += signed_i;
        sp[x] += signed_m;
        sip[x] += signed_i * m;
        sii[x] += signed_i * i;
        spp[x] += signed_m * m;
    }
}

static void slide_lines(const PostPlan& p, const Region& at, int row, int sign) {
    const ptrdiff_t start = (ptrdiff_t)(row % RING) * p.stride;
    const int32_t *__restrict a = p.slope + start, *__restrict b = p.base + start, *__restrict f = p.fit + start;
    int32_t *__restrict sa = p.sums[0], *__restrict sb = p.sums[1], *__restrict sf = p.sums[2];
    const int right = at.right;
    VECTOR_LOOP
    for (int x = at.left; x < right; x++) {
        sa[x] += a[x] * sign;
        sb[x] += b[x] * sign;
        sf[x] += f[x] * sign;
    }
}

template <int RADIUS>
static inline float window(const int32_t* column, int x) {
    int32_t sum = 0;
    for (int k = -RADIUS; k <= RADIUS; k++) sum += column[x + k];
    return (float)sum;
}

CUTLINE_FN int32_t nearest(float v) { return (int32_t)(v + (v < 0.0f ? -0.5f : 0.5f)); }

// The line alpha = slope * luma + base of each window, luma in 0..1, and how much of the alpha it explains, all Q14.
template <int RADIUS>
static void fit_row(const PostPlan& p, const Region& at, int row, float inverse_rows) {
    const int32_t *si = p.moments[0], *sp = p.moments[1], *sip = p.moments[2], *sii = p.moments[3], *spp = p.moments[4];
    const ptrdiff_t start = (ptrdiff_t)(row % RING) * p.stride;
    int32_t *__restrict slope = p.slope + start, *__restrict base = p.base + start, *__restrict fit = p.fit + start;
    const float* __restrict inverse = p.inverse;
    const float epsilon = p.epsilon, unit_i = 1.0f / 255.0f, unit_p = 1.0f / ONE12;
    const int right = at.right;
    VECTOR_LOOP
    for (int x = at.left; x < right; x++) {
        const float n = inverse[x] * inverse_rows, n_i = n * unit_i, n_p = n * unit_p;
        const float luma = window<RADIUS>(si, x) * n_i, alpha = window<RADIUS>(sp, x) * n_p;
        const float joint = window<RADIUS>(sip, x) * (n_i * unit_p) - luma * alpha;
        const float spread = window<RADIUS>(sii, x) * (n_i * unit_i) - luma * luma + epsilon;
        const float edge = window<RADIUS>(spp, x) * (n_p * unit_p) - alpha * alpha + EDGE_FLOOR;
        const float line = joint / spread;
        slope[x] = nearest(line * ONE14);
        base[x] = nearest((alpha - line * luma) * ONE14);
        fit[x] = nearest(clamp01(line * joint / edge) * ONE14);
    }
}

// alpha is linear in luma, so its extremes over all lumas are at codes 0 and 255.
CUTLINE_FN uint8_t judge(float a, float b) {
    const float other = b + a * 255.0f;
    return (uint8_t)((greater(b, other) > 0.0f ? 1 : 0) | (lesser(b, other) < 1.0f ? 2 : 0));
}

template <int RADIUS>
static void average_row(const PostPlan& p, const Region& at, int row, float inverse_rows, const uint8_t* guide,
                        const float* matte) {
    const int32_t *slope = p.sums[0], *base = p.sums[1], *fit = p.sums[2];
    const ptrdiff_t start = (ptrdiff_t)row * p.stride;
    const uint8_t* __restrict luma = guide + (ptrdiff_t)row * p.net_width;
    const float* __restrict given = matte + (ptrdiff_t)row * p.net_width;
    float *__restrict a = p.a + start, *__restrict b = p.b + start;
    uint8_t* __restrict verdict = p.verdict + start;
    const float* __restrict inverse = p.inverse;
    const float unit = inverse_rows / ONE14, gain = p.level_gain, offset = p.level_offset;
    const int right = at.right;
    VECTOR_LOOP
    for (int x = at.left; x < right; x++) {
        const float n = inverse[x] * unit, i = (float)luma[x];
        const float line = window<RADIUS>(slope, x) * n * (1.0f / 255.0f);
        const float level = refined(given[x], line * i + window<RADIUS>(base, x) * n, window<RADIUS>(fit, x) * n);
        const float final_slope = line * gain, final_base = (level - line * i) * gain + offset;
        a[x] = final_slope;
        b[x] = final_base;
        verdict[x] = judge(final_slope, final_base);
    }
}

static void blank(const PostPlan& p, int row, int left, int right) {
    const ptrdiff_t start = (ptrdiff_t)row * p.stride;
    float *__restrict a = p.a + start, *__restrict b = p.b + start;
    const float offset = p.level_offset;
    if (left >= right) return;
    __builtin_memset(a + left, 0, sizeof(float) * (size_t)(right - left));
    __builtin_memset(p.verdict + start + left, judge(0.0f, offset), (size_t)(right - left));
    VECTOR_LOOP
    for (int x = left; x < right; x++) b[x] = offset;
}

static inline int rows_around(int row, int radius, int height) {
    return (row + radius < height ? row + radius : height - 1) - (row > radius ? row - radius : 0) + 1;
}

template <int RADIUS>
static void guided(const PostPlan& p, const uint8_t* guide, const float* matte) {
    const int height = p.net_height;
    const Region at = region_of(p, RADIUS);
    for (int32_t* column : p.moments) __builtin_memset(column, 0, sizeof(int32_t) * (size_t)p.net_width);
    for (int32_t* column : p.sums) __builtin_memset(column, 0, sizeof(int32_t) * (size_t)p.net_width);
    int added = at.fit_top > RADIUS ? at.fit_top - RADIUS : 0;       // rows in the moments: removed .. added - 1
    int removed = added;
    for (int row = at.top - RADIUS; row < at.bottom; row++) {
        const int next = row + RADIUS, past = row - RADIUS - 1;
        if (next >= at.fit_top && next < at.fit_bottom) {
            for (; added < height && added <= next + RADIUS; added++) slide_moments(p, at, guide, added, 1);
            for (; removed < next - RADIUS; removed++) slide_moments(p, at, guide, removed, -1);
            fit_row<RADIUS>(p, at, next, 1.0f / (float)rows_around(next, RADIUS, height));
            slide_lines(p, at, next, 1);
        }
        if (past >= at.fit_top && past < at.fit_bottom) slide_lines(p, at, past, -1);
        if (row >= at.top)
            average_row<RADIUS>(p, at, row, 1.0f / (float)rows_around(row, RADIUS, height), guide, matte);
    }
    for (int row = 0; row < height; row++) {
        const bool outside = row < at.top || row >= at.bottom;
        blank(p, row, 0, outside ? p.net_width : at.left);
        if (!outside) blank(p, row, at.right, p.net_width);
    }
}

static void plain(const PostPlan& p, const float* matte) {
    for (int row = 0; row < p.net_height; row++) {
        const float* __restrict from = matte + (ptrdiff_t)row * p.net_width;
        const ptrdiff_t start = (ptrdiff_t)row * p.stride;
        float *__restrict a = p.a + start, *__restrict b = p.b + start;
        uint8_t* __restrict verdict = p.verdict + start;
        const int width = p.net_width;
        VECTOR_LOOP
        for (int x = 0; x < width; x++) {
            a[x] = 0.0f;
            b[x] = from[x];
            verdict[x] = judge(0.0f, from[x]);
        }
    }
}

void lines(const PostPlan& p, const PostJob& job) {
    if (!p.refine) return plain(p, job.matte);
    switch (p.radius) {
        case 1: return guided<1>(p, job.guide, job.matte);
        case 2: return guided<2>(p, job.guide, job.matte);
        case 3: return guided<3>(p, job.guide, job.matte);
        case 4: return guided<4>(p, job.guide, job.matte);
        default: return guided<MAX_RADIUS>(p, job.guide, job.matte);
    }
}

}  // namespace CUTLINE_ISA
