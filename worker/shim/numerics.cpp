// Switches of libtorch's arithmetic that tch does not have, read and set; peaks of memory.

#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>

#include "caught.hpp"

using namespace anofpdm;

/// Whether products and convolutions in float32 may use TF32.
ANOFPDM_EXPORT char* anofpdm_tf32(bool* products, bool* convolutions) {
  return caught([&] {
    *products = at::globalContext().allowTF32CuBLAS();
    *convolutions = at::globalContext().allowTF32CuDNN();
  });
}

ANOFPDM_EXPORT char* anofpdm_set_tf32(bool products, bool convolutions) {
  return caught([&] {
    at::globalContext().setAllowTF32CuBLAS(products);
    at::globalContext().setAllowTF32CuDNN(convolutions);
  });
}

/// Products in float16 and bfloat16 that are split along their sums add the parts in float32.
ANOFPDM_EXPORT char* anofpdm_wide_reductions() {
  return caught([&] {
    at::globalContext().setAllowFP16ReductionCuBLAS(/*allow_reduced_precision=*/false);
    at::globalContext().setAllowBF16ReductionCuBLAS(/*allow_reduced_precision=*/false);
  });
}

/// Whether neither float16 nor bfloat16 products are added in less than float32.
ANOFPDM_EXPORT char* anofpdm_reductions_are_wide(bool* wide) {
  return caught([&] {
    const auto reduced = at::CuBLASReductionOption::AllowReducedPrecisionWithSplitK;
    const auto& context = at::globalContext();
    *wide = context.allowFP16ReductionCuBLAS() != reduced && context.allowBF16ReductionCuBLAS() != reduced;
  });
}

/// Whether deterministic algorithms are asked for: of cuDNN, and of all operations.
ANOFPDM_EXPORT char* anofpdm_determinism(bool* cudnn, bool* all) {
  return caught([&] {
    *cudnn = at::globalContext().deterministicCuDNN();
    *all = at::globalContext().deterministicAlgorithms();
  });
}

/// The peak of a GPU's memory is counted from now on.
ANOFPDM_EXPORT char* anofpdm_forget_peak_memory(int device) {
  return caught([&] {
    const auto where = device < 0 ? at::Device(at::kCPU) : at::Device(at::kCUDA, static_cast<at::DeviceIndex>(device));
    c10::getDeviceAllocator(where.type())->resetPeakStats(where.index());
  });
}
