// post: frame + network output + background -> composite, 4:2:0 in and out, in one pass over the full-size planes.
// In    y, u, v, any pitch, chroma step 1 or 2; the low-resolution stage's lines, colours and style difference
// Out   the same planes of the composite, uint8; alpha uint8[H][W] when asked for
// Map   row pair by row pair, in blocks of 32 luma pixels. A block whose low-resolution verdict is "transparent" or
//       "opaque" throughout is copied; adjoining ones are copied as one run. The formula gives the same bytes there.
//       A mixed block enlarges the low-resolution planes bilinearly (rows are kept, four per plane), evaluates
//       alpha = a * luma + b, takes the scene's colour out of the edge, and blends. Chroma takes alpha averaged over the
//       luma pixels that a left-sited sample stands for: (1 2 1)/4 across, (1 1)/2 down.
// Cost  reads 1.5 B and writes 1.5 B per pixel (+1.5 for a picture background, +1 for an alpha plane): 6.2 MB at 1080p,
//       0.6 ms per core at 10 GB/s from memory, 0.2 ms from the L3 cache
// Twin  reference.py::post; no allocation, no locks
#include "enlarge.h"
#include "stages.h"

namespace CUTLINE_ISA {

static constexpr int LUMA = BLOCK, CHROMA = BLOCK / 2;
static constexpr uint8_t TRANSPARENT_BLOCK = 2, OPAQUE_BLOCK = 1, MIXED_BLOCK = 3;

struct Pass {
    PostPlan& p;
    const PostJob& job;
    bool clean;            // take the scene's colour out of mixed pixels
    float product_style, scene_style;
    bool styled;
};

// ---- rows of bytes -------------------------------------------------------------------------------------------------

static inline uint8_t* at(const View& v, int row, int x) { return v.data + row * v.stride + x * v.step; }

// N samples: in place where that is possible, else gathered into `scratch`.
template <int N>
static inline const uint8_t* fetch(const View& v, int row, int x, int n, uint8_t* scratch) {
    const uint8_t* from = at(v, row, x);
    if (v.step == 1 && n == N) return from;
    for (int i = 0; i < n; i++) scratch[i] = from[i * v.step];
    return scratch;
}

// Where N codes can be written at once: in place for a whole block of a plain plane, else in `scratch`, for store().
template <int N>
static inline uint8_t* target(const View& v, int row, int x, int n, uint8_t* scratch) {
    return v.step == 1 && n == N ? at(v, row, x) : scratch;
}

static inline void store(const View& v, int row, int x, int n, const uint8_t* codes) {
    uint8_t* to = at(v, row, x);
    if (to == codes) return;
    for (int i = 0; i < n; i++) to[i * v.step] = codes[i];
}

static void fill(const View& v, int row, int x, int n, uint8_t code) {
    uint8_t* to = at(v, row, x);
    if (v.step == 1)
        __builtin_memset(to, code, (size_t)n);
    else
        for (int i = 0; i < n; i++) to[i * v.step] = code;
}

static void copy(const View& from, const View& to, int row, int x, int n) {
    const uint8_t* source = at(from, row, x);
    uint8_t* target = at(to, row, x);
    if (from.step == 1 && to.step == 1)
        __builtin_memcpy(target, source, (size_t)n);
    else
        for (int i = 0; i < n; i++) target[i * to.step] = source[i * from.step];
}

// ---- copied blocks -------------------------------------------------------------------------------------------------

// Row r of the pair (0, 1: luma, 2: chroma) of one plane of a field, rounded.
template <int N>
static void store_field(Field& f, int plane, int r, const View& v, int row, int first, int last, int count) {
    for (int block = first; block < last; block++) {
        want_block(f, block);
        const Strip from = strip(f, plane, r, block);
        const int x = block * N, n = count - x < N ? count - x : N;
        uint8_t scratch[N], *code = target<N>(v, row, x, n, scratch);
        for (int i = 0; i < N; i += LANES) save_codes(code + i, at(from, i));
        store(v, row, x, n, code);
    }
}

template <int N>
static void scene_run(const Pass& s, int c, int r, int row, int first, int last, int count) {
    const View& out = s.job.out.plane[c];
    const int x = first * N, n = (last * N < count ? last * N : count) - x;
    switch (s.job.kind) {
        case Behind::COLOUR: return fill(out, row, x, n, s.job.colour[c]);
        case Behind::PICTURE: return copy(s.job.background.plane[c], out, row, x, n);
        case Behind::ORIGINAL: return copy(s.job.frame.plane[c], out, row, x, n);
        case Behind::BLUR: return store_field<N>(s.p.blur, c, r, out, row, first, last, count);
        case Behind::TRANSPARENT:
            if (s.clean) return store_field<N>(s.p.tone, c, r, out, row, first, last, count);
            return copy(s.job.frame.plane[c], out, row, x, n);
    }
}

template <int N>
static void plain_run(const Pass& s, int c, int r, int row, int first, int last, int count, bool opaque) {
    if (!opaque) return scene_run<N>(s, c, r, row, first, last, count);
    const int x = first * N, n = (last * N < count ? last * N : count) - x;
    copy(s.job.frame.plane[c], s.job.out.plane[c], row, x, n);
}

static void plain_blocks(const Pass& s, int pair, int rows, int first, int last, bool opaque) {
    const int width = s.p.width, chroma_width = (width + 1) / 2;
    for (int r = 0; r < rows; r++) {
        const int y = 2 * pair + r;
        plain_run<LUMA>(s, 0, r, y, first, last, width, opaque);
        if (s.job.alpha.data) {
            const int x = first * LUMA, end = last * LUMA < width ? last * LUMA : width;
            fill(s.job.alpha, y, x, end - x, opaque ? 255 : 0);
        }
    }
    plain_run<CHROMA>(s, 1, 2, pair, first, last, chroma_width, opaque);
    plain_run<CHROMA>(s, 2, 2, pair, first, last, chroma_width, opaque);
}

// ---- mixed blocks --------------------------------------------------------------------------------------------------

// Where a block's scene comes from.
enum class From { CODE, PLANE, FIELD, NOWHERE };
struct Scene {
    float code;
    const uint8_t* plane;
    Strip field;
};

template <int N, From FROM, bool CLEAN>
static inline void blend(const uint8_t* pixel, const float* alpha, const Strip& front, const Strip& behind,
                         const Scene& scene, float* result) {
    for (int i = 0; i < N; i += LANES) {
        const Lanes opacity = load(alpha + i);
        Lanes product = load_codes(pixel + i);
        if (CLEAN) product = decontaminated(opacity, product, at(front, i), at(behind, i));
        if (FROM == From::CODE) product = composed(opacity, product, scene.code);
        if (FROM == From::PLANE) product = composed(opacity, product, load_codes(scene.plane + i));
        if (FROM == From::FIELD) product = composed(opacity, product, at(scene.field, i));
        save(result + i, product);
    }
}

template <int N, bool CLEAN>
static inline void blend_onto(const Pass& s, int c, int r, int row, int block, int n, const uint8_t* pixel,
                              const float* alpha, float* result) {
    const Strip front = CLEAN ? strip(s.p.tone, c, r, block) : Strip();
    const Strip behind = CLEAN ? strip(s.p.tone, 3 + c, r, block) : Strip();
    Scene scene = {};
    uint8_t scratch[N];
    switch (s.job.kind) {
        case Behind::COLOUR:
            scene.code = (float)s.job.colour[c];
            return blend<N, From::CODE, CLEAN>(pixel, alpha, front, behind, scene, result);
        case Behind::PICTURE:
            scene.plane = fetch<N>(s.job.background.plane[c], row, block * N, n, scratch);
            return blend<N, From::PLANE, CLEAN>(pixel, alpha, front, behind, scene, result);
        case Behind::BLUR:
            scene.field = strip(s.p.blur, c, r, block);
            return blend<N, From::FIELD, CLEAN>(pixel, alpha, front, behind, scene, result);
        default:   // the frame itself, or nothing
            return blend<N, From::NOWHERE, CLEAN>(pixel, alpha, front, behind, scene, result);
    }
}

// One plane of one block: N samples of `pixel`, composed into the output. The original background is never cleaned, so
// product and scene are the same there.
template <int N>
static inline void compose(const Pass& s, int c, int r, int row, int block, int n, const uint8_t* pixel,
                           const float* alpha) {
    alignas(64) float result[N];
    if (s.clean)
        blend_onto<N, true>(s, c, r, row, block, n, pixel, alpha, result);
    else
        blend_onto<N, false>(s, c, r, row, block, n, pixel, alpha, result);
    if (s.styled) {
        const Strip delta = strip(s.p.style, c, r, block);
        const bool straight = s.job.kind == Behind::TRANSPARENT;
        const float product = s.product_style, scene = straight ? product : s.scene_style;
        for (int i = 0; i < N; i += LANES)
            save(result + i, load(result + i) + at(delta, i) * composed(load(alpha + i), product, scene));
    }
    const View& out = s.job.out.plane[c];
    uint8_t scratch[N], *code = target<N>(out, row, block * N, n, scratch);
    for (int i = 0; i < N; i += LANES) save_codes(code + i, load(result + i));
    store(out, row, block * N, n, code);
}

// Opacity of one luma row of a block.
static inline void cover(const Pass& s, int r, int y, int block, const uint8_t* luma, float* __restrict alpha) {
    const PostPlan& p = s.p;
    const Strip a = strip(p.line, 0, r, block), b = strip(p.line, 1, r, block);
    for (int i = 0; i < LUMA; i += LANES) save(alpha + i, coverage(at(a, i), at(b, i), load_codes(luma + i)));
    const int x = block * LUMA;
    const bool inside = y >= p.top && y < p.bottom;
    if (inside && x >= p.left && x + LUMA <= p.right) return;
    for (int i = 0; i < LUMA; i++)
        if (!inside || x + i < p.left || x + i >= p.right) alpha[i] = 0.0f;
}

static inline void store_alpha(const Pass& s, int y, int x, int n, const float* alpha) {
    uint8_t scratch[LUMA], *code = target<LUMA>(s.job.alpha, y, x, n, scratch);
    for (int i = 0; i < LUMA; i += LANES) save_codes(code + i, load(alpha + i) * 255.0f);
    store(s.job.alpha, y, x, n, code);
}

// Opacity of a block's chroma samples; `before` is that of the pixel left of the block in both rows.
static inline void cover_chroma(const float* upper, const float* lower, float before, float* chroma) {
    alignas(64) float both[LUMA];
    for (int i = 0; i < LUMA; i += LANES) save(both + i, load(upper + i) + load(lower + i));
    for (int i = 0; i < CHROMA; i += LANES) {
        const Lanes middle = evens(both + 2 * i), right = odds(both + 2 * i);
        const Lanes left = after(i ? upper[2 * i - 1] + lower[2 * i - 1] : before, right);
        save(chroma + i, 0.125f * (left + right) + 0.25f * middle);
    }
}

// A product's edge is narrow and runs down the picture, so the processor does not guess the next rows' blocks. Inlined
// without fail, because GCC drops calls of a function that does nothing but prefetch.
CUTLINE_FN void fetch_samples(const View& view, int row, int x, int n) {
    __builtin_prefetch(at(view, row, x));
    __builtin_prefetch(at(view, row, x + n - 1));                 // in the same cache line, if rows are aligned
}

CUTLINE_FN void fetch_ahead(const Picture& picture, int pair, int block, int n, int height) {
    const int x = block * LUMA, chroma_n = (n + 1) / 2;
    if (2 * pair + 3 >= height) return;
    fetch_samples(picture.plane[0], 2 * pair + 2, x, n);
    fetch_samples(picture.plane[0], 2 * pair + 3, x, n);
    fetch_samples(picture.plane[1], pair + 1, x / 2, chroma_n);
    fetch_samples(picture.plane[2], pair + 1, x / 2, chroma_n);
}

static inline void want_blocks(const Pass& s, int pair, int block, int n) {
    want_block(s.p.line, block);
    if (s.clean) want_block(s.p.tone, block);
    if (s.job.kind == Behind::BLUR) want_block(s.p.blur, block);
    if (s.styled) want_block(s.p.style, block);
    fetch_ahead(s.job.frame, pair, block, n, s.p.height);
    if (s.job.kind == Behind::PICTURE) fetch_ahead(s.job.background, pair, block, n, s.p.height);
}

// `carry`: opacity of the pixel left of the block in both rows; on return, of the block's last pixel.
static void mixed_block(const Pass& s, int pair, int rows, int block, float carry[2]) {
    const int width = s.p.width, x = block * LUMA, n = width - x < LUMA ? width - x : LUMA;
    const int chroma_n = (n + 1) / 2;
    alignas(64) float alpha[2][LUMA + 16], chroma_alpha[CHROMA];
    float before = 0.0f;
    want_blocks(s, pair, block, n);
    for (int r = 0; r < rows; r++) {
        const int y = 2 * pair + r;
        uint8_t scratch[LUMA] = {};
        const uint8_t* luma = fetch<LUMA>(s.job.frame.plane[0], y, x, n, scratch);
        float* row = alpha[r];
        cover(s, r, y, block, luma, row);
        if (n & 1) row[n] = row[n - 1];
        before += (block ? carry[r] : row[0]) * (rows == 2 ? 1.0f : 2.0f);
        carry[r] = row[LUMA - 1];
        if (s.job.alpha.data) store_alpha(s, y, x, n, row);
        compose<LUMA>(s, 0, r, y, block, n, luma, row);
    }
    cover_chroma(alpha[0], alpha[rows - 1], before, chroma_alpha);
    for (int c = 1; c < 3; c++) {
        uint8_t scratch[CHROMA] = {};
        const uint8_t* pixel = fetch<CHROMA>(s.job.frame.plane[c], pair, block * CHROMA, chroma_n, scratch);
        compose<CHROMA>(s, c, 2, pair, block, chroma_n, pixel, chroma_alpha);
    }
}

// ---- which blocks --------------------------------------------------------------------------------------------------

// Ors the verdicts of the network columns that each block reads, row by row of the network, and what its place says.
static void judge_rows(PostPlan& p) {
    for (int row = 0; row < p.net_height; row++) {
        const uint8_t* verdict = p.verdict + (ptrdiff_t)row * p.stride;
        uint8_t* judged = p.row_verdict + (ptrdiff_t)row * p.block_stride;
        for (int block = 0; block < p.blocks; block++) {
            const int first = p.block_first[block], count = p.block_last[block] - first + 1;
            uint64_t merged = 0;
            for (int x = 0; x < count; x += 8) {
                uint64_t eight;
                __builtin_memcpy(&eight, verdict + first + x, 8);
                merged |= count - x < 8 ? eight & ((1ull << 8 * (count - x)) - 1) : eight;
            }
            merged |= merged >> 32;
            merged |= merged >> 16;
            judged[block] = (uint8_t)(((merged | merged >> 8) & p.block_mask[block]) | p.block_extra[block]);
        }
    }
    p.judged_first = p.judged_last = -1;
}

// Style reaches into blocks that would otherwise be copied.
static uint8_t judge_styled(const Pass& s, uint8_t verdict) {
    const bool product = s.product_style != 0.0f, straight = s.job.kind == Behind::TRANSPARENT;
    if (verdict == TRANSPARENT_BLOCK) return s.scene_style != 0.0f || (straight && product) ? MIXED_BLOCK : verdict;
    return verdict == OPAQUE_BLOCK && product ? MIXED_BLOCK : verdict;
}

static void judge_blocks(const Pass& s, int pair, int rows) {
    PostPlan& p = s.p;
    const int top = 2 * pair, bottom = top + rows, stride = p.block_stride;
    const bool outside = bottom <= p.top || top >= p.bottom, partly = top < p.top || bottom > p.bottom;
    const int first = p.net_y.index[top], last = p.net_y.index[bottom - 1] + 1;
    if (!partly && first == p.judged_first && last == p.judged_last) return;
    p.judged_first = partly ? -1 : first;
    p.judged_last = last;
    uint8_t* __restrict merged = p.block_verdict;
    __builtin_memset(merged, partly ? TRANSPARENT_BLOCK : 0, (size_t)stride);
    for (int row = first; !outside && row <= last && row < p.net_height; row++) {
        const uint8_t* __restrict verdict = p.row_verdict + (ptrdiff_t)row * stride;
        VECTOR_LOOP
        for (int block = 0; block < stride; block++) merged[block] |= verdict[block];
    }
    for (int block = 0; s.styled && block < p.blocks; block++) merged[block] = judge_styled(s, merged[block]);
}

static void aim_fields(const Pass& s, int pair, int rows) {
    PostPlan& p = s.p;
    aim(p.line, pair, rows, p.blocks);
    if (s.clean) aim(p.tone, pair, rows, p.blocks);
    if (s.job.kind == Behind::BLUR) aim(p.blur, pair, rows, p.blocks);
    if (s.styled) aim(p.style, pair, rows, p.blocks);
}

static void compose_pair(const Pass& s, int pair) {
    const PostPlan& p = s.p;
    const int rows = 2 * pair + 1 < p.height ? 2 : 1;
    judge_blocks(s, pair, rows);
    aim_fields(s, pair, rows);
    float carry[2] = {0.0f, 0.0f};
    for (int block = 0; block < p.blocks;) {
        const uint8_t verdict = p.block_verdict[block];
        if (verdict == MIXED_BLOCK) {
            mixed_block(s, pair, rows, block++, carry);
            continue;
        }
        int end = block + 1;
        while (end < p.blocks && p.block_verdict[end] == verdict) end++;
        plain_blocks(s, pair, rows, block, end, verdict == OPAQUE_BLOCK);
        carry[0] = carry[1] = verdict == OPAQUE_BLOCK ? 1.0f : 0.0f;
        block = end;
    }
}

static void copy_frame(const Pass& s) {
    for (int c = 0; c < 3; c++) {
        const int width = c ? (s.p.width + 1) / 2 : s.p.width, height = c ? (s.p.height + 1) / 2 : s.p.height;
        for (int row = 0; row < height; row++) copy(s.job.frame.plane[c], s.job.out.plane[c], row, 0, width);
    }
}

// The matte on the wide grid, which covers the whole frame: 0 outside the window.
static void spread_matte(const PostPlan& p, const float* matte) {
    for (int row = 0; row < p.wide.base_height; row++) {
        float* to = p.wide_matte + (ptrdiff_t)row * p.wide.base_width;
        const bool inside = row >= p.wide_top && row < p.wide_bottom;
        if (inside) resample(matte, p.net_width, p.wide_across, p.wide_down, row, to);
        for (int x = 0; x < p.wide.base_width; x++)
            if (!inside || x < p.wide_left || x >= p.wide_right) to[x] = 0.0f;
    }
}

static void low_resolution(const Pass& s) {
    PostPlan& p = s.p;
    lines(p, s.job);
    const bool blur = s.job.kind == Behind::BLUR, apart = blur && p.wide_blur;
    if (s.clean || (blur && !apart)) fill_colours(p.near, s.job.guide, s.job.matte);
    if (apart) {
        pre(*p.wide_pre, s.job.frame, nullptr, p.wide_guide);
        spread_matte(p, s.job.matte);
        fill_colours(p.wide, p.wide_guide, p.wide_matte);
    }
    if (blur) blur_scene(apart ? p.wide : p.near, s.job);
    if (s.styled) style_delta(p, s.job);
    judge_rows(p);
}

void post(PostPlan& p, const PostJob& job) {
    const bool wanted = job.style != nullptr && job.style_strength != 0.0f;
    const bool own_scene = job.kind == Behind::BLUR || job.kind == Behind::ORIGINAL;
    const float product = wanted && job.style_on != StyleOn::BACKGROUND ? job.style_strength : 0.0f;
    const float scene = wanted && own_scene && job.style_on != StyleOn::PRODUCT ? job.style_strength : 0.0f;
    const bool styled = product != 0.0f || scene != 0.0f;
    const Pass s = {p, job, p.decontaminate && job.kind != Behind::ORIGINAL, product, scene, styled};
    steady(p, job);
    if (job.kind == Behind::ORIGINAL && !styled && !job.alpha.data) return copy_frame(s);
    low_resolution(s);
    forget(p.line);
    forget(p.tone);
    forget(p.blur);
    forget(p.style);
    for (int pair = 0; pair < (p.height + 1) / 2; pair++) compose_pair(s, pair);
}

}  // namespace CUTLINE_ISA
