#include "plans.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <functional>
#include <new>

void Arena::Free::operator()(void* address) const { free(address); }

void* Arena::take_bytes(size_t bytes) {
    const size_t rounded = (bytes + 127) / 64 * 64;
    void* address = aligned_alloc(64, rounded);
    if (!address) throw std::bad_alloc();
    blocks_.emplace_back(address);
    memset(address, 0, rounded);
    return address;
}

using Position = std::function<double(int)>;   // output sample -> source sample

// ---- resize filters ------------------------------------------------------------------------------------------------

// Scales weights to integers that sum to `one` exactly; the largest takes the rounding. Halves go down, and what only
// rounding noise keeps from being a half too, so that the twin comes to the same integers.
static std::vector<int> quantised(const std::vector<double>& weights, int one) {
    std::vector<int> whole;
    int sum = 0;
    for (double w : weights) {
        whole.push_back((int)floor(w * one + 0.5 - 1e-9));
        sum += whole.back();
    }
    *std::max_element(whole.begin(), whole.end()) += one - sum;
    return whole;
}

struct Tap {
    int first;
    std::vector<double> weights;
};

// Triangle of half width max(1, step) around each position; samples outside low .. high are the nearest one inside.
static std::vector<Tap> triangles(int count, const Position& position, double step, int low, int high) {
    const double reach = std::max(1.0, step);
    std::vector<Tap> all;
    for (int i = 0; i < count; i++) {
        const double centre = std::clamp(position(i), low - reach, high + reach);
        const int from = (int)ceil(centre - reach), to = (int)floor(centre + reach);
        const int first = std::clamp(from, low, high), last = std::clamp(to, low, high);
        std::vector<double> weights((size_t)(last - first + 1), 0.0);
        double sum = 0.0;
        for (int k = from; k <= to; k++) {
            const double w = std::max(0.0, 1.0 - fabs(k - centre) / reach);
            weights[(size_t)(std::clamp(k, low, high) - first)] += w;
            sum += w;
        }
        if (sum <= 0.0) weights[0] = sum = 1.0;    // only edge samples of zero weight: any of them is the edge
        for (double& w : weights) w /= sum;
        const auto counts = [](double w) { return w > 0.0; };
        const auto begin = std::find_if(weights.begin(), weights.end(), counts);
        const auto end = std::find_if(weights.rbegin(), weights.rend(), counts).base();
        all.push_back({first + (int)(begin - weights.begin()), std::vector<double>(begin, end)});
    }
    return all;
}

static int most_taps(const std::vector<Tap>& all) {
    size_t taps = 1;
    for (const Tap& tap : all) taps = std::max(taps, tap.weights.size());
    return (int)taps;
}

// Weights in 128ths, two rows at a time. A lone tap of 128 is split, since 128 is no signed byte.
static void pair_up(const Tap& tap, int pairs, int32_t* rows, uint8_t* weight) {
    std::vector<int> whole = quantised(tap.weights, 128);
    std::vector<int> row(whole.size());
    for (size_t k = 0; k < row.size(); k++) row[k] = tap.first + (int)k;
    const size_t alone = (size_t)(std::max_element(whole.begin(), whole.end()) - whole.begin());
    if (whole[alone] == 128) {
        whole = {64, 64};
        row = {row[alone], row[alone]};
    }
    for (size_t k = 0; k < 2 * (size_t)pairs; k++) {
        rows[k] = k < row.size() ? row[k] : row.back();
        weight[k] = k < whole.size() ? (uint8_t)whole[k] : 0;
    }
}

