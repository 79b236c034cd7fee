// libcuda.so.1, libnvcuvid.so.1 and libnvidia-encode.so.1 for tests, in one file under three names: memory that copies
// really move, which other processes may open; a "decoder" whose n-th picture, in the order of decoding, is the n-th in
// a file; and an H.264 encoder that loses nothing. So FFmpeg's own code for NVDEC and NVENC, PyAV and cuda-bindings run
// as they are, on machines without a GPU.
//
// STUB_PICTURES: the file: width and height as 32-bit numbers, then NV12 pictures. Without it they are grey: luma
// n + 1, chroma n + 101. STUB_LOG: a file for what is worth knowing. STUB_REFUSES: neither codec opens.
// STUB_SHARES_NOTHING: memory cannot be shared. STUB_BREAKS=n: the n-th event that is waited for finds the device lost.
// STUB_FAILS=n: decoded pictures from the n-th on cannot be had.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))
typedef uint64_t u64;

static void note(const char* what, u64 a = 0) {
    if (const char* path = std::getenv("STUB_LOG"))
        if (FILE* file = std::fopen(path, "a")) {
            std::fprintf(file, "%s %llu\n", what, (unsigned long long)a);
            std::fclose(file);
        }
}

// ---- memory ---------------------------------------------------------------------------------------------------------

struct Block {
    int file;
    size_t nbytes;
};
static std::map<u64, Block> blocks;
struct Name {  // as FakeMemory writes it
    int process, file;
    u64 nbytes;
    char rest[48];
};

