// pre: YUV 4:2:0 frame -> the network's tensor and its guide, cropped, resized, coloured, normalised, in one pass.
// In    y[H][W], u and v[ceil(H/2)][ceil(W/2)], any pitch, chroma step 1 (I420) or 2 (NV12)
// Out   tensor 3 x h x w (either layout, any Number), guide uint8[3][h][w] = Y, Cb, Cr at the network's size
// Map   per output row: vertical filter of the source rows (u8 x Q7 -> Q7), horizontal filter (Q7 x Q14 -> Q8), colour.
//       The resize runs in YUV: it is linear, so it commutes with the matrix, and it touches 1.5 planes, not 3.
// Cost  reads 1.5 B per source pixel, writes 3 x sizeof(Number) + 3 B per output pixel. 1080p to 512x288 float32: 3.1 MB
//       in, 2.2 MB out; at 10 GB/s per core that is 0.5 ms, from the L3 cache 0.2 ms. Each source row is used by
//       2 output rows, out of L1/L2.
// Twin  reference.py::pre; no allocation, no locks
#include "plan.h"
#include "simd.h"

namespace CUTLINE_ISA {

#define VECTOR_LOOP _Pragma("GCC ivdep")

// Rows that the next output row will be the first to read. They are too far apart for the processor to see them coming:
// asking for them here, spread over this row's work, halves the time of a frame that is not in the cache.
struct Ahead {
    const uint8_t* row[MAX_AHEAD];
    int count;
};

template <int PAIRS>
static void weigh_pairs(const uint8_t* const* rows, const uint8_t* weight, const Ahead& ahead, int n, int16_t* band) {
    const int lines = ahead.count;
    int x = 0;
    for (; x + STEP <= n; x += STEP) {
        for (int i = 0; i < lines && x % 64 == 0; i++) __builtin_prefetch(ahead.row[i] + x);
        weigh_step<PAIRS>(rows, weight, x, band);
    }
    if (x < n && n >= STEP) return weigh_step<PAIRS>(rows, weight, n - STEP, band);   // the last ones overlap
    for (; x < n; x++) {
        int sum = 0;
        for (int i = 0; i < 2 * PAIRS; i++) sum += rows[i][x] * weight[i];
        band[x] = (int16_t)sum;
    }
}

// Filters of many taps: Q16 weights, products cut to Q8. A cut product loses half a unit on average: `bias`.
static void weigh_many(const Filter& f, int row, const uint8_t* source, ptrdiff_t stride, int n, int16_t* band) {
    const uint16_t* weight = f.weight16 + (ptrdiff_t)row * f.taps;
    uint16_t* __restrict sum = (uint16_t*)band;
    int taps = f.taps;
    while (taps > 1 && weight[taps - 1] == 0) taps--;
    for (int x = 0; x < n; x++) sum[x] = (uint16_t)(taps / 2);
    for (int k = 0; k < taps; k++) {
        const uint8_t* __restrict from = source + (f.first[row] + k) * stride;
        const uint32_t w = weight[k];
        VECTOR_LOOP
        for (int x = 0; x < n; x++) {
            const uint16_t pixel = (uint16_t)(from[x] << 8);
            sum[x] = (uint16_t)(sum[x] + (uint16_t)((pixel * w) >> 16));
        }
    }
    VECTOR_LOOP
    for (int x = 0; x < n; x++) sum[x] = (uint16_t)(sum[x] >> 1);
}

// One vertically filtered row of `n` bytes: Q7 in `band`.
static void filter_down(const Filter& f, int row, const uint8_t* source, ptrdiff_t stride, int n, int16_t* band) {
    if (f.pairs == 0) return weigh_many(f, row, source, stride, n, band);
    const uint8_t* rows[2 * MAX_PAIRS];
    const uint8_t* weight = f.weight7 + (ptrdiff_t)row * 2 * f.pairs;
    for (int i = 0; i < 2 * f.pairs; i++) rows[i] = source + f.first[row * 2 * f.pairs + i] * stride;
    Ahead ahead = {};
    if (row + 1 < f.count)
        for (int next = f.last[row] + 1; next <= f.last[row + 1] && ahead.count < MAX_AHEAD; next++)
            ahead.row[ahead.count++] = source + next * stride;
    switch (f.pairs) {
        case 1: return weigh_pairs<1>(rows, weight, ahead, n, band);
        case 2: return weigh_pairs<2>(rows, weight, ahead, n, band);
        case 3: return weigh_pairs<3>(rows, weight, ahead, n, band);
        case 4: return weigh_pairs<4>(rows, weight, ahead, n, band);
        case 5: return weigh_pairs<5>(rows, weight, ahead, n, band);
        case 6: return weigh_pairs<6>(rows, weight, ahead, n, band);
        case 7: return weigh_pairs<7>(rows, weight, ahead, n, band);
        default: return weigh_pairs<MAX_PAIRS>(rows, weight, ahead, n, band);
    }
}

// Q7 band -> Q8 row. `band` starts at sample f.low, and so does f.first.
static void filter_across(const Filter& f, const int16_t* band, uint16_t* row) {
    const int16_t* weight = f.weight14;
    if (f.chunks == 0)
        for (int x = 0; x < f.count; x += GROUP, weight += 4 * GROUP) dot_short_group(band, f.first + x, weight, row + x);
    else if (f.chunks == 1)
        for (int x = 0; x < f.count; x += GROUP, weight += 8 * GROUP) dot_group(band, f.first + x, weight, 1, row + x);
    else
        for (int x = 0; x < f.count; x += GROUP, weight += f.chunks * 8 * GROUP)
            dot_group(band, f.first + x, weight, f.chunks, row + x);
}

static void deinterleave(const int16_t* pairs, int n, int16_t* __restrict even) {
    VECTOR_LOOP
    for (int x = 0; x < n; x++) even[x] = pairs[2 * x];
}

static void filter_chroma(const PrePlan& p, const Picture& frame, int row) {
    const Filter &down = p.down[1], &across = p.across[1];
    const View &u = frame.plane[1], &v = frame.plane[2];
    const bool pairs = u.step == 2 && v.step == 2 && v.data == u.data + 1 && u.stride == v.stride;   // NV12
    for (int c = 1; c < 3; c++) {
        const View& view = frame.plane[c];
        const uint8_t* source = view.data + across.low * view.step;
        const int16_t* band = p.band;
        if (view.step == 1) {
            filter_down(down, row, source, view.stride, across.span, p.band);
        } else {
            if (c == 1 || !pairs)
                filter_down(down, row, source, view.stride, pairs ? 2 * across.span : 2 * across.span - 1, p.band);
            deinterleave(p.band + (c == 2 && pairs), across.span, p.single);
            band = p.single;
        }
        filter_across(across, band, p.row[c]);
    }
}

static void to_tones(const PrePlan& p, float* const* tone) {
    const uint16_t *__restrict y = p.row[0], *__restrict u = p.row[1], *__restrict v = p.row[2];
    float *__restrict r = tone[0], *__restrict g = tone[1], *__restrict b = tone[2];
    const float unit = 1.0f / 256.0f;
    const ColourMatrix m = p.matrix;
    const float gr = p.gain[0], gg = p.gain[1], gb = p.gain[2], or_ = p.offset[0], og = p.offset[1], ob = p.offset[2];
    const int width = p.width;
    VECTOR_LOOP
    for (int x = 0; x < width; x++) {
        const Rgb c = to_rgb(m, {(float)y[x] * unit, (float)u[x] * unit, (float)v[x] * unit});
        r[x] = c.r * gr + or_;
        g[x] = c.g * gg + og;
        b[x] = c.b * gb + ob;
    }
}

struct StoreFloat { typedef float type; CUTLINE_FN float of(float v) { return v; } };
struct StoreHalf { typedef uint16_t type; CUTLINE_FN uint16_t of(float v) { return to_half(v); } };
struct StoreBrain { typedef uint16_t type; CUTLINE_FN uint16_t of(float v) { return to_bfloat16(v); } };
struct StoreInt8 { typedef int8_t type; CUTLINE_FN int8_t of(float v) { return (int8_t)to_integer(v, -128.0f, 127.0f); } };
struct StoreUint8 { typedef uint8_t type; CUTLINE_FN uint8_t of(float v) { return (uint8_t)to_integer(v, 0.0f, 255.0f); } };

template <class STORE>
static void store_row(const PrePlan& p, int row, void* tensor) {
    typedef typename STORE::type Type;
    const ptrdiff_t plane = (ptrdiff_t)p.width * p.height;
    for (int c = 0; c < 3; c++) {
        const float* __restrict tone = p.tone[p.reversed ? 2 - c : c];
        if (p.channels_first) {
            Type* __restrict out = (Type*)tensor + c * plane + (ptrdiff_t)row * p.width;
            const int width = p.width;
            VECTOR_LOOP
            for (int x = 0; x < width; x++) out[x] = STORE::of(tone[x]);
        } else {
            Type* __restrict out = (Type*)tensor + (ptrdiff_t)row * p.width * 3 + c;
            const int width = p.width;
            VECTOR_LOOP
            for (int x = 0; x < width; x++) out[3 * x] = STORE::of(tone[x]);
        }
    }
}

static void store_tensor(const PrePlan& p, int row, void* tensor) {
    if (p.number == Number::FLOAT32 && p.channels_first) {         // straight into place
        float* tone[3];
        const ptrdiff_t plane = (ptrdiff_t)p.width * p.height;
        for (int c = 0; c < 3; c++) tone[c] = (float*)tensor + (p.reversed ? 2 - c : c) * plane + (ptrdiff_t)row * p.width;
        return to_tones(p, tone);
    }
    to_tones(p, p.tone);
    switch (p.number) {
        case Number::FLOAT32: return store_row<StoreFloat>(p, row, tensor);
        case Number::FLOAT16: return store_row<StoreHalf>(p, row, tensor);
        case Number::BFLOAT16: return store_row<StoreBrain>(p, row, tensor);
        case Number::INT8: return store_row<StoreInt8>(p, row, tensor);
        case Number::UINT8: return store_row<StoreUint8>(p, row, tensor);
    }
}

static void store_guide(const PrePlan& p, int row, uint8_t* guide) {
    for (int c = 0; c < 3; c++) {
        const uint16_t* __restrict from = p.row[c];
        uint8_t* __restrict to = guide + ((ptrdiff_t)c * p.height + row) * p.width;
        const int width = p.width;
        VECTOR_LOOP
        for (int x = 0; x < width; x++) to[x] = (uint8_t)((from[x] + 128) >> 8);
    }
}

// `tensor` null: only the guide is wanted; `guide` null: only the tensor.
void pre(const PrePlan& p, const Picture& frame, void* tensor, uint8_t* guide) {
    const View& luma = frame.plane[0];
    for (int row = 0; row < p.height; row++) {
        filter_down(p.down[0], row, luma.data + p.across[0].low, luma.stride, p.across[0].span, p.band);
        filter_across(p.across[0], p.band, p.row[0]);
        filter_chroma(p, frame, row);
        if (guide) store_guide(p, row, guide);
        if (tensor) store_tensor(p, row, tensor);
    }
}

}  // namespace CUTLINE_ISA
