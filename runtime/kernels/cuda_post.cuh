// cutline_post: frame + low-resolution stages + background -> composite, 4:2:0 in and out, one pass over full-size planes.
// In    y, u, v or interleaved uv, rows at multiples of 16 bytes; lines, colours, blurred scene and style difference at low resolution
// Out   the composite in either layout, uint8; alpha uint8[H][W] when asked for
// Map   a block is a tile of 128 x 16 luma pixels, 128 threads. It asks the low-resolution verdicts first: a tile that is
//       opaque or transparent throughout is copied, 16 bytes a thread, and never touches the planes that it does not show;
//       the formula gives the same bytes there. In a mixed tile a thread composes 4 x 2 luma pixels and 2 of each chroma
//       plane, so a warp writes whole rows of the tile. Chroma takes alpha averaged over the luma pixels that a left-sited sample stands for: (1 2 1)/4 across,
//       (1 1)/2 down; the pixel left of a thread's own is computed twice rather than exchanged.
// Cost  reads 1.5 B and writes 1.5 B per pixel (+1.5 for a picture background, +1 for an alpha plane). A copied tile is bound
//       by memory; a mixed one by arithmetic on cards with HBM. See DESIGN.md.
// Twin  reference_post.py::post; no allocation, no sync: safe under graph capture
#pragma once

#include "cuda_memory.cuh"

static constexpr int TILE_COLUMNS = 128, TILE_ROWS = 16;
static constexpr int LUMA = 4, CHROMA = 2;     // samples of a plane's row that a thread composes
static constexpr int TRANSPARENT_TILE = 2, OPAQUE_TILE = 1, MIXED_TILE = 3;

// ---- which tiles ---------------------------------------------------------------------------------------------------

// The verdicts of all network pixels that the tile reads, the pixel left of it included (chroma reads it).
DEVICE int judge_tile(const ComposeParams& p, int left, int top) {
    const int right = least(left + TILE_COLUMNS, p.width), bottom = least(top + TILE_ROWS, p.height);
    if (right <= p.left || left > p.right || bottom <= p.top || top >= p.bottom) return TRANSPARENT_TILE;
    const int first = p.net.luma_x.index[most(left - 1, 0)], upper = p.net.luma_y.index[top];
    const int columns = least(p.net.luma_x.index[right - 1] + 1, p.net.width - 1) - first + 1;
    const int rows = least(p.net.luma_y.index[bottom - 1] + 1, p.net.height - 1) - upper + 1;
    const bool partly = left < p.left || right > p.right || top < p.top || bottom > p.bottom;
    int verdict = partly ? TRANSPARENT_TILE : 0;
    ROLLED for (int cell = thread_of_block(); cell < columns * rows; cell += (int)(blockDim.x * blockDim.y))
        verdict |= p.verdict[(upper + cell / columns) * p.net.width + first + cell % columns];
    const int product = __syncthreads_or(verdict & OPAQUE_TILE), scene = __syncthreads_or(verdict & TRANSPARENT_TILE);
    return (product ? OPAQUE_TILE : 0) | (scene ? TRANSPARENT_TILE : 0);
}

// Whether a tile of this verdict is more than a copy: where the scene is computed, and where style reaches.
DEVICE bool composed_tile(const ComposeParams& p, int verdict) {
    if (verdict == MIXED_TILE) return true;
    if (verdict == OPAQUE_TILE) return p.styled;
    if (p.kind == BLUR || (p.kind == TRANSPARENT && p.clean)) return true;
    return p.styled && (p.kind == ORIGINAL || p.kind == TRANSPARENT);
}

// ---- copied tiles --------------------------------------------------------------------------------------------------

DEVICE void copy_tile(const ComposeParams& p, const Picture* from, int left, int top, code_t alpha) {
    const int thread = thread_of_block(), x = left + thread % 8 * 16, y = top + thread / 8;
    if (x < p.width && y < p.height) {
        store_codes<16>(luma_at(p.out, y, x), from ? load_codes<16>(luma_at(*from, y, x)) : same_codes<16>(p.colour[0]));
        if (p.alpha) store_codes<16>(p.alpha + row_bytes(y, p.alpha_pitch) + x, same_codes<16>(alpha));
    }
    const int cx = x / 2, cy = top / 2 + thread / 8;
    if (thread >= 64 || cx >= (p.width + 1) / 2 || cy >= (p.height + 1) / 2) return;
    const Chroma<8> plain = {same_codes<8>(p.colour[1]), same_codes<8>(p.colour[2])};
    store_chroma<8>(p.out, cy, cx, from ? load_chroma<8>(*from, cy, cx) : plain);
}

// ---- mixed tiles ---------------------------------------------------------------------------------------------------

