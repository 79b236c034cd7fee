// Low-resolution colours of product and scene, each extended under the other; blurred scene; style difference.
// In    guide uint8[3][h][w], matte float32[h][w]
// Out   the finest level's colours, half the guide's size, defined everywhere; the scene's under a Gaussian
// Map   a block owns 16 x 16 cells of the finest level. cutline_push reduces them to one, four levels up; cutline_top, one
//       block, goes on to two cells and back; cutline_pull comes down again, each block with as much of the coarser levels'
//       rim as its own cells need (at most 10 x 10), so that no level costs a launch. cutline_blur and cutline_enlarge do
//       the same for the blur.
// Cost  7 B read per guide pixel, 56 B moved per cell of a quarter as many, in L2; the launches cost more than the bytes
// Twin  reference_post.py::fill_colours, blurred, style_delta; no allocation, no sync: safe under graph capture
#pragma once

#include "cuda_memory.cuh"

static constexpr float PULL = 1.0f / 16.0f;   // trust at which a cell's own colour and the coarser one weigh the same
static constexpr float NOTHING = 1e-6f;       // trust of neutral grey, which fills a picture with no product at all
static constexpr int SIDE = 16;               // cells of a tile
static constexpr int RIM = 10;                // cells that a tile needs of a coarser level, at most

DEVICE float4 plus(float4 a, float4 b) { return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w); }
DEVICE float4 times(float4 a, float f) { return make_float4(a.x * f, a.y * f, a.z * f, a.w * f); }

// Four cells, or as many of them as there are, counted twice.
DEVICE float4 mean_of(float4 a, float4 b, float4 c, float4 d) { return times(plus(plus(a, b), plus(c, d)), 0.25f); }

// ---- push ----------------------------------------------------------------------------------------------------------

DEVICE void weigh(const ColourParams& p, int x, int y, float4& front, float4& behind) {
    const ptrdiff_t plane = (ptrdiff_t)p.base_width * p.base_height, pixel = (ptrdiff_t)y * p.base_width + x;
    const float alpha = p.matte[pixel];
    const float4 colour = make_float4(1.0f, p.guide[pixel], p.guide[plane + pixel], p.guide[2 * plane + pixel]);
    front = plus(front, times(colour, trust(alpha) * 0.25f));
    behind = plus(behind, times(colour, trust(1.0f - alpha) * 0.25f));
}

KERNEL((SIDE * SIDE), cutline_push, ColourParams) {
    __shared__ float4 front[SIDE][SIDE], behind[SIDE][SIDE];
    const int tx = (int)threadIdx.x, ty = (int)threadIdx.y;
    int x = (int)blockIdx.x * SIDE + tx, y = (int)blockIdx.y * SIDE + ty;
    float4 f = make_float4(0.0f, 0.0f, 0.0f, 0.0f), b = f;
    if (x < p.width[0] && y < p.height[0]) {
        const int right = least(2 * x + 1, p.base_width - 1), below = least(2 * y + 1, p.base_height - 1);
        weigh(p, 2 * x, 2 * y, f, b);
        weigh(p, right, 2 * y, f, b);
        weigh(p, 2 * x, below, f, b);
        weigh(p, right, below, f, b);
        p.front[0][y * p.width[0] + x] = f;
        p.behind[0][y * p.width[0] + x] = b;
    }
    for (int level = 1; level <= p.split; level++) {
        const int side = SIDE >> level, width = p.width[level], height = p.height[level];
        x = (int)blockIdx.x * side + tx;
        y = (int)blockIdx.y * side + ty;
        __syncthreads();
        front[ty][tx] = f;
        behind[ty][tx] = b;
        __syncthreads();
        if (tx >= side || ty >= side || x >= width || y >= height) continue;
        const int right = 2 * x + 1 < p.width[level - 1] ? 2 * tx + 1 : 2 * tx;
        const int below = 2 * y + 1 < p.height[level - 1] ? 2 * ty + 1 : 2 * ty;
        f = mean_of(front[2 * ty][2 * tx], front[2 * ty][right], front[below][2 * tx], front[below][right]);
        b = mean_of(behind[2 * ty][2 * tx], behind[2 * ty][right], behind[below][2 * tx], behind[below][right]);
        p.front[level][y * width + x] = f;
        p.behind[level][y * width + x] = b;
    }
}

// ---- pull ----------------------------------------------------------------------------------------------------------

// A part of a level, in cells of that level.
struct Part {
    int x, y, width, height;
};

