// Which copy of the loops runs: chosen from what the processor reports, never from how the file was compiled.
#pragma once

#include "plan.h"

int kernels_count();                       // best first, all of them usable on this processor
const Kernels& kernels_at(int index);