static Filter filter_down(Arena& arena, int count, const Position& position, double step, int low, int high) {
    const std::vector<Tap> all = triangles(count, position, step, low, high);
    const int taps = most_taps(all), pairs = taps <= 2 * MAX_PAIRS ? (taps + 1) / 2 : 0;
    Filter f = {count, taps, low, high - low + 1, nullptr, nullptr, nullptr, nullptr, nullptr, pairs, 0};
    const size_t rows = pairs ? 2 * (size_t)pairs : 1, outputs = (size_t)count;
    int32_t* first = arena.take<int32_t>(outputs * rows);
    f.first = first;
    if (pairs) {
        uint8_t* weight = arena.take<uint8_t>(outputs * rows);
        for (size_t i = 0; i < outputs; i++) pair_up(all[i], pairs, first + i * rows, weight + i * rows);
        int32_t* last = arena.take<int32_t>(outputs);
        for (size_t i = 0; i < outputs; i++) last[i] = *std::max_element(first + i * rows, first + (i + 1) * rows);
        f.weight7 = weight;
        f.last = last;
        return f;
    }
    uint16_t* weight = arena.take<uint16_t>(outputs * (size_t)taps);
    for (size_t i = 0; i < outputs; i++) {
        first[i] = all[i].first;
        const std::vector<int> whole = quantised(all[i].weights, 65536);
        for (size_t k = 0; k < whole.size(); k++) weight[i * (size_t)taps + k] = (uint16_t)std::min(whole[k], 65535);
    }
    f.weight16 = weight;
    return f;
}

static Filter filter_across(Arena& arena, int count, const Position& position, double step, int low, int high) {
    const std::vector<Tap> all = triangles(count, position, step, low, high);
    const int taps = most_taps(all), chunks = taps <= 4 ? 0 : (taps + 7) / 8;
    const size_t groups = (size_t)(count + GROUP - 1) / GROUP, per_output = chunks ? (size_t)chunks * 8 : 4;
    int32_t* first = arena.take<int32_t>(groups * GROUP);
    int16_t* weight = arena.take<int16_t>(groups * GROUP * per_output);
    for (size_t i = 0; i < all.size(); i++) {
        first[i] = all[i].first - low;
        const std::vector<int> whole = quantised(all[i].weights, 16384);
        const size_t in_group = i % GROUP, half = in_group / 4;
        int16_t* group = weight + i / GROUP * GROUP * per_output;
        for (size_t k = 0; k < whole.size(); k++) {
            const size_t wide = k / 8 * 64 + in_group % 4 * 16 + half * 8 + k % 8;
            const size_t narrow = in_group % 4 / 2 * 16 + half * 8 + in_group % 2 * 4 + k;
            group[chunks ? wide : narrow] = (int16_t)whole[k];
        }
    }
    return {count, taps, low, high - low + 1, first, nullptr, nullptr, nullptr, weight, 0, chunks};
}

// ---- colour --------------------------------------------------------------------------------------------------------

static ColourMatrix make_matrix(const ColourSpace& c) {
    const double kg = 1.0 - c.kr - c.kb;
    const double luma_span = c.full_range ? 255.0 : 219.0, black = c.full_range ? 0.0 : 16.0;
    const double chroma_span = c.full_range ? 255.0 : 224.0;
    ColourMatrix m;
    m.luma_gain = (float)(1.0 / luma_span);
    m.luma_offset = (float)(-black / luma_span);
    m.chroma_gain = (float)(1.0 / chroma_span);
    m.red_cr = (float)(2.0 * (1.0 - c.kr));
    m.blue_cb = (float)(2.0 * (1.0 - c.kb));
    m.green_cr = (float)(2.0 * c.kr * (1.0 - c.kr) / kg);
    m.green_cb = (float)(2.0 * c.kb * (1.0 - c.kb) / kg);
    m.kr = (float)c.kr;
    m.kg = (float)kg;
    m.kb = (float)c.kb;
    m.luma_span = (float)luma_span;
    m.luma_black = (float)black;
    m.cb_span = (float)(chroma_span / (2.0 * (1.0 - c.kb)));
    m.cr_span = (float)(chroma_span / (2.0 * (1.0 - c.kr)));
    return m;
}

// ---- pre -----------------------------------------------------------------------------------------------------------

