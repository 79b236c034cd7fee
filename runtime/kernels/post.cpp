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
#include "stages.h"

namespace CUTLINE_ISA {

#define VECTOR_LOOP _Pragma("GCC ivdep")

static constexpr int LUMA = BLOCK, CHROMA = BLOCK / 2;
static constexpr uint8_t TRANSPARENT_BLOCK = 2, OPAQUE_BLOCK = 1, MIXED_BLOCK = 3;

struct Pass {
    PostPlan& p;
    const PostJob& job;
    bool clean;            // take the scene's colour out of mixed pixels
    float product_style, scene_style;
};

// ---- enlarged low-resolution planes --------------------------------------------------------------------------------

template <int N>
static const float* enlarged(Field& f, int row, int block) {
    const int slot = row & 3;
    const ptrdiff_t start = (ptrdiff_t)block * N;
    if (f.held[slot] != row) {
        f.held[slot] = row;
        __builtin_memset(f.done[slot], 0, (size_t)((f.across->count + N - 1) / N));
    }
    float* __restrict to = f.row[slot] + start;
    if (!f.done[slot][block]) {
        f.done[slot][block] = 1;
        const float* from = f.data + (ptrdiff_t)row * f.stride;
        const int32_t* index = f.across->index + start;
        const float* frac = f.across->frac + start;
        for (int i = 0; i < N; i++) to[i] = mix(from[index[i]], from[index[i] + 1], frac[i]);
    }
    return to;
}

template <int N>
static void sample(Field& f, int y, int block, float* __restrict out) {
    const int row = f.down->index[y];
    const float frac = f.down->frac[y];
    const float* upper = enlarged<N>(f, row, block);
    const float* lower = enlarged<N>(f, row + 1, block);
    VECTOR_LOOP
    for (int i = 0; i < N; i++) out[i] = mix(upper[i], lower[i], frac);
}

// ---- rows of bytes -------------------------------------------------------------------------------------------------

static inline uint8_t* at(const View& v, int row, int x) { return v.data + row * v.stride + x * v.step; }

// N samples: in place where that is possible, else gathered into `scratch`.
template <int N>
static const uint8_t* load(const View& v, int row, int x, int n, uint8_t* scratch) {
    const uint8_t* from = at(v, row, x);
    if (v.step == 1 && n == N) return from;
    for (int i = 0; i < n; i++) scratch[i] = from[i * v.step];
    return scratch;
}

static void store(const View& v, int row, int x, int n, const uint8_t* codes) {
    uint8_t* to = at(v, row, x);
    if (v.step == 1)
        __builtin_memcpy(to, codes, (size_t)n);
    else
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

template <int N>
static void store_field(Field& f, const View& v, int row, int first, int last, int count) {
    for (int block = first; block < last; block++) {
        float value[N];
        uint8_t code[N];
        sample<N>(f, row, block, value);
        for (int i = 0; i < N; i++) code[i] = store_code(value[i]);
        const int x = block * N, n = count - x < N ? count - x : N;
        store(v, row, x, n, code);
    }
}

template <int N>
static void scene_run(const Pass& s, int c, int row, int first, int last, int count) {
    const View& out = s.job.out.plane[c];
    const int x = first * N, n = (last * N < count ? last * N : count) - x;
    switch (s.job.kind) {
        case Behind::COLOUR: return fill(out, row, x, n, s.job.colour[c]);
        case Behind::PICTURE: return copy(s.job.background.plane[c], out, row, x, n);
        case Behind::ORIGINAL: return copy(s.job.frame.plane[c], out, row, x, n);
        case Behind::BLUR: return store_field<N>(s.p.blur[c], out, row, first, last, count);
        case Behind::TRANSPARENT:
            if (s.clean) return store_field<N>(s.p.front[c], out, row, first, last, count);
            return copy(s.job.frame.plane[c], out, row, x, n);
    }
}

template <int N>
static void plain_run(const Pass& s, int c, int row, int first, int last, int count, bool opaque) {
    if (!opaque) return scene_run<N>(s, c, row, first, last, count);
    const int x = first * N, n = (last * N < count ? last * N : count) - x;
    copy(s.job.frame.plane[c], s.job.out.plane[c], row, x, n);
}

static void plain_blocks(const Pass& s, int pair, int rows, int first, int last, bool opaque) {
    const int width = s.p.width, chroma_width = (width + 1) / 2;
    for (int y = 2 * pair; y < 2 * pair + rows; y++) {
        plain_run<LUMA>(s, 0, y, first, last, width, opaque);
        if (s.job.alpha.data) {
            const int x = first * LUMA, end = last * LUMA < width ? last * LUMA : width;
            fill(s.job.alpha, y, x, end - x, opaque ? 255 : 0);
        }
    }
    plain_run<CHROMA>(s, 1, pair, first, last, chroma_width, opaque);
    plain_run<CHROMA>(s, 2, pair, first, last, chroma_width, opaque);
}

// ---- mixed blocks --------------------------------------------------------------------------------------------------

template <int N>
static void scene_colour(const Pass& s, int c, int row, int block, int n, const uint8_t* pixel, float* __restrict scene) {
    const int x = block * N;
    switch (s.job.kind) {
        case Behind::COLOUR:
            for (int i = 0; i < N; i++) scene[i] = (float)s.job.colour[c];
            return;
        case Behind::PICTURE: {
            uint8_t scratch[N] = {};
            const uint8_t* from = load<N>(s.job.background.plane[c], row, x, n, scratch);
            for (int i = 0; i < N; i++) scene[i] = (float)from[i];
            return;
        }
        case Behind::BLUR: return sample<N>(s.p.blur[c], row, block, scene);
        default:
            for (int i = 0; i < N; i++) scene[i] = (float)pixel[i];
    }
}

// One plane of one block: N samples of `pixel`, composed into the output.
template <int N>
static void compose(const Pass& s, int c, int row, int block, int n, const uint8_t* pixel, const float* alpha) {
    float product[N], scene[N];
    uint8_t code[N];
    if (s.clean) {
        float behind[N];
        sample<N>(s.p.front[c], row, block, product);
        sample<N>(s.p.behind[c], row, block, behind);
        for (int i = 0; i < N; i++) product[i] = decontaminated(alpha[i], (float)pixel[i], product[i], behind[i]);
    } else {
        for (int i = 0; i < N; i++) product[i] = (float)pixel[i];
    }
    const bool straight = s.job.kind == Behind::TRANSPARENT;
    if (!straight) {
        scene_colour<N>(s, c, row, block, n, pixel, scene);
        for (int i = 0; i < N; i++) product[i] = composed(alpha[i], product[i], scene[i]);
    }
    if (s.product_style != 0.0f || s.scene_style != 0.0f) {
        float delta[N];
        sample<N>(s.p.style[c], row, block, delta);
        for (int i = 0; i < N; i++)
            product[i] += delta[i] * composed(straight ? 1.0f : alpha[i], s.product_style, s.scene_style);
    }
    for (int i = 0; i < N; i++) code[i] = store_code(product[i]);
    store(s.job.out.plane[c], row, block * N, n, code);
}

// Opacity of one luma row of a block.
static void cover(const Pass& s, int y, int block, const uint8_t* luma, float* __restrict alpha) {
    const PostPlan& p = s.p;
    float a[LUMA], b[LUMA];
    sample<LUMA>(s.p.field_a, y, block, a);
    sample<LUMA>(s.p.field_b, y, block, b);
    for (int i = 0; i < LUMA; i++) alpha[i] = coverage(a[i], b[i], (float)luma[i]);
    const int x = block * LUMA;
    const bool inside = y >= p.top && y < p.bottom;
    if (inside && x >= p.left && x + LUMA <= p.right) return;
    for (int i = 0; i < LUMA; i++)
        if (!inside || x + i < p.left || x + i >= p.right) alpha[i] = 0.0f;
}

// `carry`: opacity of the pixel left of the block in both rows; on return, of the block's last pixel.
static void mixed_block(const Pass& s, int pair, int rows, int block, float carry[2]) {
    const int width = s.p.width, x = block * LUMA, n = width - x < LUMA ? width - x : LUMA;
    const int chroma_n = (n + 1) / 2;
    float alpha[2][LUMA + 2], chroma_alpha[CHROMA];
    for (int r = 0; r < rows; r++) {
        const int y = 2 * pair + r;
        uint8_t scratch[LUMA] = {};
        const uint8_t* luma = load<LUMA>(s.job.frame.plane[0], y, x, n, scratch);
        float* row = alpha[r] + 1;
        cover(s, y, block, luma, row);
        row[-1] = block ? carry[r] : row[0];
        row[n] = row[n - 1];
        carry[r] = row[LUMA - 1];
        if (s.job.alpha.data) {
            uint8_t code[LUMA];
            for (int i = 0; i < LUMA; i++) code[i] = store_code(row[i] * 255.0f);
            store(s.job.alpha, y, x, n, code);
        }
        compose<LUMA>(s, 0, y, block, n, luma, row);
    }
    const float *upper = alpha[0] + 1, *lower = alpha[rows - 1] + 1;
    for (int i = 0; i < CHROMA; i++) {
        const float left = upper[2 * i - 1] + lower[2 * i - 1], right = upper[2 * i + 1] + lower[2 * i + 1];
        chroma_alpha[i] = 0.125f * (left + right) + 0.25f * (upper[2 * i] + lower[2 * i]);
    }
    for (int c = 1; c < 3; c++) {
        uint8_t scratch[CHROMA] = {};
        const uint8_t* pixel = load<CHROMA>(s.job.frame.plane[c], pair, block * CHROMA, chroma_n, scratch);
        compose<CHROMA>(s, c, pair, block, chroma_n, pixel, chroma_alpha);
    }
}

// ---- which blocks --------------------------------------------------------------------------------------------------

static void judge_blocks(const Pass& s, int pair, int rows) {
    PostPlan& p = s.p;
    const int top = 2 * pair, bottom = top + rows;
    const bool none = bottom <= p.top || top >= p.bottom, some = top < p.top || bottom > p.bottom;
    const int first = p.net_y.index[top], last = p.net_y.index[bottom - 1] + 1;
    const int width = p.net_width;
    uint8_t* __restrict merged = p.verdict_row;
    __builtin_memset(merged, 0, (size_t)width + 1);
    for (int row = first; row <= last && row < p.net_height; row++) {
        const uint8_t* __restrict verdict = p.verdict + (ptrdiff_t)row * p.stride;
        VECTOR_LOOP
        for (int x = 0; x < width; x++) merged[x] |= verdict[x];
    }
    for (int block = 0; block < p.blocks; block++) {
        uint8_t verdict = some ? 2 : 0;
        for (int x = p.block_first[block]; x <= p.block_last[block]; x++) verdict |= merged[x];
        const int left = block * LUMA - 1, right = left + 1 + LUMA < p.width ? left + 1 + LUMA : p.width;
        if (left < p.left || right > p.right) verdict |= 2;
        if (none || right <= p.left || left >= p.right) verdict = TRANSPARENT_BLOCK;
        if (verdict == TRANSPARENT_BLOCK && s.scene_style != 0.0f) verdict = MIXED_BLOCK;
        if (verdict == OPAQUE_BLOCK && s.product_style != 0.0f) verdict = MIXED_BLOCK;
        if (s.job.kind == Behind::TRANSPARENT && s.product_style != 0.0f) verdict = MIXED_BLOCK;
        p.block_verdict[block] = verdict;
    }
}

static void compose_pair(const Pass& s, int pair) {
    const PostPlan& p = s.p;
    const int rows = 2 * pair + 1 < p.height ? 2 : 1;
    judge_blocks(s, pair, rows);
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

static void forget(Field& f) {
    for (int slot = 0; slot < 4; slot++) f.held[slot] = -1;
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
    if (s.product_style != 0.0f || s.scene_style != 0.0f) style_delta(p, s.job);
}

void post(PostPlan& p, const PostJob& job) {
    const bool styled = job.style != nullptr && job.style_strength != 0.0f;
    const bool own_scene = job.kind == Behind::BLUR || job.kind == Behind::ORIGINAL;
    const Pass s = {p, job, p.decontaminate && job.kind != Behind::ORIGINAL,
                    styled && job.style_on != StyleOn::BACKGROUND ? job.style_strength : 0.0f,
                    styled && own_scene && job.style_on != StyleOn::PRODUCT ? job.style_strength : 0.0f};
    steady(p, job);
    if (job.kind == Behind::ORIGINAL && !styled && !job.alpha.data) return copy_frame(s);
    low_resolution(s);
    forget(p.field_a);
    forget(p.field_b);
    for (int c = 0; c < 3; c++) {
        forget(p.front[c]);
        forget(p.behind[c]);
        forget(p.blur[c]);
        forget(p.style[c]);
    }
    for (int pair = 0; pair < (p.height + 1) / 2; pair++) compose_pair(s, pair);
}

}  // namespace CUTLINE_ISA
