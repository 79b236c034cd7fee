// libcuda.so.1 for tests: every call succeeds, but taking a pebibyte; what is made is a number; a log has every call.
// So the real cuda-bindings convert and pass our arguments, on machines without a GPU.
#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

static std::string log_text;
static uint64_t next_handle = 0x1000;
static int note(const char* name, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0) {
    char line[160];
    typedef unsigned long long wide;
    std::snprintf(line, sizeof line, "%s %llu %llu %llu\n", name, (wide)a, (wide)b, (wide)c);
    log_text += line;
    return 0;
}
static int anything() { return 0; }

#define EXPORT extern "C" __attribute__((visibility("default")))
typedef uint64_t u64;
EXPORT int cuInit(unsigned flags) { return note("cuInit", flags); }
static int version() {
    const char* given = std::getenv("STUB_DRIVER_VERSION");
    return given ? std::atoi(given) : 13000;
}
EXPORT int cuDriverGetVersion(int* v) { *v = version(); return 0; }
EXPORT int cuDeviceGet(int* d, int ordinal) { *d = ordinal; return note("cuDeviceGet", ordinal); }
EXPORT int cuDeviceGetAttribute(int* v, int kind, int) { *v = kind == 75 ? 8 : kind == 76 ? 9 : 0; return 0; }
EXPORT int cuDeviceGetName(char* name, int n, int) { std::snprintf(name, n, "Stub"); return 0; }
EXPORT int cuDeviceTotalMem_v2(size_t* n, int) { *n = 1u << 30; return 0; }
EXPORT int cuDevicePrimaryCtxRetain(u64* c, int) { *c = 0x77; return note("cuDevicePrimaryCtxRetain"); }
EXPORT int cuDevicePrimaryCtxRelease_v2(int d) { return note("cuDevicePrimaryCtxRelease", d); }
EXPORT int cuCtxSetCurrent(u64 c) { return note("cuCtxSetCurrent", c); }
EXPORT int cuCtxGetStreamPriorityRange(int* low, int* high) { *low = 0; *high = -5; return 0; }
EXPORT int cuMemGetInfo_v2(size_t* f, size_t* t) { *f = 1u << 29; *t = 1u << 30; return 0; }
EXPORT int cuMemAlloc_v2(u64* p, size_t n) {
    if (n > (1ull << 40)) return 2;
    *p = 0x10000;
    return note("cuMemAlloc", n);
}
EXPORT int cuMemFree_v2(u64 p) { return note("cuMemFree", p); }
EXPORT int cuMemHostRegister_v2(void* p, size_t n, unsigned f) { return note("cuMemHostRegister", (u64)p, n, f); }
EXPORT int cuMemHostGetDevicePointer_v2(u64* d, void* p, unsigned) { *d = (u64)p + 1; return 0; }
EXPORT int cuMemHostUnregister(void* p) { return note("cuMemHostUnregister", (u64)p); }
EXPORT int cuMemcpyAsync(u64 d, u64 s, size_t n, u64) { return note("cuMemcpyAsync", d, s, n); }
EXPORT int cuMemsetD8Async(u64 d, unsigned char v, size_t n, u64) { return note("cuMemsetD8Async", d, v, n); }
EXPORT int cuStreamCreateWithPriority(u64* s, unsigned f, int p) {
    *s = ++next_handle;
    return note("cuStreamCreateWithPriority", f, (u64)-p);
}
EXPORT int cuStreamDestroy_v2(u64 s) { return note("cuStreamDestroy", s); }
EXPORT int cuStreamWaitEvent(u64 s, u64 e, unsigned f) { return note("cuStreamWaitEvent", s, e, f); }
EXPORT int cuStreamBeginCapture_v2(u64 s, int m) { return note("cuStreamBeginCapture", s, m); }
EXPORT int cuStreamEndCapture(u64 s, u64* g) { *g = ++next_handle; return note("cuStreamEndCapture", s); }
EXPORT int cuEventCreate(u64* e, unsigned f) { *e = ++next_handle; return note("cuEventCreate", f); }
EXPORT int cuEventDestroy_v2(u64 e) { return note("cuEventDestroy", e); }
EXPORT int cuEventRecord(u64 e, u64 s) { return note("cuEventRecord", e, s); }
EXPORT int cuEventRecordWithFlags(u64 e, u64 s, unsigned f) { return note("cuEventRecordWithFlags", e, s, f); }
// While it is held, an event does not come; after five seconds that is CUDA_ERROR_LAUNCH_TIMEOUT.
static std::atomic<bool> held{false};
EXPORT void stub_hold(int hold) { held = hold; }
EXPORT int cuEventSynchronize(u64 e) {
    for (int turn = 0; held && turn < 5000; turn++) usleep(1000);
    return held ? 702 : note("cuEventSynchronize", e);
}
EXPORT int cuEventElapsedTime(float* ms, u64, u64) { *ms = 1.5f; return 0; }
EXPORT int cuEventElapsedTime_v2(float* ms, u64, u64) { *ms = 1.5f; return 0; }
EXPORT int cuModuleLoadData(u64* m, const void* image) {
    *m = ++next_handle;
    return note("cuModuleLoadData", ((const char*)image)[1]);
}
EXPORT int cuModuleUnload(u64 m) { return note("cuModuleUnload", m); }
EXPORT int cuModuleGetFunction(u64* f, u64 m, const char* name) { *f = ++next_handle; return note(name, m); }
EXPORT int cuLaunchKernel(u64, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned, unsigned, unsigned shared,
                          u64, void** params, void**) {
    u64 first;
    std::memcpy(&first, params[0], 8);
    return note("cuLaunchKernel", gx * 10000 + gy * 100 + gz, bx * 1000 + shared, first);
}
EXPORT int cuGraphInstantiateWithFlags(u64* x, u64 g, u64 f) {
    *x = ++next_handle;
    return note("cuGraphInstantiate", g, f);
}
EXPORT int cuGraphUpload(u64 x, u64 s) { return note("cuGraphUpload", x, s); }
EXPORT int cuGraphLaunch(u64 x, u64 s) { return note("cuGraphLaunch", x, s); }
EXPORT int cuGraphExecDestroy(u64 x) { return note("cuGraphExecDestroy", x); }
EXPORT int cuGraphDestroy(u64 g) { return note("cuGraphDestroy", g); }
EXPORT int cuGetErrorString(int, const char** text) { *text = "because"; return 0; }
EXPORT const char* stub_log() { return log_text.c_str(); }

// How cuda-bindings find every function: a name stands for its newest version.
EXPORT int cuGetProcAddress_v2(const char* symbol, void** found, int wanted, u64, int* status) {
    static const char* suffixes[] = {"_v2", "", "_v3", "WithFlags"};
    if (status) *status = wanted > version() ? 2 : 0;  // CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
    if (wanted > version()) {
        *found = nullptr;
        return 0;
    }
    for (const char* suffix : suffixes) {
        void* self = dlopen("libcuda.so.1", RTLD_NOLOAD | RTLD_LAZY);
        if (void* function = dlsym(self, (std::string(symbol) + suffix).c_str())) {
            *found = function;
            return 0;
        }
    }
    *found = (void*)anything;
    return 0;
}
