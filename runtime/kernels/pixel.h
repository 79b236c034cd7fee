// What happens to one pixel: written once, called from the CPU loops and from CUDA kernels.
//
// Units   luma and chroma are 8-bit codes held in floats (0..255), opacity and R'G'B' are 0..1
// Rounding   a code is stored as floor(clamp(v, 0, 255) + 0.5), everywhere, by store_code()
// Twin    reference.py, float64
// Every function has internal linkage: the file is compiled once per instruction set, and the linker must never
// hand the AVX-512 copy of an inline function to a processor that lacks it.
#pragma once

#ifdef __CUDACC__
#define CUTLINE_FN static __host__ __device__ inline
#else
#define CUTLINE_FN static inline __attribute__((always_inline))
#endif

typedef unsigned char code_t;

// V is float, or a vector of floats on a processor whose compiler has them (simd.h).
template <class V> CUTLINE_FN V splat(float v) { return v; }
template <class V> CUTLINE_FN V lesser(V a, V b) { return a < b ? a : b; }
template <class V> CUTLINE_FN V greater(V a, V b) { return a > b ? a : b; }
#ifdef __CUDA_ARCH__                       // one instruction each; they differ from the above for NaN alone
CUTLINE_FN float lesser(float a, float b) { return fminf(a, b); }
CUTLINE_FN float greater(float a, float b) { return fmaxf(a, b); }
#endif
template <class V> CUTLINE_FN V clamp(V v, float low, float high) {
    return lesser(greater(v, splat<V>(low)), splat<V>(high));
}
template <class V> CUTLINE_FN V clamp01(V v) { return clamp(v, 0.0f, 1.0f); }
template <class V, class T> CUTLINE_FN V mix(V a, V b, T t) { return a + (b - a) * t; }
CUTLINE_FN float magnitude(float v) { return v < 0.0f ? -v : v; }
CUTLINE_FN code_t store_code(float v) { return (code_t)(int)(clamp(v, 0.0f, 255.0f) + 0.5f); }

#ifdef __CUDA_ARCH__
CUTLINE_FN unsigned bits_of(float v) { return __float_as_uint(v); }
CUTLINE_FN float float_of(unsigned bits) { return __uint_as_float(bits); }
#else
CUTLINE_FN unsigned bits_of(float v) {
    unsigned bits;
    __builtin_memcpy(&bits, &v, 4);
    return bits;
}
CUTLINE_FN float float_of(unsigned bits) {
    float v;
    __builtin_memcpy(&v, &bits, 4);
    return v;
}
#endif

// By its bits: the loops are compiled without regard for NaN, which lets the compiler use plain minimum and maximum.
CUTLINE_FN bool is_nan(float v) { return (bits_of(v) & 0x7fffffffu) > 0x7f800000u; }

// ---- colour: ITU-R BT.601, 709, 2020 (non-constant luminance), narrow or full range --------------------------------

struct ColourMatrix {
    float luma_gain, luma_offset;         // y = code * luma_gain + luma_offset, in 0..1
    float chroma_gain;                    // cb = (code - 128) * chroma_gain, in -0.5..0.5
    float red_cr, green_cb, green_cr, blue_cb;
    float kr, kg, kb;                     // luma weights
    float luma_span, luma_black;          // code = y * luma_span + luma_black
    float cb_span, cr_span;               // code = (b - y) * cb_span + 128, (r - y) * cr_span + 128
};

struct Rgb {
    float r, g, b;
};
struct Yuv {
    float y, u, v;
};

CUTLINE_FN Rgb to_rgb(const ColourMatrix& m, Yuv c) {
    const float y = c.y * m.luma_gain + m.luma_offset;
    const float cb = (c.u - 128.0f) * m.chroma_gain, cr = (c.v - 128.0f) * m.chroma_gain;
    return {clamp01(y + m.red_cr * cr), clamp01(y - m.green_cb * cb - m.green_cr * cr), clamp01(y + m.blue_cb * cb)};
}

CUTLINE_FN Yuv to_yuv(const ColourMatrix& m, Rgb c) {
    const float y = m.kr * c.r + m.kg * c.g + m.kb * c.b;
    return {y * m.luma_span + m.luma_black, (c.b - y) * m.cb_span + 128.0f, (c.r - y) * m.cr_span + 128.0f};
}

// ---- number formats ------------------------------------------------------------------------------------------------