// What one sample is made of. front, behind: product's and scene's colour there; scene: what is to be seen behind.
template <bool STYLED>
DEVICE float sample(const ComposeParams& p, bool clean, float alpha, float pixel, float front, float behind, float scene,
                    float delta, float on_product, float on_scene) {
    float value = clean ? decontaminated(alpha, pixel, front, behind) : pixel;
    if (p.kind != ORIGINAL && p.kind != TRANSPARENT) value = composed(alpha, value, scene);
    return STYLED ? value + delta * composed(alpha, on_product, on_scene) : value;
}

// Strength of the style on product and scene.
struct Strengths {
    float product, scene;
};

template <bool STYLED>
DEVICE Strengths strengths_of(const ComposeParams& p) {
    if (!STYLED) return {0.0f, 0.0f};
    const float product = p.strengths[0];
    return {product, p.kind == TRANSPARENT ? product : p.strengths[1]};
}

// Opacity of LUMA pixels of a row, and before them of the one to their left (at the frame's edge, of the first again).
// edged: one that the tile reads lies outside of the window; the others ask no pixel where it is.
DEVICE void cover(const ComposeParams& p, bool edged, int x, int y, const Codes<LUMA>& luma, float* alpha) {
    const Rows<float2> rows = rows_at(p.line, p.net, p.net.luma_y, y);
    const int before = most(x - 1, 0);
    float2 line[LUMA + 1];
    line[0] = rows.at(p.net.luma_x.index[before], p.net.luma_x.frac[before]);
    enlarge<LUMA>(rows, p.net.luma_x, x, line + 1);
    alpha[0] = coverage(line[0].x, line[0].y, (float)*luma_at(p.frame, y, before));
    for (int i = 1; i <= LUMA; i++) alpha[i] = coverage(line[i].x, line[i].y, (float)code_at(luma, i - 1));
    if (!edged) return;
    for (int i = 0; i <= LUMA; i++) {
        const int column = i ? x + i - 1 : before;
        if (column < p.left || column >= p.right || y < p.top || y >= p.bottom) alpha[i] = 0.0f;
        if (i > 1 && column == p.width) alpha[i] = alpha[i - 1];   // an odd width's last chroma sample reads it
    }
}

template <bool BLURRED, bool STYLED>
DEVICE void compose_luma(const ComposeParams& p, int x, int y, const Codes<LUMA>& luma, const float* alpha, bool clean) {
    const Strengths style = strengths_of<STYLED>(p);
    Codes<LUMA> background = same_codes<LUMA>(p.colour[0]), result = {};
    float2 tone[LUMA] = {};                        // of the product, of the scene
    float blur[LUMA] = {}, delta[LUMA] = {};
    if (p.kind == PICTURE) background = load_codes<LUMA>(luma_at(p.background, y, x));
    if (clean) enlarge<LUMA>(rows_at(p.tone_luma, p.tone, p.tone.luma_y, y), p.tone.luma_x, x, tone);
    if (BLURRED) enlarge<LUMA>(rows_at(p.blur_luma, p.blur, p.blur.luma_y, y), p.blur.luma_x, x, blur);
    if (STYLED) enlarge<LUMA>(rows_at(p.style_luma, p.net, p.net.luma_y, y), p.net.luma_x, x, delta);
    for (int i = 0; i < LUMA; i++) {
        const float value = sample<STYLED>(p, clean, alpha[i], (float)code_at(luma, i), tone[i].x, tone[i].y,
                                           BLURRED ? blur[i] : (float)code_at(background, i), delta[i], style.product, style.scene);
        result.word[i / 4] |= (unsigned)store_code(value) << 8 * (i % 4);
    }
    store_codes<LUMA>(luma_at(p.out, y, x), result);
}

DEVICE void store_alpha(const ComposeParams& p, int x, int y, const float* alpha) {
    Codes<LUMA> codes = {};
    for (int i = 0; i < LUMA; i++) codes.word[i / 4] |= (unsigned)store_code(alpha[i] * 255.0f) << 8 * (i % 4);
    store_codes<LUMA>(p.alpha + row_bytes(y, p.alpha_pitch) + x, codes);
}