OwnedPre::OwnedPre(const Placement& w, const ColourSpace& colour, const TensorShape& tensor) {
    PrePlan& p = plan;
    p.width = w.width;
    p.height = w.height;
    p.frame_width = w.frame_width;
    p.frame_height = w.frame_height;
    p.matrix = make_matrix(colour);
    p.number = tensor.number;
    p.channels_first = tensor.channels_first;
    p.reversed = tensor.reversed;
    const bool integer = tensor.number == Number::INT8 || tensor.number == Number::UINT8;
    for (int c = 0; c < 3; c++) {
        const double scale = integer ? tensor.scale : 1.0, zero = integer ? tensor.zero_point : 0.0;
        p.gain[c] = (float)(1.0 / (tensor.std[c] * scale));
        p.offset[c] = (float)(-tensor.mean[c] / (tensor.std[c] * scale) + zero);
    }
    const double step_x = w.source_width / w.target_width, step_y = w.source_height / w.target_height;
    const auto luma_x = [=](int i) { return w.source_x + (i + 0.5 - w.target_x) * step_x - 0.5; };
    const auto luma_y = [=](int i) { return w.source_y + (i + 0.5 - w.target_y) * step_y - 0.5; };
    const int left = std::clamp((int)floor(w.source_x), 0, w.frame_width - 1);
    const int right = std::clamp((int)ceil(w.source_x + w.source_width) - 1, left, w.frame_width - 1);
    const int top = std::clamp((int)floor(w.source_y), 0, w.frame_height - 1);
    const int bottom = std::clamp((int)ceil(w.source_y + w.source_height) - 1, top, w.frame_height - 1);
    p.across[0] = filter_across(arena, w.width, luma_x, step_x, left, right);
    p.down[0] = filter_down(arena, w.height, luma_y, step_y, top, bottom);
    // left siting: chroma sample i lies on luma column 2 i, and between luma rows 2 i and 2 i + 1
    p.across[1] = filter_across(arena, w.width, [=](int i) { return luma_x(i) / 2; }, step_x / 2, left / 2, right / 2);
    p.down[1] = filter_down(arena, w.height, [=](int i) { return (luma_y(i) - 0.5) / 2; }, step_y / 2, top / 2, bottom / 2);
    const size_t span = (size_t)std::max(p.across[0].span, 2 * p.across[1].span);
    const size_t reach = 8 * (size_t)std::max({p.across[0].chunks, p.across[1].chunks, 1});
    p.band = arena.take<int16_t>(2 * (span + reach + PAD));
    p.single = p.band + span + reach + PAD;
    for (int c = 0; c < 3; c++) {
        p.row[c] = arena.take<uint16_t>((size_t)w.width + PAD);
        p.tone[c] = arena.take<float>((size_t)w.width + PAD);
    }
}

// ---- post ----------------------------------------------------------------------------------------------------------

static Axis make_axis(Arena& arena, int count, int source, const Position& position) {
    const size_t padded = (size_t)(count + BLOCK - 1) / BLOCK * BLOCK;
    int32_t* index = arena.take<int32_t>(padded);
    float* frac = arena.take<float>(padded);
    for (size_t i = 0; i < padded; i++) {
        const double at = position(std::min((int)i, count - 1));
        index[i] = (int32_t)std::clamp(floor(at), 0.0, std::max(0.0, source - 2.0));
        frac[i] = source > 1 ? (float)std::clamp(at - index[i], 0.0, 1.0) : 0.0f;
    }
    bool enlarging = true;                 // enlarge.h permutes 16 or 8 neighbours
    for (size_t i = 0; i < padded; i++) {
        const size_t of_8 = i / 8 * 8, of_16 = i / 16 * 16;
        enlarging = enlarging && index[i] >= index[of_16] && index[i] - index[of_16] < 16;
        enlarging = enlarging && index[i] >= index[of_8] && index[i] - index[of_8] < 8;
    }
    return {count, index, frac, source - 1, enlarging};
}

