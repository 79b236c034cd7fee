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
        const bool number = value == value;
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
        const bool number = sum == sum;
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

static void steady_row(const PostPlan& p, const float* __restrict fresh, const uint8_t* __restrict luma, int row,
                       float* __restrict matte) {
    float* __restrict past = p.past_alpha + (ptrdiff_t)row * p.stride;
    float* __restrict past_luma = p.past_luma + (ptrdiff_t)row * p.stride;
    uint16_t* __restrict quantised = p.matte12 + (ptrdiff_t)row * p.stride;
    const float strength = p.primed ? p.temporal : 0.0f, gain = p.level_gain, offset = p.level_offset;
    const int width = p.net_width;
    VECTOR_LOOP
    for (int x = 0; x < width; x++) {
        const float now = (float)luma[x];
        const float keep = memory(strength, now - past_luma[x], fresh[x] - past[x]);
        const float alpha = mix(fresh[x], past[x], keep);
        past[x] = alpha;
        past_luma[x] = mix(now, past_luma[x], keep);
        const float level = clamp01(alpha * gain + offset);
        matte[x] = level;
        quantised[x] = (uint16_t)(int)(level * ONE12 + 0.5f);
    }
}

void steady(PostPlan& p, const PostJob& job) {
    for (int row = 0; row < p.raw_height; row++)
        p.nans += decode_row(p, job.raw, row, p.decoded + (ptrdiff_t)row * p.raw_width);
    float* resized = p.a;                                       // free until the lines are written
    for (int row = 0; row < p.net_height; row++) {
        const float* fresh = p.decoded + (ptrdiff_t)row * p.raw_width;
        if (p.raw_resized) {
            resample(p.decoded, p.raw_width, p.raw_across, p.raw_down, row, resized);
            fresh = resized;
        }
        const ptrdiff_t start = (ptrdiff_t)row * p.net_width;
        steady_row(p, fresh, job.guide + start, row, job.matte + start);
    }
    p.primed = true;
}

// ---- guided filter -------------------------------------------------------------------------------------------------

// column[] keep `radius` zeros before column 0 and after the last, so that windows are cut at the picture's edge.
static void slide_moments(const PostPlan& p, const uint8_t* guide, int row, int sign) {
    const uint8_t* __restrict luma = guide + (ptrdiff_t)row * p.net_width;
    const uint16_t* __restrict matte = p.matte12 + (ptrdiff_t)row * p.stride;
    int32_t *__restrict si = p.column[0], *__restrict sp = p.column[1], *__restrict sip = p.column[2];
    int32_t *__restrict sii = p.column[3], *__restrict spp = p.column[4];
    const int width = p.net_width;
    VECTOR_LOOP
    for (int x = 0; x < width; x++) {
        const int32_t i = luma[x], m = matte[x], signed_i = i * sign, signed_m = m * sign;
        si[x] += signed_i;
        sp[x] += signed_m;
        sip[x] += signed_i * m;
        sii[x] += signed_i * i;
        spp[x] += signed_m * m;
    }
}

static void slide_lines(const PostPlan& p, int row, int sign) {
    const ptrdiff_t start = (ptrdiff_t)row * p.stride;
    const int32_t *__restrict a = p.slope + start, *__restrict b = p.base + start, *__restrict f = p.fit + start;
    int32_t *__restrict sa = p.column[0], *__restrict sb = p.column[1], *__restrict sf = p.column[2];
    const int width = p.net_width;
    VECTOR_LOOP
    for (int x = 0; x < width; x++) {
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
static void fit_row(const PostPlan& p, int row, float inverse_rows) {
    const int32_t *si = p.column[0], *sp = p.column[1], *sip = p.column[2], *sii = p.column[3], *spp = p.column[4];
    const ptrdiff_t start = (ptrdiff_t)row * p.stride;
    int32_t *__restrict slope = p.slope + start, *__restrict base = p.base + start, *__restrict fit = p.fit + start;
    const float* __restrict inverse = p.inverse;
    const float epsilon = p.epsilon, unit_i = 1.0f / 255.0f, unit_p = 1.0f / ONE12;
    const int width = p.net_width;
    VECTOR_LOOP
    for (int x = 0; x < width; x++) {
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
static void average_row(const PostPlan& p, int row, float inverse_rows, const uint8_t* guide, const float* matte) {
    const int32_t *slope = p.column[0], *base = p.column[1], *fit = p.column[2];
    const ptrdiff_t start = (ptrdiff_t)row * p.stride;
    const uint8_t* __restrict luma = guide + (ptrdiff_t)row * p.net_width;
    const float* __restrict given = matte + (ptrdiff_t)row * p.net_width;
    float *__restrict a = p.a + start, *__restrict b = p.b + start;
    uint8_t* __restrict verdict = p.verdict + start;
    const float* __restrict inverse = p.inverse;
    const float unit = inverse_rows / ONE14, gain = p.level_gain, offset = p.level_offset;
    const int width = p.net_width;
    VECTOR_LOOP
    for (int x = 0; x < width; x++) {
        const float n = inverse[x] * unit, i = (float)luma[x];
        const float line = window<RADIUS>(slope, x) * n * (1.0f / 255.0f);
        const float level = refined(given[x], line * i + window<RADIUS>(base, x) * n, window<RADIUS>(fit, x) * n);
        const float final_slope = line * gain, final_base = (level - line * i) * gain + offset;
        a[x] = final_slope;
        b[x] = final_base;
        verdict[x] = judge(final_slope, final_base);
    }
}

static inline int rows_around(int row, int radius, int height) {
    return (row + radius < height ? row + radius : height - 1) - (row > radius ? row - radius : 0) + 1;
}

template <int RADIUS>
static void guided(const PostPlan& p, const uint8_t* guide, const float* matte) {
    const int h = p.net_height;
    for (int32_t* column : p.column) __builtin_memset(column, 0, sizeof(int32_t) * (size_t)p.net_width);
    for (int row = -RADIUS; row < h; row++) {
        if (row + RADIUS < h) slide_moments(p, guide, row + RADIUS, 1);
        if (row > RADIUS) slide_moments(p, guide, row - RADIUS - 1, -1);
        if (row >= 0) fit_row<RADIUS>(p, row, 1.0f / (float)rows_around(row, RADIUS, h));
    }
    for (int32_t* column : p.column) __builtin_memset(column, 0, sizeof(int32_t) * (size_t)p.net_width);
    for (int row = -RADIUS; row < h; row++) {
        if (row + RADIUS < h) slide_lines(p, row + RADIUS, 1);
        if (row > RADIUS) slide_lines(p, row - RADIUS - 1, -1);
        if (row >= 0) average_row<RADIUS>(p, row, 1.0f / (float)rows_around(row, RADIUS, h), guide, matte);
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
