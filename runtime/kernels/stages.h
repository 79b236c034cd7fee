// The stages of post, one instruction set's copy of them.
#pragma once

#include "plan.h"

namespace CUTLINE_ISA {

// matte.cpp
void steady(PostPlan& p, const PostJob& job);                    // decode and temporal filter: job.matte
void lines(const PostPlan& p, const PostJob& job);               // guided filter: p.a, p.b, p.verdict
void resample(const float* from, int stride, const Axis& across, const Axis& down, int row, float* to);

// colour.cpp
void fill_colours(const ColourGrid& g, const uint8_t* guide, const float* matte);
void blur_scene(const ColourGrid& g, const PostJob& job);
void style_delta(const PostPlan& p, const PostJob& job);

// pre.cpp
void pre(const PrePlan& p, const Picture& frame, void* tensor, uint8_t* guide);

}  // namespace CUTLINE_ISA