static int padded_row(int width) { return (width + PAD + 15) / 16 * 16; }

static ColourGrid make_grid(Arena& arena, int width, int height) {
    ColourGrid g = {};
    g.base_width = width;
    g.base_height = height;
    do {
        width = (width + 1) / 2;
        height = (height + 1) / 2;
        const int level = g.levels++;
        g.width[level] = width;
        g.height[level] = height;
        g.stride[level] = padded_row(width);
        const size_t cells = (size_t)g.stride[level] * (size_t)(height + 1);
        for (float*& plane : g.plane[level]) plane = arena.take<float>(cells);
        for (float*& plane : g.blurred[level]) plane = arena.take<float>(cells);
    } while (std::max(width, height) > 2 && g.levels < MAX_LEVELS);
    g.spare = arena.take<float>((size_t)g.stride[0] * (size_t)(g.height[0] + 1));
    for (float*& line : g.line) line = arena.take<float>((size_t)g.base_width + 2 * MAX_BLUR_TAPS + PAD);
    return g;
}

struct Lattice {                           // where the frame's samples lie on a low-resolution grid
    const Axis *luma_x, *luma_y, *chroma_x, *chroma_y;
};

// `planes` in turn Y, U, V, or all luma.
static Field make_field(Arena& arena, const std::vector<const float*>& planes, bool coloured, int stride, int blocks,
                        const Lattice& at) {
    Field f = {};
    f.planes = (int)planes.size();
    f.stride = stride;
    for (int i = 0; i < f.planes; i++) {
        f.data[i] = planes[(size_t)i];
        f.chroma[i] = coloured && i % 3 > 0;
        f.offset[i] = f.block;
        f.block += f.chroma[i] ? BLOCK / 2 : BLOCK;
    }
    f.luma_x = at.luma_x;
    f.luma_y = at.luma_y;
    f.chroma_x = at.chroma_x;
    f.chroma_y = at.chroma_y;
    for (int i = 0; i < FIELD_ROWS; i++) {
        f.row[i] = arena.take<float>((size_t)blocks * (size_t)f.block);
        f.done[i] = arena.take<uint8_t>((size_t)blocks);
        f.held[i] = -1;
    }
    return f;
}

static void plan_matte(OwnedPost& owner, const Placement& w, const MatteOptions& o) {
    Arena& arena = owner.arena;
    PostPlan& p = owner.plan;
    p.raw_width = o.raw_width;
    p.raw_height = o.raw_height;
    p.channels = o.channels;
    p.channels_first = o.channels_first;
    p.reading = o.reading;
    int32_t* chosen = arena.take<int32_t>(o.chosen.size());
    std::copy(o.chosen.begin(), o.chosen.end(), chosen);
    p.chosen = chosen;
    p.chosen_count = (int)o.chosen.size();
    p.raw_resized = o.raw_width != w.width || o.raw_height != w.height;
    const double rx = (double)o.raw_width / w.width, ry = (double)o.raw_height / w.height;
    p.raw_across = make_axis(arena, w.width, o.raw_width, [=](int i) { return (i + 0.5) * rx - 0.5; });
    p.raw_down = make_axis(arena, w.height, o.raw_height, [=](int i) { return (i + 0.5) * ry - 0.5; });
    p.decoded = arena.take<float>(p.raw_resized ? (size_t)o.raw_width * (size_t)o.raw_height : 1);
    p.fresh = arena.take<float>((size_t)w.width + PAD);
    p.temporal = (float)o.temporal;
    p.level_gain = (float)(1.0 / (o.ceiling - o.floor));
    p.level_offset = (float)(-o.floor / (o.ceiling - o.floor));
    p.refine = o.refine;
    p.radius = o.radius;
    p.epsilon = (float)o.epsilon;
    p.decontaminate = o.decontaminate;
    const size_t cells = (size_t)p.stride * (size_t)(w.height + 1);
    p.past_alpha = arena.take<float>(cells);
    p.past_luma = arena.take<float>(cells);
    p.matte12 = arena.take<uint16_t>(cells);
    const size_t ring = (size_t)p.stride * RING;
    p.slope = arena.take<int32_t>(ring);
    p.base = arena.take<int32_t>(ring);
    p.fit = arena.take<int32_t>(ring);
    p.anywhere = arena.take<uint16_t>((size_t)w.width);
    p.a = arena.take<float>(cells);
    p.b = arena.take<float>(cells);
    p.verdict = arena.take<uint8_t>(cells);
    for (int32_t*& column : p.moments) column = arena.take<int32_t>((size_t)w.width + 32 + PAD) + 16;
    for (int32_t*& column : p.sums) column = arena.take<int32_t>((size_t)w.width + 32 + PAD) + 16;
    float* inverse = arena.take<float>((size_t)w.width);
    for (int x = 0; x < w.width; x++)
        inverse[x] = 1.0f / (float)(std::min(x + o.radius, w.width - 1) - std::max(x - o.radius, 0) + 1);
    p.inverse = inverse;
}

