// The pixel maths on a GPU: the same functions of pixel.h that the CPU's loops call, in kernels. Compiled ahead of time to
// one cubin per architecture; runtime/cuda/launches.py says which kernels run for a frame, in which order.
//
// Nothing here includes a system header, so that NVRTC needs no include path; what it lacks is declared by itself.
#include "cuda_pre.cuh"
#include "cuda_matte.cuh"
#include "cuda_colour.cuh"
#include "cuda_post.cuh"
