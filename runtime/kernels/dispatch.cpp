#include "dispatch.h"

#define DECLARE(ISA)                                                                                        \
    namespace ISA {                                                                                         \
    void pre(const PrePlan& p, const Picture& frame, void* tensor, uint8_t* guide);                         \
    void post(PostPlan& p, const PostJob& job);                                                             \
    }

#if defined(__x86_64__)
DECLARE(avx512)
DECLARE(avx2)
DECLARE(baseline)

// x86-64-v4, v3 and v2, feature by feature; the operating system's consent is part of what the builtin asks.
static bool has_avx2() {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2");
}
static bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
static bool has_baseline() { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt"); }

static const struct {
    Kernels kernels;
    bool (*usable)();
} KNOWN[] = {{{"avx512", avx512::pre, avx512::post}, has_avx512},
             {{"avx2", avx2::pre, avx2::post}, has_avx2},
             {{"baseline", baseline::pre, baseline::post}, has_baseline}};
#elif defined(__aarch64__)
DECLARE(neon)
static bool always() { return true; }   // NEON is part of the architecture
static const struct {
    Kernels kernels;
    bool (*usable)();
} KNOWN[] = {{{"neon", neon::pre, neon::post}, always}};
#else
#error "no kernels for this processor: x86-64 and aarch64 are supported"
#endif

static constexpr int TOTAL = sizeof(KNOWN) / sizeof(KNOWN[0]);

int kernels_count() {
    int count = 0;
    for (const auto& known : KNOWN) count += known.usable();
    return count;
}

const Kernels& kernels_at(int index) {
    for (int i = 0; i < TOTAL; i++)
        if (KNOWN[i].usable() && index-- == 0) return KNOWN[i].kernels;
    return KNOWN[TOTAL - 1].kernels;
}