// Which network columns a block of luma pixels depends on, the pixel left of the block included (chroma reads it).
static void plan_blocks(OwnedPost& owner) {
    Arena& arena = owner.arena;
    PostPlan& p = owner.plan;
    const size_t blocks = (size_t)p.blocks, stride = (blocks + 63) / 64 * 64;
    int32_t *first = arena.take<int32_t>(blocks), *last = arena.take<int32_t>(blocks);
    uint8_t *mask = arena.take<uint8_t>(blocks), *extra = arena.take<uint8_t>(blocks);
    for (int block = 0; block < p.blocks; block++) {
        const int left = std::max(block * BLOCK - 1, 0), right = std::min((block + 1) * BLOCK, p.width);
        first[block] = p.net_x.index[left];
        last[block] = std::min(p.net_x.index[right - 1] + 1, p.net_width - 1);
        mask[block] = right <= p.left || left >= p.right ? 0 : 0xff;
        extra[block] = left < p.left || right > p.right ? 2 : 0;
    }
    p.block_first = first;
    p.block_last = last;
    p.block_mask = mask;
    p.block_extra = extra;
    p.block_stride = (int)stride;
    p.block_verdict = arena.take<uint8_t>(stride);
    p.row_verdict = arena.take<uint8_t>(stride * (size_t)p.net_height);
}