// IEEE binary16, round half to even; after F. Giesen's float_to_half_fast3_rtne. No NaN reaches it.
#ifdef __CUDA_ARCH__
CUTLINE_FN unsigned short to_half(float v) {                          // one instruction, the same bits
    unsigned short half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(v));
    return half;
}
#else
CUTLINE_FN unsigned short to_half(float v) {
    const unsigned bits = bits_of(v), sign = bits & 0x80000000u, size = bits ^ sign;
    const unsigned tiny = bits_of(float_of(size) + 0.5f) - 0x3f000000u;                  // subnormal: the adder rounds
    const unsigned normal = (size + 0xc8000fffu + ((size >> 13) & 1u)) >> 13;
    const unsigned magnitude_bits = size >= 0x47800000u ? 0x7c00u : (size < 0x38800000u ? tiny : normal);
    return (unsigned short)(magnitude_bits | (sign >> 16));
}
#endif

// bfloat16, round half to even. No NaN reaches it.
CUTLINE_FN unsigned short to_bfloat16(float v) {
    const unsigned bits = bits_of(v);
    return (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// Integer in [low, high], round half to even: adding 1.5 * 2^23 leaves no fraction bits.
CUTLINE_FN int to_integer(float v, float low, float high) {
    const float shifted = clamp(v, low, high) + 12582912.0f;
    return (int)(shifted - 12582912.0f);
}

// ---- matte ---------------------------------------------------------------------------------------------------------

// e^x, relative error below 3e-7 for -87 <= x <= 87, clamped outside.
CUTLINE_FN float exponential(float x) {
    const float t = clamp(x, -87.0f, 87.0f) * 1.44269504f;
    const float whole = (t + 12582912.0f) - 12582912.0f, f = (t - whole) * 0.69314718f;
    const float p = 1.0f + f * (1.0f + f * (0.5f + f * (1.6666667e-1f + f * (4.1666668e-2f + f * (8.3333338e-3f + f * 1.3888889e-3f)))));
    return p * float_of((unsigned)((int)whole + 127) << 23);
}

CUTLINE_FN float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

// Share of the past that a pixel keeps: `strength` where neither its luma nor its opacity has moved by more than noise,
// falling to 0 where either has. So the result is never further than ALPHA_MOVED * strength from the new value.
static constexpr float LUMA_STILL = 4.0f, LUMA_MOVED = 16.0f;     // codes
static constexpr float ALPHA_STILL = 0.1f, ALPHA_MOVED = 0.4f;    // opacity
CUTLINE_FN float memory(float strength, float luma_change, float alpha_change) {
    const float luma = clamp01((LUMA_MOVED - magnitude(luma_change)) * (1.0f / (LUMA_MOVED - LUMA_STILL)));
    const float alpha = clamp01((ALPHA_MOVED - magnitude(alpha_change)) * (1.0f / (ALPHA_MOVED - ALPHA_STILL)));
    return strength * luma * alpha;
}

// Alpha at the network's size: the averaged lines' value as far as luma explains alpha there, else what the network said.
static constexpr float EDGE_FLOOR = 1e-4f;                        // variance of alpha below which there is no edge
CUTLINE_FN float refined(float given, float line, float fit) { return mix(given, line, fit * fit); }

// ---- composition ---------------------------------------------------------------------------------------------------

// Opacity of a full-size pixel from the guided filter's line at that place.
template <class V> CUTLINE_FN V coverage(V a, V b, V luma) { return clamp01(a * luma + b); }

// Trust in a low-resolution pixel as pure foreground; of its complement, as pure background.
CUTLINE_FN float trust(float alpha) {
    const float square = alpha * alpha, fourth = square * square;
    return fourth * fourth;                                       // 0.5 counts 0.004, 0.9 counts 0.43
}

// Foreground colour of a mixed pixel: F = f + alpha (I - alpha f - (1 - alpha) b), Forte 2021 (blur fusion), eq. 2.
// Exactly I at alpha 1 and exactly f at alpha 0.
template <class V> CUTLINE_FN V decontaminated(V alpha, V pixel, V front, V behind) {
    const V rest = 1.0f - alpha;
    return clamp(front * (1.0f - alpha * alpha) + alpha * (pixel - rest * behind), 0.0f, 255.0f);
}

template <class V, class F, class B> CUTLINE_FN V composed(V alpha, F front, B behind) {
    return alpha * front + (1.0f - alpha) * behind;
}