// What the tile's cells of the finest level need of `level`.
DEVICE Part part_of(const int* widths, const int* heights, int level) {
    int left = (int)blockIdx.x * SIDE, top = (int)blockIdx.y * SIDE;
    int right = least(left + SIDE, widths[0]) - 1, bottom = least(top + SIDE, heights[0]) - 1;
    for (int l = 1; l <= level; l++) {
        left = most((left >> 1) - 1, 0), right = least((right >> 1) + 1, widths[l] - 1);
        top = most((top >> 1) - 1, 0), bottom = least((bottom >> 1) + 1, heights[l] - 1);
    }
    return {left, top, right - left + 1, bottom - top + 1};
}

// The other coarse cell that fine cell i reads beside i / 2.
DEVICE int neighbour(int i, int count) {
    return i & 1 ? least(i / 2 + 1, count - 1) : most(i / 2 - 1, 0);
}

// Fine cell (x, y) of a level doubled in size; `coarse` holds the cells of `part`, `pitch` to a row.
DEVICE float doubled(const float* coarse, const Part& part, int pitch, int width, int height, int x, int y) {
    const int near_x = x / 2 - part.x, far_x = neighbour(x, width) - part.x;
    const float* near_row = coarse + (y / 2 - part.y) * pitch;
    const float* far_row = coarse + (neighbour(y, height) - part.y) * pitch;
    return 0.75f * (0.75f * near_row[near_x] + 0.25f * far_row[near_x]) +
           0.25f * (0.75f * near_row[far_x] + 0.25f * far_row[far_x]);
}

DEVICE float4 doubled(const float4* coarse, int width, int height, int x, int y) {
    const int far_x = neighbour(x, width);
    const float4 *near_row = coarse + y / 2 * width, *far_row = coarse + neighbour(y, height) * width;
    return plus(times(plus(times(near_row[x / 2], 0.75f), times(far_row[x / 2], 0.25f)), 0.75f),
                times(plus(times(near_row[far_x], 0.75f), times(far_row[far_x], 0.25f)), 0.25f));
}

// Sums of a cell, and the coarser level's colour where they are little to be trusted.
DEVICE float4 pulled(float4 sums, float4 coarse, float pull) {
    const float share = 1.0f / (sums.x + pull);
    return make_float4(0.0f, (sums.y + pull * coarse.y) * share, (sums.z + pull * coarse.z) * share,
                       (sums.w + pull * coarse.w) * share);
}

// One block: the levels behind `split`, reduced to the end, then filled in place, `split` included.
KERNEL((256), cutline_top, ColourParams) {
    const int thread = (int)threadIdx.x;
    for (int level = p.split + 1; level < p.levels; level++) {
        const int width = p.width[level], fine_width = p.width[level - 1], fine_height = p.height[level - 1];
        ROLLED for (int cell = thread; cell < width * p.height[level]; cell += 256) {
            const int x = 2 * (cell % width), y = 2 * (cell / width);
            const int right = least(x + 1, fine_width - 1), below = least(y + 1, fine_height - 1);
            const int at[4] = {y * fine_width + x, y * fine_width + right, below * fine_width + x, below * fine_width + right};
            const float4 *front = p.front[level - 1], *behind = p.behind[level - 1];
            p.front[level][cell] = mean_of(front[at[0]], front[at[1]], front[at[2]], front[at[3]]);
            p.behind[level][cell] = mean_of(behind[at[0]], behind[at[1]], behind[at[2]], behind[at[3]]);
        }
        __syncthreads();
    }
    for (int level = p.levels - 1; level >= p.split; level--) {
        const bool first = level == p.levels - 1;
        const int width = p.width[level], coarse_width = first ? 0 : p.width[level + 1];
        const int coarse_height = first ? 0 : p.height[level + 1];
        ROLLED for (int cell = thread; cell < width * p.height[level]; cell += 256) {
            const int x = cell % width, y = cell / width;
            float4 front = make_float4(0.0f, 128.0f, 128.0f, 128.0f), behind = front;
            if (!first) {
                front = doubled(p.front[level + 1], coarse_width, coarse_height, x, y);
                behind = doubled(p.behind[level + 1], coarse_width, coarse_height, x, y);
            }
            p.front[level][cell] = pulled(p.front[level][cell], front, first ? NOTHING : PULL);
            p.behind[level][cell] = pulled(p.behind[level][cell], behind, first ? NOTHING : PULL);
        }
        __syncthreads();
    }
}

struct Tones {
    float4 front, behind;
};

