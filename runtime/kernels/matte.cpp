// matte: raw network output -> temporally steady matte and the guided filter's lines, at the network's size.
// In    raw float32 (1 x C x h x w or 1 x h x w x C), guide uint8[3][h][w]
// Out   matte float32[h][w]; a, b float32[h][stride] with alpha = a * luma + b; verdict uint8[h][stride]
// Map   decode, temporal filter and levels row by row; then two box filters with running column sums. The sums are
//       integers (Q14), so they are exact: a window of zeros gives a = b = 0, a window of ones a = 0, b = 1.
// Cost  24 B read and 30 B written per network pixel, all of it cached: 512x288 is 147 k pixels, bound by arithmetic
// Source   He, Sun: Fast Guided Filter, arXiv 1505.00996
// Twin  reference.py::decode, steady, lines; no allocation, no locks
#include "stages.h"

namespace CUTLINE_ISA {

#define VECTOR_LOOP _Pragma("GCC ivdep")

static constexpr float ONE14 = 16384.0f;

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
    uint16_t* __restrict quantised = p.matte14 + (ptrdiff_t)row * p.stride;
    const float strength = p.primed ? p.temporal : 0.0f, gain = p.level_gain, offset = p.level_offset;
    VECTOR_LOOP
    for (int x = 0; x < p.net_width; x++) {
        const float now = (float)luma[x];
        const float keep = memory(strength, now - past_luma[x], fresh[x] - past[x]);
        const float alpha = mix(fresh[x], past[x], keep);
        past[x] = alpha;
        past_luma[x] = mix(now, past_luma[x], keep);
        const float level = clamp01(alpha * gain + offset);
        matte[x] = level;
        quantised[x] = (uint16_t)(int)(level * ONE14 + 0.5f);
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
    const uint16_t* __restrict matte = p.matte14 + (ptrdiff_t)row * p.stride;
    int32_t *__restrict si = p.column[0], *__restrict sp = p.column[1];
    int32_t *__restrict sip = p.column[2], *__restrict sii = p.column[3];
    VECTOR_LOOP
    for (int x = 0; x < p.net_width; x++) {
        const int32_t i = luma[x], m = matte[x], signed_i = i * sign;
        si[x] += signed_i;
        sp[x] += m * sign;
        sip[x] += signed_i * m;
        sii[x] += signed_i * i;
    }
}

static void slide_lines(const PostPlan& p, int row, int sign) {
    const int32_t *__restrict a = p.line_a + (ptrdiff_t)row * p.stride, *__restrict b = p.line_b + (ptrdiff_t)row * p.stride;
    int32_t *__restrict sa = p.column[4], *__restrict sb = p.column[5];
    VECTOR_LOOP
    for (int x = 0; x < p.net_width; x++) {
        sa[x] += a[x] * sign;
        sb[x] += b[x] * sign;
    }
}

template <int RADIUS>
static inline int32_t window(const int32_t* column, int x) {
    int32_t sum = 0;
    for (int k = -RADIUS; k <= RADIUS; k++) sum += column[x + k];
    return sum;
}

// The line through (luma, alpha) in each window: a and b in Q14, luma in 0..1.
template <int RADIUS>
static void fit_row(const PostPlan& p, int row, float inverse_rows) {
    const int32_t *si = p.column[0], *sp = p.column[1], *sip = p.column[2], *sii = p.column[3];
    int32_t* __restrict a = p.line_a + (ptrdiff_t)row * p.stride;
    int32_t* __restrict b = p.line_b + (ptrdiff_t)row * p.stride;
    const float* __restrict inverse = p.inverse;
    const float epsilon = p.epsilon;
    VECTOR_LOOP
    for (int x = 0; x < p.net_width; x++) {
        const float n = inverse[x] * inverse_rows;
        const float luma = (float)window<RADIUS>(si, x) * n, matte = (float)window<RADIUS>(sp, x) * n;
        const float joint = (float)window<RADIUS>(sip, x) * n, square = (float)window<RADIUS>(sii, x) * n;
        const float slope = (joint - luma * matte) / (square - luma * luma + epsilon);   // Q14 per code
        const float base = matte - slope * luma;
        a[x] = (int32_t)(slope * 255.0f + (slope < 0.0f ? -0.5f : 0.5f));
        b[x] = (int32_t)(base + (base < 0.0f ? -0.5f : 0.5f));
    }
}

// alpha is linear in luma, so its extremes over all lumas are at codes 0 and 255.
CUTLINE_FN uint8_t judge(float a, float b) {
    const float other = b + a * 255.0f;
    return (uint8_t)((greater(b, other) > 0.0f ? 1 : 0) | (lesser(b, other) < 1.0f ? 2 : 0));
}

template <int RADIUS>
static void average_row(const PostPlan& p, int row, float inverse_rows) {
    const int32_t *sa = p.column[4], *sb = p.column[5];
    const ptrdiff_t start = (ptrdiff_t)row * p.stride;
    float *__restrict a = p.a + start, *__restrict b = p.b + start;
    uint8_t* __restrict verdict = p.verdict + start;
    const float* __restrict inverse = p.inverse;
    const float scale = inverse_rows * p.level_gain / ONE14, offset = p.level_offset;
    VECTOR_LOOP
    for (int x = 0; x < p.net_width; x++) {
        const float n = inverse[x] * scale;
        const float slope = (float)window<RADIUS>(sa, x) * (n / 255.0f), base = (float)window<RADIUS>(sb, x) * n + offset;
        a[x] = slope;
        b[x] = base;
        verdict[x] = judge(slope, base);
    }
}

template <int RADIUS>
static void guided(const PostPlan& p, const uint8_t* guide) {
    const int h = p.net_height;
    for (int c = 0; c < 6; c++)
        __builtin_memset(p.column[c], 0, sizeof(int32_t) * (size_t)p.net_width);
    for (int row = -RADIUS; row < h; row++) {
        if (row + RADIUS < h) slide_moments(p, guide, row + RADIUS, 1);
        if (row > RADIUS) slide_moments(p, guide, row - RADIUS - 1, -1);
        const int rows = (row + RADIUS < h ? row + RADIUS : h - 1) - (row > RADIUS ? row - RADIUS : 0) + 1;
        if (row >= 0) fit_row<RADIUS>(p, row, 1.0f / (float)rows);
    }
    for (int row = -RADIUS; row < h; row++) {
        if (row + RADIUS < h) slide_lines(p, row + RADIUS, 1);
        if (row > RADIUS) slide_lines(p, row - RADIUS - 1, -1);
        const int rows = (row + RADIUS < h ? row + RADIUS : h - 1) - (row > RADIUS ? row - RADIUS : 0) + 1;
        if (row >= 0) average_row<RADIUS>(p, row, 1.0f / (float)rows);
    }
}

static void plain(const PostPlan& p, const float* matte) {
    for (int row = 0; row < p.net_height; row++) {
        const float* __restrict from = matte + (ptrdiff_t)row * p.net_width;
        const ptrdiff_t start = (ptrdiff_t)row * p.stride;
        float *__restrict a = p.a + start, *__restrict b = p.b + start;
        uint8_t* __restrict verdict = p.verdict + start;
        VECTOR_LOOP
        for (int x = 0; x < p.net_width; x++) {
            a[x] = 0.0f;
            b[x] = from[x];
            verdict[x] = judge(0.0f, from[x]);
        }
    }
}

void lines(const PostPlan& p, const PostJob& job) {
    if (!p.refine) return plain(p, job.matte);
    switch (p.radius) {
        case 1: return guided<1>(p, job.guide);
        case 2: return guided<2>(p, job.guide);
        case 3: return guided<3>(p, job.guide);
        case 4: return guided<4>(p, job.guide);
        case 5: return guided<5>(p, job.guide);
        case 6: return guided<6>(p, job.guide);
        case 7: return guided<7>(p, job.guide);
        default: return guided<MAX_RADIUS>(p, job.guide);
    }
}

}  // namespace CUTLINE_ISA