EXPORT int cuMemAlloc_v2(u64* address, size_t nbytes) {
    int file = memfd_create("stub-gpu", 0);
    if (ftruncate(file, nbytes)) return 2;
    *address = (u64)mmap(nullptr, nbytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    blocks[*address] = {file, nbytes};
    note("taken", nbytes);
    return 0;
}
EXPORT int cuMemFree_v2(u64 address) {
    Block& block = blocks.at(address);
    munmap((void*)address, block.nbytes);
    close(block.file);
    blocks.erase(address);
    return 0;
}
EXPORT int cuIpcGetMemHandle(Name* name, u64 address) {
    if (std::getenv("STUB_SHARES_NOTHING")) return 801;  // CUDA_ERROR_NOT_SUPPORTED
    *name = {getpid(), blocks.at(address).file, blocks.at(address).nbytes, {}};
    return 0;
}
EXPORT int cuIpcOpenMemHandle_v2(u64* address, Name name, unsigned) {
    char path[64];
    std::snprintf(path, sizeof path, "/proc/%d/fd/%d", name.process, name.file);
    int file = open(path, O_RDWR);
    if (file < 0 || name.process == getpid()) return 400;  // CUDA_ERROR_INVALID_HANDLE
    *address = (u64)mmap(nullptr, name.nbytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    blocks[*address] = {file, name.nbytes};
    note("opened", name.nbytes);
    return 0;
}
EXPORT int cuIpcCloseMemHandle(u64 address) {
    note("closed");
    return cuMemFree_v2(address);
}
EXPORT int cuMemHostRegister_v2(void*, size_t, unsigned) { return 0; }
EXPORT int cuMemHostGetDevicePointer_v2(u64* device, void* host, unsigned) { *device = (u64)host; return 0; }
EXPORT int cuMemHostUnregister(void*) { return 0; }

// Work of a stream is done when somebody waits for it, and not before: whoever forgets to order or to wait reads what
// was there. The default stream goes by 0 and 1.
struct Work {
    std::function<void()> act;
    u64 event;  // else: wait for what this one was recorded behind
};
struct Mark {
    u64 stream;
    size_t behind;
};
static std::recursive_mutex working;
static std::map<u64, std::vector<Work>> streams;
static std::map<u64, size_t> done;
static std::map<u64, Mark> marks;
static void run(u64 stream, size_t until) {
    while (done[stream] < until) {
        Work& next = streams[stream][done[stream]++];
        if (next.act) {
            next.act();
            next.act = nullptr;
        } else if (marks.count(next.event)) {
            run(marks[next.event].stream, marks[next.event].behind);
        }
    }
}
static int queue(u64 stream, std::function<void()> act, u64 event = 0) {
    std::lock_guard<std::recursive_mutex> hold(working);
    streams[stream > 1 ? stream : 0].push_back({act, event});
    return 0;
}
EXPORT int cuMemcpyAsync(u64 to, u64 from, size_t nbytes, u64 stream) {
    return queue(stream, [=] { std::memmove((void*)to, (void*)from, nbytes); });
}
EXPORT int cuMemsetD8Async(u64 to, unsigned char value, size_t nbytes, u64 stream) {
    return queue(stream, [=] { std::memset((void*)to, value, nbytes); });
}
struct Copy2D {  // CUDA_MEMCPY2D
    size_t from_x, from_y;
    int from_type, pad;
    void* from_host;
    u64 from_device;
    void* from_array;
    size_t from_pitch, to_x, to_y;
    int to_type, pad2;
    void* to_host;
    u64 to_device;
    void* to_array;
    size_t to_pitch, width, height;
};
EXPORT int cuMemcpy2DAsync_v2(const Copy2D* given, u64 stream) {
    const Copy2D c = *given;
    const char* from = c.from_type == 1 ? (char*)c.from_host : (char*)c.from_device;
    char* to = c.to_type == 1 ? (char*)c.to_host : (char*)c.to_device;
    std::vector<char> rows(c.width * c.height);  // taken now: a decoder's surface is gone by then
    for (size_t y = 0; y < c.height; y++)
        std::memcpy(&rows[y * c.width], from + (c.from_y + y) * c.from_pitch + c.from_x, c.width);
    return queue(stream, [=] {
        for (size_t y = 0; y < c.height; y++)
            std::memcpy(to + (c.to_y + y) * c.to_pitch + c.to_x, &rows[y * c.width], c.width);
    });
}
EXPORT int cuStreamSynchronize(u64 stream) {
    std::lock_guard<std::recursive_mutex> hold(working);
    stream = stream > 1 ? stream : 0;
    run(stream, streams[stream].size());
    return 0;
}
EXPORT int cuMemcpy2D_v2(const Copy2D* c) {
    cuMemcpy2DAsync_v2(c, 0);
    return cuStreamSynchronize(0);
}

// ---- device, context, streams, events: what is made is a number -----------------------------------------------------

static u64 made = 0x1000;
static thread_local std::vector<u64> contexts;
EXPORT int cuInit(unsigned) { return 0; }
EXPORT int cuDriverGetVersion(int* v) { *v = 13000; return 0; }
EXPORT int cuDeviceGetCount(int* n) { *n = 1; return 0; }
EXPORT int cuDeviceGet(int* device, int ordinal) { *device = ordinal; return ordinal ? 101 : 0; }
EXPORT int cuDeviceGetAttribute(int* v, int kind, int) {  // capability 8.9, textures aligned to 512 bytes
    *v = kind == 75 ? 8 : kind == 76 ? 9 : kind == 14 ? 512 : 0;
    return 0;
}
EXPORT int cuDeviceGetName(char* name, int n, int) { std::snprintf(name, n, "Stub"); return 0; }
EXPORT int cuDeviceTotalMem_v2(size_t* n, int) { *n = 1u << 30; return 0; }
EXPORT int cuDevicePrimaryCtxRetain(u64* context, int) { *context = 0x77; return 0; }
EXPORT int cuDevicePrimaryCtxRelease(int) { return 0; }
EXPORT int cuDevicePrimaryCtxRelease_v2(int) { return 0; }
EXPORT int cuDevicePrimaryCtxSetFlags(int, unsigned) { return 0; }
EXPORT int cuDevicePrimaryCtxGetState(int, unsigned* flags, int* active) { *flags = 0; *active = 0; return 0; }
EXPORT int cuCtxSetCurrent(u64 context) { contexts.assign(1, context); return 0; }
EXPORT int cuCtxPushCurrent_v2(u64 context) { contexts.push_back(context); return 0; }
EXPORT int cuCtxPopCurrent_v2(u64* context) {
    if (contexts.empty()) return 201;  // CUDA_ERROR_INVALID_CONTEXT
    *context = contexts.back();
    contexts.pop_back();
    return 0;
}
EXPORT int cuDeviceComputeCapability(int* major, int* minor, int) { *major = 8, *minor = 9; return 0; }
EXPORT int cuCtxCreate_v2(u64* context, unsigned, int) { contexts.push_back(*context = ++made); return 0; }
EXPORT int cuCtxDestroy_v2(u64 context) { note("context destroyed", context); return 0; }
EXPORT int cuCtxGetCurrent(u64* context) {
    *context = contexts.empty() ? 0 : contexts.back();
    if (contexts.empty()) note("no context is current");
    return 0;
}
EXPORT int cuCtxGetStreamPriorityRange(int* low, int* high) { *low = 0; *high = -5; return 0; }
EXPORT int cuMemGetInfo_v2(size_t* left, size_t* total) { *left = 1u << 29; *total = 1u << 30; return 0; }
EXPORT int cuStreamCreateWithPriority(u64* stream, unsigned, int) { *stream = ++made; return 0; }
EXPORT int cuStreamDestroy_v2(u64) { return 0; }
EXPORT int cuStreamWaitEvent(u64 stream, u64 event, unsigned) { return queue(stream, nullptr, event); }
EXPORT int cuEventCreate(u64* event, unsigned) { *event = ++made; return 0; }
EXPORT int cuEventDestroy_v2(u64) { return 0; }
EXPORT int cuEventRecord(u64 event, u64 stream) {
    std::lock_guard<std::recursive_mutex> hold(working);
    stream = stream > 1 ? stream : 0;
    marks[event] = {stream, streams[stream].size()};
    return 0;
}
EXPORT int cuEventSynchronize(u64 event) {
    std::lock_guard<std::recursive_mutex> hold(working);
    if (marks.count(event)) run(marks[event].stream, marks[event].behind);
    static int waited = 0;
    const char* breaks = std::getenv("STUB_BREAKS");
    return breaks && ++waited >= std::atoi(breaks) ? 719 : 0;  // CUDA_ERROR_LAUNCH_FAILED
}
EXPORT int cuGetErrorName(int, const char** text) { *text = "CUDA_ERROR_STUB"; return 0; }
EXPORT int cuGetErrorString(int, const char** text) { *text = "because"; return 0; }
static int nothing() { return 801; }
#define NOT_HERE(name) EXPORT int name() { return nothing(); }
NOT_HERE(cuCtxSetLimit) 
NOT_HERE(cuMemAllocPitch_v2) NOT_HERE(cuCtxGetDevice) NOT_HERE(cuDevicePrimaryCtxReset) NOT_HERE(cuStreamCreate)
NOT_HERE(cuStreamQuery) NOT_HERE(cuStreamAddCallback) NOT_HERE(cuEventQuery) NOT_HERE(cuLaunchKernel)
NOT_HERE(cuModuleLoadData) NOT_HERE(cuModuleUnload) NOT_HERE(cuModuleGetFunction) NOT_HERE(cuTexObjectCreate)
NOT_HERE(cuTexObjectDestroy) NOT_HERE(cuGLGetDevices_v2) NOT_HERE(cuGraphicsGLRegisterImage)
NOT_HERE(cuGraphicsUnregisterResource) NOT_HERE(cuGraphicsMapResources) NOT_HERE(cuGraphicsUnmapResources)
NOT_HERE(cuGraphicsSubResourceGetMappedArray) NOT_HERE(cuArrayDestroy) NOT_HERE(cuArray3DCreate_v2)
NOT_HERE(cuArrayCreate_v2) NOT_HERE(cuGraphicsResourceGetMappedPointer_v2) NOT_HERE(cuModuleGetGlobal)
NOT_HERE(cuLinkDestroy) NOT_HERE(cuLinkComplete) NOT_HERE(cuLinkAddData) NOT_HERE(cuLinkCreate)
NOT_HERE(cuMemcpyDtoDAsync_v2) NOT_HERE(cuMemcpyDtoD_v2) NOT_HERE(cuMemcpyDtoHAsync_v2) NOT_HERE(cuMemcpyDtoH_v2)
NOT_HERE(cuMemcpyHtoDAsync_v2) NOT_HERE(cuMemcpyHtoD_v2) NOT_HERE(cuMemcpy) NOT_HERE(cuMemAllocManaged)

// How cuda-bindings find every function: a name stands for its newest version.
EXPORT int cuGetProcAddress_v2(const char* symbol, void** found, int, u64, int* status) {
    if (status) *status = 0;
    void* self = dlopen("libcuda.so.1", RTLD_NOLOAD | RTLD_LAZY);
    for (const char* suffix : {"_v2", ""})
        if (void* function = dlsym(self, (std::string(symbol) + suffix).c_str())) {
            *found = function;
            return 0;
        }
    *found = (void*)nothing;
    return 0;
}

// ---- NVDEC ----------------------------------------------------------------------------------------------------------

struct Caps {  // CUVIDDECODECAPS
    int codec, chroma;
    unsigned depth, reserved[3];
    unsigned char supported, more[3];
    unsigned max_width, max_height, max_blocks;
    unsigned short min_width, min_height;
};
struct CreateInfo {  // the beginning of CUVIDDECODECREATEINFO
    unsigned long width, height, surfaces;
};
struct PicParams {  // the beginning of CUVIDPICPARAMS
    int blocks_wide, blocks_high, index;
};
struct Decoder {
    unsigned long width, height, pitch;
    int decoded = 0;
    std::map<int, int> pictures;  // what lies in each surface
};

EXPORT int cuvidGetDecoderCaps(Caps* caps) {
    caps->supported = !std::getenv("STUB_REFUSES");
    caps->more[1] = 3;  // nOutputFormatMask, in later headers
    caps->max_width = caps->max_height = 8192;
    caps->max_blocks = 1 << 20;
    caps->min_width = caps->min_height = 16;
    return 0;
}
EXPORT int cuvidCreateDecoder(Decoder** decoder, const CreateInfo* info) {
    *decoder = new Decoder{info->width, info->height, (info->width + 255) / 256 * 256, 0, {}};
    note("decoder", info->surfaces);
    return 0;
}
EXPORT int cuvidDestroyDecoder(Decoder* decoder) { delete decoder; return 0; }
EXPORT int cuvidDecodePicture(Decoder* decoder, const PicParams* picture) {
    decoder->pictures[picture->index] = decoder->decoded++;
    return 0;
}
EXPORT int cuvidMapVideoFrame64(Decoder* decoder, int index, u64* address, unsigned* pitch, void*) {
    const size_t luma = decoder->pitch * decoder->height;
    int n = decoder->pictures.at(index);
    const char* fails = std::getenv("STUB_FAILS");
    if (fails && n >= std::atoi(fails)) return 719;
    char* surface = (char*)std::malloc(luma * 3 / 2);
    *address = (u64)surface;
    *pitch = decoder->pitch;
    std::memset(surface, n + 1, luma);
    std::memset(surface + luma, n + 101, luma / 2);
    if (const char* path = std::getenv("STUB_PICTURES")) {
        FILE* file = std::fopen(path, "rb");
        unsigned size[2];
        bool read = std::fread(size, sizeof size, 1, file) == 1;
        std::fseek(file, (long)n * size[0] * size[1] * 3 / 2, SEEK_CUR);
        for (unsigned y = 0; read && y < size[1] * 3 / 2; y++) {
            char* rows = y < size[1] ? surface + y * decoder->pitch : surface + luma + (y - size[1]) * decoder->pitch;
            read = std::fread(rows, size[0], 1, file) == 1;
        }
        std::fclose(file);
        if (!read) return 1;
    }
    return 0;
}
EXPORT int cuvidUnmapVideoFrame64(Decoder*, u64 address) { std::free((void*)address); return 0; }
NOT_HERE(cuvidGetDecodeStatus) NOT_HERE(cuvidReconfigureDecoder) NOT_HERE(cuvidCtxLockCreate)
NOT_HERE(cuvidCtxLockDestroy) NOT_HERE(cuvidCtxLock) NOT_HERE(cuvidCtxUnlock) NOT_HERE(cuvidCreateVideoSource)
NOT_HERE(cuvidCreateVideoSourceW) NOT_HERE(cuvidDestroyVideoSource) NOT_HERE(cuvidSetVideoSourceState)
NOT_HERE(cuvidGetVideoSourceState) NOT_HERE(cuvidGetSourceVideoFormat) NOT_HERE(cuvidGetSourceAudioFormat)
NOT_HERE(cuvidCreateVideoParser) NOT_HERE(cuvidParseVideoData) NOT_HERE(cuvidDestroyVideoParser)

// ---- NVENC: every picture an IDR picture of I_PCM blocks (ITU-T H.264, 7.3), its samples as they are ----------------

struct Bits {
    std::vector<unsigned char> bytes;
    int used = 0;  // bits of the last byte
    void put(unsigned value, int bits) {
        for (int i = bits - 1; i >= 0; i--) {
            if (used == 0) bytes.push_back(0);
            bytes.back() |= ((value >> i) & 1) << (7 - used);
            used = (used + 1) % 8;
        }
    }
    void ue(unsigned value) {  // Exp-Golomb
        int bits = 0;
        while ((value + 1) >> (bits + 1)) bits++;
        put(0, bits);
        put(value + 1, bits + 1);
    }
    void align() { while (used) put(0, 1); }
    void end() { put(1, 1); align(); }
};
static void append_unit(std::vector<unsigned char>& out, int header, const Bits& bits) {
    out.insert(out.end(), {0, 0, 0, 1, (unsigned char)header});
    int zeros = 0;
    for (unsigned char byte : bits.bytes) {
        if (zeros == 2 && byte < 4) {
            out.push_back(3);
            zeros = 0;
        }
        zeros = byte ? 0 : zeros + 1;
        out.push_back(byte);
    }
}

struct Input {  // a registered resource, or a buffer of NVENC's own
    unsigned width, height, pitch;
    bool planar;  // YV12, or NV12
    unsigned char* at;
};
struct Coded {
    std::vector<unsigned char> bytes;
    u64 time;
};
struct Encoder {
    unsigned width = 0, height = 0;
    int pictures = 0;
};

static std::vector<unsigned char> headers(const Encoder& e) {
    unsigned wide = (e.width + 15) / 16, high = (e.height + 15) / 16;
    Bits sps, pps;
    sps.put(66, 8), sps.put(0xC0, 8), sps.put(51, 8), sps.ue(0), sps.ue(4), sps.ue(2), sps.ue(1), sps.put(0, 1);
    sps.ue(wide - 1), sps.ue(high - 1), sps.put(1, 1), sps.put(1, 1), sps.put(1, 1);
    sps.ue(0), sps.ue((wide * 16 - e.width) / 2), sps.ue(0), sps.ue((high * 16 - e.height) / 2);
    sps.put(0, 1), sps.end();
    pps.ue(0), pps.ue(0), pps.put(0, 2), pps.ue(0), pps.ue(0), pps.ue(0);
    pps.put(0, 3), pps.ue(0), pps.ue(0), pps.ue(0);
    pps.put(1, 1), pps.put(0, 2), pps.end();
    std::vector<unsigned char> found;
    append_unit(found, 0x67, sps);
    append_unit(found, 0x68, pps);
    return found;
}
static std::vector<unsigned char> coded(Encoder& e, const Input& in) {
    Bits slice;
    slice.ue(0), slice.ue(7), slice.ue(0), slice.put(0, 8), slice.ue(e.pictures++ & 1);
    slice.put(0, 2), slice.ue(0), slice.ue(1);
    const unsigned char* chroma = in.at + (size_t)in.pitch * in.height;
    auto sample = [&](int plane, unsigned x, unsigned y) -> unsigned char {
        unsigned last_x = (plane ? e.width / 2 : e.width) - 1, last_y = (plane ? e.height / 2 : e.height) - 1;
        x = x < last_x ? x : last_x, y = y < last_y ? y : last_y;
        if (!plane) return in.at[(size_t)y * in.pitch + x];
        if (!in.planar) return chroma[(size_t)y * in.pitch + 2 * x + plane - 1];
        return chroma[(size_t)(plane == 1 ? in.height / 2 : 0) * (in.pitch / 2) + (size_t)y * (in.pitch / 2) + x];
    };
    for (unsigned top = 0; top < e.height; top += 16)
        for (unsigned left = 0; left < e.width; left += 16) {
            slice.ue(25);
            slice.align();
            for (int plane = 0; plane < 3; plane++) {
                unsigned side = plane ? 8 : 16, x0 = plane ? left / 2 : left, y0 = plane ? top / 2 : top;
                for (unsigned y = 0; y < side; y++)
                    for (unsigned x = 0; x < side; x++) slice.bytes.push_back(sample(plane, x0 + x, y0 + y));
            }
        }
    slice.end();
    std::vector<unsigned char> found;
    append_unit(found, 0x65, slice);
    return found;
}

struct Guid { unsigned char bytes[16]; };
static const Guid H264 = {
    {0x62, 0x27, 0xc8, 0x6b, 0x63, 0x4e, 0xa4, 0x4c, 0xaa, 0x85, 0x1e, 0x50, 0xf3, 0x21, 0xf6, 0xbf}};
struct InitializeParams { unsigned version; Guid codec, preset; unsigned width, height; };
struct CreateBitstream { unsigned version, size, heap, reserved; Coded* buffer; };
struct CreateInput { unsigned version, width, height, heap, format, reserved; Input* buffer; };
struct LockInput { unsigned version, flags; Input* buffer; void* data; unsigned pitch; };
struct Register { unsigned version, type, width, height, pitch, index; unsigned char* at; Input* registered; };
struct MapInput { unsigned version, index; void* unused; Input* registered; Input* mapped; unsigned format; };
struct Picture {
    unsigned version, width, height, pitch, flags, index;
    u64 time, duration;
    Input* input;
    Coded* output;
};
struct LockBitstream {
    unsigned version, flags;
    Coded* output;
    unsigned* slices;
    unsigned index, status, slice_count, nbytes;
    u64 time, duration;
    void* data;
    unsigned type, structure;
};
struct SequencePayload { unsigned version, room, sps, pps; void* buffer; unsigned* nbytes; };

static int open_session(void*, Encoder** e) {
    if (std::getenv("STUB_REFUSES")) return 2;  // NV_ENC_ERR_UNSUPPORTED_DEVICE
    *e = new Encoder;
    note("encoder opened");
    return 0;
}
static int destroy_encoder(Encoder* e) { delete e; note("encoder closed"); return 0; }
static int guid_count(Encoder*, unsigned* n) { *n = 1; return 0; }
static int guids(Encoder*, Guid* found, unsigned, unsigned* n) { *found = H264; *n = 1; return 0; }
static int caps(Encoder*, Guid, void*, int* value) { *value = 8192; return 0; }
static int initialize(Encoder* e, InitializeParams* p) { e->width = p->width, e->height = p->height; return 0; }
static int create_bitstream(Encoder*, CreateBitstream* c) { c->buffer = new Coded; return 0; }
static int destroy_bitstream(Encoder*, Coded* c) { delete c; return 0; }
static int create_input(Encoder*, CreateInput* c) {
    unsigned pitch = (c->width + 63) / 64 * 64;
    c->buffer = new Input{c->width, c->height, pitch, true, (unsigned char*)std::calloc(pitch * 2, c->height)};
    return 0;
}
static int destroy_input(Encoder*, Input* input) { std::free(input->at); delete input; return 0; }
static int lock_input(Encoder*, LockInput* l) { l->data = l->buffer->at, l->pitch = l->buffer->pitch; return 0; }
static int register_resource(Encoder*, Register* r) {
    note("registered", r->pitch);
    r->registered = new Input{r->width, r->height, r->pitch, false, r->at};
    return 0;
}
static int unregister(Encoder*, Input* input) { delete input; note("unregistered"); return 0; }
static int map_input(Encoder*, MapInput* m) { m->mapped = m->registered, m->format = 1; return 0; }
static int encode(Encoder* e, Picture* p) {
    if (p->flags & 8) return 0;  // the end
    p->output->bytes = coded(*e, *p->input);
    p->output->time = p->time;
    return 0;
}
static int lock_bitstream(Encoder*, LockBitstream* l) {
    l->data = l->output->bytes.data();
    l->nbytes = l->output->bytes.size();
    l->time = l->output->time;
    l->type = 3, l->structure = 1;  // IDR, frame
    return 0;
}
static int sequence(Encoder* e, SequencePayload* s) {
    std::vector<unsigned char> found = headers(*e);
    *s->nbytes = found.size();
    std::memcpy(s->buffer, found.data(), found.size());
    return 0;
}
static const char* last_error(Encoder*) { return "because"; }
static int fine() { return 0; }
EXPORT int NvEncodeAPIGetMaxSupportedVersion(unsigned* v) { *v = 14 << 4; return 0; }
EXPORT int NvEncodeAPICreateInstance(void** list) {  // after its version
    for (int i = 1; i <= 41; i++) list[i] = (void*)fine;
    std::map<int, void*> known = {
        {2, (void*)guid_count}, {5, (void*)guids}, {8, (void*)caps}, {12, (void*)initialize}, {13, (void*)create_input},
        {14, (void*)destroy_input}, {15, (void*)create_bitstream}, {16, (void*)destroy_bitstream},
        {17, (void*)encode}, {18, (void*)lock_bitstream}, {20, (void*)lock_input}, {23, (void*)sequence},
        {26, (void*)map_input},
        {28, (void*)destroy_encoder}, {30, (void*)open_session}, {31, (void*)register_resource},
        {32, (void*)unregister}, {38, (void*)last_error},
    };
    for (auto [index, function] : known) list[index] = function;
    return 0;
}
