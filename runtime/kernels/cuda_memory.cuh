// Codes in global memory, up to 16 bytes at a time, and low-resolution planes enlarged.
#pragma once

#include "cuda_plan.cuh"

#ifndef KERNEL                             // the grid emulator of the tests has its own
#define KERNEL(bounds, name, Params) extern "C" __global__ void __launch_bounds__ bounds name(const __grid_constant__ Params p)
#endif
#define DEVICE static __device__ __forceinline__
#define BY_FOUR _Pragma("unroll 4")        // so that four loads are on their way
#define ROLLED _Pragma("unroll 1")         // loops of unknown length: unrolled, they double the code and save nothing

DEVICE int least(int a, int b) { return a < b ? a : b; }
DEVICE int most(int a, int b) { return a > b ? a : b; }
DEVICE int thread_of_block() { return (int)(threadIdx.y * blockDim.x + threadIdx.x); }

// Neither is negative, and said so it is one multiplication of 32 bits; a signed product of 64 takes four instructions.
DEVICE unsigned long long row_bytes(int row, int pitch) { return (unsigned long long)(unsigned)row * (unsigned)pitch; }

// ---- codes ---------------------------------------------------------------------------------------------------------

// N neighbouring samples, four to a word, the first in the lowest byte; N is 2 or a multiple of 4.
template <int N>
struct Codes {
    unsigned word[(N + 3) / 4];
};

template <int N> struct Words;
template <> struct Words<2> { typedef unsigned short type; };
template <> struct Words<4> { typedef unsigned type; };
template <> struct Words<8> { typedef uint2 type; };
template <> struct Words<16> { typedef uint4 type; };

template <int N>
DEVICE unsigned code_at(const Codes<N>& codes, int i) { return codes.word[i / 4] >> 8 * (i % 4) & 255u; }

template <int N>
DEVICE Codes<N> load_codes(const code_t* from) {
    union { typename Words<N>::type all; Codes<N> codes; } read;
    read.codes.word[0] = 0;
    read.all = *(const typename Words<N>::type*)from;
    return read.codes;
}

template <int N>
DEVICE void store_codes(code_t* to, const Codes<N>& codes) {
    union { typename Words<N>::type all; Codes<N> codes; } written;
    written.codes = codes;
    *(typename Words<N>::type*)to = written.all;
}

template <int N>
DEVICE Codes<N> same_codes(code_t code) {
    Codes<N> all;
    for (int i = 0; i < (N + 3) / 4; i++) all.word[i] = code * 0x01010101u;
    return all;
}

template <int N>
struct Chroma {
    Codes<N> u, v;
};

DEVICE code_t* luma_at(const Picture& picture, int row, int x) {
    return picture.y + row_bytes(row, picture.luma_pitch) + x;
}

DEVICE unsigned long long chroma_place(const Picture& picture, int row, int x) {
    return row_bytes(row, picture.chroma_pitch) + (unsigned)(picture.interleaved ? 2 * x : x);
}

template <int N>
DEVICE Chroma<N> load_chroma(const Picture& picture, int row, int x) {
    const unsigned long long place = chroma_place(picture, row, x);
    if (!picture.interleaved) return {load_codes<N>(picture.u + place), load_codes<N>(picture.v + place)};
    const Codes<2 * N> both = load_codes<2 * N>(picture.u + place);
    Chroma<N> chroma;
    for (int i = 0; i < (N + 3) / 4; i++) {
        const unsigned first = both.word[2 * i], second = N > 2 ? both.word[2 * i + 1] : 0;
        chroma.u.word[i] = __byte_perm(first, second, 0x6420);
        chroma.v.word[i] = __byte_perm(first, second, 0x7531);
    }
    return chroma;
}

template <int N>
DEVICE void store_chroma(const Picture& picture, int row, int x, const Chroma<N>& chroma) {
    const unsigned long long place = chroma_place(picture, row, x);
    if (!picture.interleaved) {
        store_codes<N>(picture.u + place, chroma.u);
        store_codes<N>(picture.v + place, chroma.v);
        return;
    }
    Codes<2 * N> both;
    for (int i = 0; i < (N + 3) / 4; i++) {
        both.word[2 * i] = __byte_perm(chroma.u.word[i], chroma.v.word[i], 0x5140);
        if (N > 2) both.word[2 * i + 1] = __byte_perm(chroma.u.word[i], chroma.v.word[i], 0x7362);
    }
    store_codes<2 * N>(picture.u + place, both);
}

// ---- low-resolution planes -----------------------------------------------------------------------------------------

DEVICE float between(float a, float b, float t) { return mix(a, b, t); }
DEVICE float2 between(float2 a, float2 b, float t) { return make_float2(mix(a.x, b.x, t), mix(a.y, b.y, t)); }
DEVICE float4 between(float4 a, float4 b, float t) {
    return make_float4(mix(a.x, b.x, t), mix(a.y, b.y, t), mix(a.z, b.z, t), mix(a.w, b.w, t));
}

// Positions of N neighbouring outputs, the first of them a multiple of N.
template <int N>
struct Places {
    int index[N];
    float frac[N];
};

DEVICE void load_places(const Axis& axis, int x, Places<4>& at) {
    const int4 index = *(const int4*)(axis.index + x);
    const float4 frac = *(const float4*)(axis.frac + x);
    at = {{index.x, index.y, index.z, index.w}, {frac.x, frac.y, frac.z, frac.w}};
}

DEVICE void load_places(const Axis& axis, int x, Places<2>& at) {
    const int2 index = *(const int2*)(axis.index + x);
    const float2 frac = *(const float2*)(axis.frac + x);
    at = {{index.x, index.y}, {frac.x, frac.y}};
}

// A plane's two rows that an output row lies between.
template <class T>
struct Rows {
    const T* plane;
    int upper, lower, last;                // where the rows start; the last column
    float frac;

    __device__ __forceinline__ T column(int x) const { return between(plane[upper + x], plane[lower + x], frac); }
    __device__ __forceinline__ T at(int x, float across) const {
        return between(column(x), column(least(x + 1, last)), across);
    }
};

template <class T>
DEVICE Rows<T> rows_at(const T* plane, const Grid& grid, const Axis& down, int row) {
    const int index = down.index[row], next = least(index + 1, grid.height - 1);
    return {plane, index * grid.width, next * grid.width, grid.width - 1, down.frac[row]};
}

// N neighbouring samples of an output row. As long as they read no more than three columns (up to three outputs to a
// column of the plane), those are mixed once and chosen from, without a branch.
template <int N, class T>
DEVICE void enlarge(const Rows<T>& rows, const Axis& across, int x, T* value) {
    Places<N> at;
    load_places(across, x, at);
    const int first = at.index[0];
    if (at.index[N - 1] - first > 1) {
        for (int i = 0; i < N; i++) value[i] = rows.at(at.index[i], at.frac[i]);
        return;
    }
    const T left = rows.column(first), middle = rows.column(least(first + 1, rows.last));
    const T right = rows.column(least(first + 2, rows.last));
    for (int i = 0; i < N; i++) {
        const bool same = at.index[i] == first;
        value[i] = between(same ? left : middle, same ? middle : right, at.frac[i]);
    }
}