DEVICE void store_tones(const ColourParams& p, int level, int x, int y, const Tones& tones) {
    const int cell = y * p.width[level] + x, side = SIDE >> level;
    const bool own = x / side == (int)blockIdx.x && y / side == (int)blockIdx.y;
    if (own && level == p.scene_level && p.scene) p.scene[cell] = tones.behind;
    if (level > 0 || !p.tone_luma) return;
    p.tone_luma[cell] = make_float2(tones.front.y, tones.behind.y);
    p.tone_chroma[cell] = make_float4(tones.front.z, tones.front.w, tones.behind.z, tones.behind.w);
}

KERNEL((SIDE * SIDE), cutline_pull, ColourParams) {
    __shared__ float kept[2][6][RIM * RIM];        // two levels in turn: Y, U, V of the product, of the scene
    Part coarse = {0, 0, 0, 0};
    for (int level = most(p.split - 1, 0); level >= 0; level--) {
        const Part part = part_of(p.width, p.height, level);
        const bool filled = level == p.split, below_split = level + 1 == p.split;
        ROLLED for (int task = thread_of_block(); task < part.width * part.height; task += SIDE * SIDE) {
            const int column = task % part.width, row = task / part.width, x = part.x + column, y = part.y + row;
            Tones tones = {p.front[level][y * p.width[level] + x], p.behind[level][y * p.width[level] + x]};
            Tones from = tones;
            if (below_split) {
                from.front = doubled(p.front[level + 1], p.width[level + 1], p.height[level + 1], x, y);
                from.behind = doubled(p.behind[level + 1], p.width[level + 1], p.height[level + 1], x, y);
            } else if (!filled) {
                float tone[6];
                for (int c = 0; c < 6; c++)
                    tone[c] = doubled(kept[(level + 1) & 1][c], coarse, RIM, p.width[level + 1], p.height[level + 1], x, y);
                from.front = make_float4(0.0f, tone[0], tone[1], tone[2]);
                from.behind = make_float4(0.0f, tone[3], tone[4], tone[5]);
            }
            if (!filled) tones = {pulled(tones.front, from.front, PULL), pulled(tones.behind, from.behind, PULL)};
            store_tones(p, level, x, y, tones);
            if (level == 0) continue;
            float(*keep)[RIM * RIM] = kept[level & 1];
            const int place = row * RIM + column;
            keep[0][place] = tones.front.y, keep[1][place] = tones.front.z, keep[2][place] = tones.front.w;
            keep[3][place] = tones.behind.y, keep[4][place] = tones.behind.z, keep[5][place] = tones.behind.w;
        }
        coarse = part;
        __syncthreads();
    }
}

// ---- blur ----------------------------------------------------------------------------------------------------------

static constexpr int REACH = BLUR_TAPS - 1, BLURRED = SIDE + 2 * REACH;

// A Gaussian over the scene's colours at `level`, across and then down, edges repeated.
KERNEL((SIDE * SIDE), cutline_blur, BlurParams) {
    __shared__ float scene[3][BLURRED][BLURRED], across[3][BLURRED][SIDE];
    const int width = p.width[p.level], height = p.height[p.level], reach = p.taps - 1, side = SIDE + 2 * reach;
    const int left = (int)blockIdx.x * SIDE, top = (int)blockIdx.y * SIDE;
    ROLLED for (int task = thread_of_block(); task < side * side; task += SIDE * SIDE) {
        const int column = task % side, row = task / side;
        const int x = least(most(left + column - reach, 0), width - 1), y = least(most(top + row - reach, 0), height - 1);
        const float4 cell = p.scene[y * width + x];
        scene[0][row][column] = cell.y, scene[1][row][column] = cell.z, scene[2][row][column] = cell.w;
    }
    __syncthreads();
    ROLLED for (int task = thread_of_block(); task < 3 * side * SIDE; task += SIDE * SIDE) {
        const int column = task % SIDE, row = task / SIDE % side, c = task / (SIDE * side);
        const float* centre = &scene[c][row][column + reach];
        float sum = centre[0] * p.weight[0];
        for (int k = 1; k < p.taps; k++) sum += (centre[-k] + centre[k]) * p.weight[k];
        across[c][row][column] = sum;
    }
    __syncthreads();
    const int x = left + (int)threadIdx.x, y = top + (int)threadIdx.y;
    if (x >= width || y >= height) return;
    float sum[3];
    for (int c = 0; c < 3; c++) {
        sum[c] = across[c][threadIdx.y + reach][threadIdx.x] * p.weight[0];
        for (int k = 1; k < p.taps; k++)
            sum[c] += (across[c][threadIdx.y + reach - k][threadIdx.x] + across[c][threadIdx.y + reach + k][threadIdx.x]) *
                      p.weight[k];
    }
    p.blurred[y * width + x] = make_float4(0.0f, sum[0], sum[1], sum[2]);
}

