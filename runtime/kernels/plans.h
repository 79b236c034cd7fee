// Builds the plans: everything that is computed once per stream.
#pragma once

#include <memory>
#include <vector>

#include "plan.h"

// Owns every table and scratch row of one plan.
class Arena {
public:
    void* take_bytes(size_t bytes);        // 64-byte aligned, zeroed; throws std::bad_alloc
    template <class T>
    T* take(size_t count) { return static_cast<T*>(take_bytes(count * sizeof(T))); }

private:
    struct Free { void operator()(void* address) const; };
    std::vector<std::unique_ptr<void, Free>> blocks_;
};

struct Placement {                         // see window.py
    int frame_width, frame_height;
    double source_x, source_y, source_width, source_height;
    double target_x, target_y, target_width, target_height;
    int width, height;
};
struct ColourSpace {
    double kr, kb;
    bool full_range;
};
struct TensorShape {
    bool channels_first, reversed;
    double mean[3], std[3];
    Number number;
    double scale, zero_point;
};
struct MatteOptions {
    int raw_width, raw_height, channels;
    bool channels_first;
    Reading reading;
    std::vector<int32_t> chosen;
    bool refine;
    int radius;
    double epsilon;
    bool decontaminate;
    double temporal, floor, ceiling;
};
struct StyleShape {
    int width, height;                     // 0: no style network
    bool channels_first, reversed;
    double mean[3], std[3];
};

struct OwnedPre {
    Arena arena;
    PrePlan plan = {};
    OwnedPre(const Placement&, const ColourSpace&, const TensorShape&);
};
struct OwnedPost {
    Arena arena;
    std::unique_ptr<OwnedPre> wide;
    PostPlan plan = {};
    double near_scale, wide_scale;         // colour-grid cells per frame pixel
    OwnedPost(const Placement&, const ColourSpace&, const MatteOptions&, const StyleShape&);
};

// Sets the job's blur kernel for a Gaussian of `sigma` frame pixels.
void plan_blur(const OwnedPost& owner, double sigma, PostJob& job);
