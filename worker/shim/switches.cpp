// Switches of libtorch's arithmetic that are one for the whole process.

#include <ATen/Context.h>

#include "caught.hpp"

using namespace anofpdm;

/// What training sets and scoring must find as it was.
extern "C" struct Switches {
  bool deterministic_algorithms;
  bool warn_only;
  bool fill_uninitialized;
  bool deterministic_cudnn;
  bool tf32_products;
  bool tf32_convolutions;
  bool wide_reductions;
};

ANOFPDM_EXPORT char* anofpdm_switches_read(Switches* out) {
  return caught([&] {
    const auto& context = at::globalContext();
    const auto reduced = at::CuBLASReductionOption::AllowReducedPrecisionWithSplitK;
    *out = Switches{
        context.deterministicAlgorithms(),
        context.deterministicAlgorithmsWarnOnly(),
        context.deterministicFillUninitializedMemory(),
        context.deterministicCuDNN(),
        context.allowTF32CuBLAS(),
        context.allowTF32CuDNN(),
        context.allowFP16ReductionCuBLAS() != reduced && context.allowBF16ReductionCuBLAS() != reduced};
  });
}

ANOFPDM_EXPORT char* anofpdm_switches_write(Switches switches) {
  return caught([&] {
    auto& context = at::globalContext();
    context.setDeterministicAlgorithms(switches.deterministic_algorithms, switches.warn_only);
    context.setDeterministicFillUninitializedMemory(switches.fill_uninitialized);
    context.setDeterministicCuDNN(switches.deterministic_cudnn);
    context.setAllowTF32CuBLAS(switches.tf32_products);
    context.setAllowTF32CuDNN(switches.tf32_convolutions);
    context.setAllowFP16ReductionCuBLAS(/*allow_reduced_precision=*/!switches.wide_reductions);
    context.setAllowBF16ReductionCuBLAS(/*allow_reduced_precision=*/!switches.wide_reductions);
  });
}