// The blurred scene doubled back to the finest level.
KERNEL((SIDE * SIDE), cutline_enlarge, BlurParams) {
    __shared__ float kept[2][3][RIM * RIM];
    Part coarse = {0, 0, 0, 0};
    for (int level = most(p.level - 1, 0); level >= 0; level--) {
        const Part part = part_of(p.width, p.height, level);
        ROLLED for (int task = thread_of_block(); task < part.width * part.height; task += SIDE * SIDE) {
            const int column = task % part.width, row = task / part.width, x = part.x + column, y = part.y + row;
            float4 cell;
            if (level == p.level) {
                cell = p.blurred[y * p.width[0] + x];
            } else if (level + 1 == p.level) {
                cell = doubled(p.blurred, p.width[p.level], p.height[p.level], x, y);
            } else {
                float tone[3];
                for (int c = 0; c < 3; c++)
                    tone[c] = doubled(kept[(level + 1) & 1][c], coarse, RIM, p.width[level + 1], p.height[level + 1], x, y);
                cell = make_float4(0.0f, tone[0], tone[1], tone[2]);
            }
            if (level == 0) {
                p.luma[y * p.width[0] + x] = cell.y;
                p.chroma[y * p.width[0] + x] = make_float2(cell.z, cell.w);
            } else {
                float(*keep)[RIM * RIM] = kept[level & 1];
                const int place = row * RIM + column;
                keep[0][place] = cell.y, keep[1][place] = cell.z, keep[2][place] = cell.w;
            }
        }
        coarse = part;
        __syncthreads();
    }
}

// The matte on a small picture of the whole frame: 0 outside the window.
KERNEL((256), cutline_spread, SpreadParams) {
    const int x = (int)(blockIdx.x * blockDim.x + threadIdx.x), y = (int)(blockIdx.y * blockDim.y + threadIdx.y);
    if (x >= p.width || y >= p.height) return;
    const bool inside = x >= p.left && x < p.right && y >= p.top && y < p.bottom;
    p.wide[y * p.width + x] = inside ? sampled(p.matte, p.net_width, p.net_height, p.across, p.down, x, y) : 0.0f;
}

// ---- style ---------------------------------------------------------------------------------------------------------

DEVICE Rgb styled(const StyleParams& p, int x, int y) {
    const ptrdiff_t plane = (ptrdiff_t)p.style_width * p.style_height, pixel = (ptrdiff_t)y * p.style_width + x;
    float tone[3];
    for (int c = 0; c < 3; c++) {
        const int stored = p.reversed ? 2 - c : c;
        const float value = p.channels_first ? p.style[stored * plane + pixel] : p.style[3 * pixel + stored];
        tone[c] = is_nan(value) ? 0.0f : clamp01(value * p.gain[c] + p.offset[c]);
    }
    return {tone[0], tone[1], tone[2]};
}

DEVICE Rgb between(Rgb a, Rgb b, float t) { return {mix(a.r, b.r, t), mix(a.g, b.g, t), mix(a.b, b.b, t)}; }

// The style network's picture minus the guide, in codes, on the network grid.
KERNEL((256), cutline_style, StyleParams) {
    const int x = (int)(blockIdx.x * blockDim.x + threadIdx.x), y = (int)(blockIdx.y * blockDim.y + threadIdx.y);
    if (x >= p.width || y >= p.height) return;
    const int left = p.across.index[x], right = least(left + 1, p.style_width - 1);
    const int row = p.down.index[y], below = least(row + 1, p.style_height - 1);
    const Rgb upper = between(styled(p, left, row), styled(p, right, row), p.across.frac[x]);
    const Rgb lower = between(styled(p, left, below), styled(p, right, below), p.across.frac[x]);
    const Yuv code = to_yuv(p.matrix, between(upper, lower, p.down.frac[y]));
    const int plane = p.width * p.height, pixel = y * p.width + x;
    p.luma[pixel] = code.y - (float)p.guide[pixel];
    p.chroma[pixel] = make_float2(code.u - (float)p.guide[plane + pixel], code.v - (float)p.guide[2 * plane + pixel]);
}
