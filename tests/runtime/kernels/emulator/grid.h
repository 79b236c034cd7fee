// A GPU's grid on the host, for tests: enough of CUDA C++ to compile runtime/kernels/cuda.cu with a C++ compiler.
//
// Blocks run one after the other. The threads of a block are fibers: each runs until it meets a barrier or ends, then the
// next one does. So a missing barrier shows when threads run in the opposite order, which the caller may ask for. Shared
// memory lies in a section of its own and is all ones when a block begins: what was not written shows.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static __attribute__((section("shared_memory")))

struct int2 { alignas(8) int x; int y; };
struct uint2 { alignas(8) unsigned x; unsigned y; };
struct uint4 { alignas(16) unsigned x; unsigned y, z, w; };
struct int4 { alignas(16) int x; int y, z, w; };
struct float2 { alignas(8) float x; float y; };
struct float4 { alignas(16) float x; float y, z, w; };
struct Index { unsigned x, y, z; };

static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

static Index gridDim, blockDim, blockIdx, threadIdx;

int meet(int value);                       // a barrier; returns the threads' values, ored

static inline void __syncthreads() { meet(0); }
static inline int __syncthreads_or(int value) { return meet(value) != 0; }

// PTX ISA, prmt.b32, default mode, without sign replication
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
    const uint64_t bytes = (uint64_t)b << 32 | a;
    unsigned result = 0;
    for (int i = 0; i < 4; i++) result |= (unsigned)(bytes >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i;
    return result;
}

static inline unsigned __dp4a(unsigned a, unsigned b, unsigned sum) {
    for (int i = 0; i < 4; i++) sum += (a >> 8 * i & 255) * (b >> 8 * i & 255);
    return sum;
}

static inline void atomicAdd(unsigned long long* at, unsigned long long value) { *at += value; }

struct KernelEntry {
    const char* name;
    void (*call)(const void* params);
    size_t params_bytes;
    KernelEntry* next;
    static KernelEntry* first;
    KernelEntry(const char* n, void (*c)(const void*), size_t bytes) : name(n), call(c), params_bytes(bytes), next(first) {
        first = this;
    }
};

#define KERNEL(bounds, name, Params)                                                                                   \
    static void name(const Params p);                                                                                  \
    static KernelEntry name##_entry(#name, [](const void* params) { name(*(const Params*)params); }, sizeof(Params));  \
    static void name(const Params p)