template <bool BLURRED, bool STYLED>
DEVICE void compose_chroma(const ComposeParams& p, int x, int y, const float* alpha, bool clean) {
    const Strengths style = strengths_of<STYLED>(p);
    const Chroma<CHROMA> pixel = load_chroma<CHROMA>(p.frame, y, x);
    Chroma<CHROMA> background = {same_codes<CHROMA>(p.colour[1]), same_codes<CHROMA>(p.colour[2])}, result = {};
    float4 tone[CHROMA] = {};                      // of the product, of the scene, Cb and Cr each
    float2 blur[CHROMA] = {}, delta[CHROMA] = {};
    if (p.kind == PICTURE) background = load_chroma<CHROMA>(p.background, y, x);
    if (clean) enlarge<CHROMA>(rows_at(p.tone_chroma, p.tone, p.tone.chroma_y, y), p.tone.chroma_x, x, tone);
    if (BLURRED) enlarge<CHROMA>(rows_at(p.blur_chroma, p.blur, p.blur.chroma_y, y), p.blur.chroma_x, x, blur);
    if (STYLED) enlarge<CHROMA>(rows_at(p.style_chroma, p.net, p.net.chroma_y, y), p.net.chroma_x, x, delta);
    for (int i = 0; i < CHROMA; i++) {
        const float code_u = (float)code_at(background.u, i), code_v = (float)code_at(background.v, i);
        const float u = sample<STYLED>(p, clean, alpha[i], (float)code_at(pixel.u, i), tone[i].x, tone[i].z,
                                       BLURRED ? blur[i].x : code_u, delta[i].x, style.product, style.scene);
        const float v = sample<STYLED>(p, clean, alpha[i], (float)code_at(pixel.v, i), tone[i].y, tone[i].w,
                                       BLURRED ? blur[i].y : code_v, delta[i].y, style.product, style.scene);
        result.u.word[0] |= (unsigned)store_code(u) << 8 * i;
        result.v.word[0] |= (unsigned)store_code(v) << 8 * i;
    }
    store_chroma<CHROMA>(p.out, y, x, result);
}

// Two rows of LUMA pixels and the chroma between them. Where the verdict says it, opacity is not computed; and of a
// product that is not there, neither is the colour.
template <bool BLURRED, bool STYLED>
DEVICE void compose_pair(const ComposeParams& p, int verdict, bool edged, int x, int y) {
    const bool clean = p.clean && (verdict != TRANSPARENT_TILE || p.kind == TRANSPARENT);
    float both[LUMA + 1] = {};
    for (int r = 0; r < 2; r++) {
        if (y + r >= p.height) {                   // an odd height's last row counts twice
            for (int i = 0; i <= LUMA; i++) both[i] *= 2.0f;
            break;
        }
        const Codes<LUMA> luma = load_codes<LUMA>(luma_at(p.frame, y + r, x));
        float alpha[LUMA + 1];
        for (int i = 0; i <= LUMA; i++) alpha[i] = verdict == OPAQUE_TILE ? 1.0f : 0.0f;
        if (verdict == MIXED_TILE) cover(p, edged, x, y + r, luma, alpha);
        if (p.alpha) store_alpha(p, x, y + r, alpha + 1);
        compose_luma<BLURRED, STYLED>(p, x, y + r, luma, alpha + 1, clean);
        for (int i = 0; i <= LUMA; i++) both[i] += alpha[i];
    }
    float chroma[CHROMA];
    for (int i = 0; i < CHROMA; i++) chroma[i] = 0.125f * (both[2 * i] + both[2 * i + 2]) + 0.25f * both[2 * i + 1];
    compose_chroma<BLURRED, STYLED>(p, x / 2, y / 2, chroma, clean);
}

template <bool BLURRED, bool STYLED>
DEVICE void compose_tile(const ComposeParams& p, int verdict, int left, int top) {
    const int x = left + (int)threadIdx.x * LUMA;
    if (x >= p.width) return;
    const bool edged = left <= p.left || left + TILE_COLUMNS > p.right || top < p.top || top + TILE_ROWS > p.bottom;
    ROLLED for (int y = top + 2 * (int)threadIdx.y; y < least(top + TILE_ROWS, p.height); y += 2 * (int)blockDim.y)
        compose_pair<BLURRED, STYLED>(p, verdict, edged, x, y);
}

template <bool BLURRED, bool STYLED>
DEVICE void post(const ComposeParams& p) {
    const int left = (int)blockIdx.x * TILE_COLUMNS, top = (int)blockIdx.y * TILE_ROWS;
    const int verdict = p.line ? judge_tile(p, left, top) : OPAQUE_TILE;   // no lines: the frame itself is wanted
    if (p.line && composed_tile(p, verdict)) return compose_tile<BLURRED, STYLED>(p, verdict, left, top);
    if (verdict == OPAQUE_TILE) return copy_tile(p, &p.frame, left, top, 255);
    copy_tile(p, p.kind == COLOUR ? nullptr : p.kind == PICTURE ? &p.background : &p.frame, left, top, 0);
}

KERNEL((128, 8), cutline_post, ComposeParams) { post<false, false>(p); }
KERNEL((128, 7), cutline_post_blur, ComposeParams) { post<true, false>(p); }
KERNEL((128, 7), cutline_post_style, ComposeParams) { post<false, true>(p); }
KERNEL((128, 6), cutline_post_blur_style, ComposeParams) { post<true, true>(p); }