static void plan_fields(OwnedPost& owner, const Placement& w) {
    Arena& arena = owner.arena;
    PostPlan& p = owner.plan;
    const int cw = (w.frame_width + 1) / 2, ch = (w.frame_height + 1) / 2;
    const double sx = w.target_width / w.source_width, sy = w.target_height / w.source_height;
    const auto net = [](double edge, double source, double target, double scale) { return target + (edge - source) * scale; };
    const auto nx = [=](double edge) { return net(edge, w.source_x, w.target_x, sx); };
    const auto ny = [=](double edge) { return net(edge, w.source_y, w.target_y, sy); };
    const int tw = p.near.width[0], th = p.near.height[0];
    p.net_x = make_axis(arena, w.frame_width, w.width, [=](int i) { return nx(i + 0.5) - 0.5; });
    p.net_y = make_axis(arena, w.frame_height, w.height, [=](int i) { return ny(i + 0.5) - 0.5; });
    p.net_cx = make_axis(arena, cw, w.width, [=](int i) { return nx(2 * i + 0.5) - 0.5; });
    p.net_cy = make_axis(arena, ch, w.height, [=](int i) { return ny(2 * i + 1.0) - 0.5; });
    p.tone_x = make_axis(arena, w.frame_width, tw, [=](int i) { return nx(i + 0.5) / 2 - 0.5; });
    p.tone_y = make_axis(arena, w.frame_height, th, [=](int i) { return ny(i + 0.5) / 2 - 0.5; });
    p.tone_cx = make_axis(arena, cw, tw, [=](int i) { return nx(2 * i + 0.5) / 2 - 0.5; });
    p.tone_cy = make_axis(arena, ch, th, [=](int i) { return ny(2 * i + 1.0) / 2 - 0.5; });
    const Lattice net_grid = {&p.net_x, &p.net_y, &p.net_cx, &p.net_cy};
    const Lattice tone_grid = {&p.tone_x, &p.tone_y, &p.tone_cx, &p.tone_cy};
    const ColourGrid& g = p.near;
    float* const* finest = g.plane[0];
    p.line = make_field(arena, {p.a, p.b}, false, p.stride, p.blocks, net_grid);
    p.tone = make_field(arena, {finest[1], finest[2], finest[3], finest[5], finest[6], finest[7]}, true, g.stride[0],
                        p.blocks, tone_grid);
    p.blur = make_field(arena, {g.blurred[0][0], g.blurred[0][1], g.blurred[0][2]}, true, g.stride[0], p.blocks, tone_grid);
    p.style = make_field(arena, {p.delta[0], p.delta[1], p.delta[2]}, true, p.stride, p.blocks, net_grid);
    p.left = std::clamp((int)ceil(w.source_x - 0.5), 0, w.frame_width);
    p.right = std::clamp((int)ceil(w.source_x + w.source_width - 0.5), p.left, w.frame_width);
    p.top = std::clamp((int)ceil(w.source_y - 0.5), 0, w.frame_height);
    p.bottom = std::clamp((int)ceil(w.source_y + w.source_height - 0.5), p.top, w.frame_height);
}

static void plan_style(OwnedPost& owner, const Placement& w, const StyleShape& style) {
    PostPlan& p = owner.plan;
    p.style_width = style.width;
    p.style_height = style.height;
    for (float*& plane : p.delta) plane = owner.arena.take<float>(style.width ? (size_t)p.stride * (size_t)(w.height + 1) : 1);
    if (!style.width) return;
    p.style_channels_first = style.channels_first;
    p.style_reversed = style.reversed;
    for (int c = 0; c < 3; c++) {
        p.style_gain[c] = (float)style.std[c];
        p.style_offset[c] = (float)style.mean[c];
    }
    const double rx = (double)style.width / w.width, ry = (double)style.height / w.height;
    p.style_across = make_axis(owner.arena, w.width, style.width, [=](int i) { return (i + 0.5) * rx - 0.5; });
    p.style_down = make_axis(owner.arena, w.height, style.height, [=](int i) { return (i + 0.5) * ry - 0.5; });
}

// The scene outside the window is not in the guide: a blurred scene then needs a small picture of the whole frame.
static void plan_wide(OwnedPost& owner, const Placement& w, const ColourSpace& colour) {
    Arena& arena = owner.arena;
    PostPlan& p = owner.plan;
    p.wide_blur = p.left > 0 || p.top > 0 || p.right < w.frame_width || p.bottom < w.frame_height;
    if (!p.wide_blur) return;
    const int width = std::clamp(w.frame_width / 4, std::min(w.frame_width, 16), 640);
    const int height = std::max(1, (int)lround((double)width * w.frame_height / w.frame_width));
    const Placement whole = {w.frame_width, w.frame_height, 0, 0, (double)w.frame_width, (double)w.frame_height,
                             0, 0, (double)width, (double)height, width, height};
    const TensorShape unused = {true, false, {0, 0, 0}, {1, 1, 1}, Number::FLOAT32, 1, 0};
    owner.wide = std::make_unique<OwnedPre>(whole, colour, unused);
    p.wide_pre = &owner.wide->plan;
    p.wide = make_grid(arena, width, height);
    p.wide_guide = arena.take<uint8_t>(3 * (size_t)width * (size_t)height);
    p.wide_matte = arena.take<float>((size_t)width * (size_t)height);
    const double fx = (double)w.frame_width / width, fy = (double)w.frame_height / height;
    const double sx = w.target_width / w.source_width, sy = w.target_height / w.source_height;
    p.wide_across = make_axis(arena, width, w.width, [=](int i) { return w.target_x + ((i + 0.5) * fx - w.source_x) * sx - 0.5; });
    p.wide_down = make_axis(arena, height, w.height, [=](int i) { return w.target_y + ((i + 0.5) * fy - w.source_y) * sy - 0.5; });
    p.wide_left = std::clamp((int)ceil(w.source_x / fx - 0.5), 0, width);
    p.wide_right = std::clamp((int)ceil((w.source_x + w.source_width) / fx - 0.5), 0, width);
    p.wide_top = std::clamp((int)ceil(w.source_y / fy - 0.5), 0, height);
    p.wide_bottom = std::clamp((int)ceil((w.source_y + w.source_height) / fy - 0.5), 0, height);
    const int gw = p.wide.width[0], gh = p.wide.height[0], cw = (w.frame_width + 1) / 2, ch = (w.frame_height + 1) / 2;
    p.wide_x = make_axis(arena, w.frame_width, gw, [=](int i) { return (i + 0.5) / fx / 2 - 0.5; });
    p.wide_y = make_axis(arena, w.frame_height, gh, [=](int i) { return (i + 0.5) / fy / 2 - 0.5; });
    p.wide_cx = make_axis(arena, cw, gw, [=](int i) { return (2 * i + 0.5) / fx / 2 - 0.5; });
    p.wide_cy = make_axis(arena, ch, gh, [=](int i) { return (2 * i + 1.0) / fy / 2 - 0.5; });
    const Lattice wide_grid = {&p.wide_x, &p.wide_y, &p.wide_cx, &p.wide_cy};
    float* const* finest = p.wide.blurred[0];
    p.blur = make_field(arena, {finest[0], finest[1], finest[2]}, true, p.wide.stride[0], p.blocks, wide_grid);
    owner.wide_scale = 0.5 / fx;
}

OwnedPost::OwnedPost(const Placement& w, const ColourSpace& colour, const MatteOptions& o, const StyleShape& style) {
    PostPlan& p = plan;
    p.width = w.frame_width;
    p.height = w.frame_height;
    p.net_width = w.width;
    p.net_height = w.height;
    p.stride = padded_row(w.width);
    p.blocks = (p.width + BLOCK - 1) / BLOCK;
    p.matrix = make_matrix(colour);
    near_scale = wide_scale = 0.5 * w.target_width / w.source_width;
    plan_matte(*this, w, o);
    p.near = make_grid(arena, w.width, w.height);
    plan_style(*this, w, style);
    plan_fields(*this, w);
    plan_blocks(*this);
    plan_wide(*this, w, colour);
}

void plan_blur(const OwnedPost& owner, double radius, PostJob& job) {
    const ColourGrid& g = owner.plan.wide_blur ? owner.plan.wide : owner.plan.near;
    double sigma = radius * (owner.plan.wide_blur ? owner.wide_scale : owner.near_scale);
    job.blur_level = 0;
    while (sigma >= 4.0 && job.blur_level + 1 < g.levels) {
        sigma /= 2;
        job.blur_level++;
    }
    sigma = std::clamp(sigma, 1e-3, 4.0);
    job.blur_taps = std::min(MAX_BLUR_TAPS, (int)ceil(3 * sigma) + 1);
    double weights[MAX_BLUR_TAPS], sum = 0;
    for (int k = 0; k < job.blur_taps; k++) {
        weights[k] = exp(-0.5 * k * k / (sigma * sigma));
        sum += k ? 2 * weights[k] : weights[k];
    }
    for (int k = 0; k < job.blur_taps; k++) job.blur_weight[k] = (float)(weights[k] / sum);
}
