// Peaks of memory, which tch does not have.

#include <c10/core/CachingDeviceAllocator.h>

#include "caught.hpp"

using namespace anofpdm;

/// The peak of a GPU's memory is counted from now on.
ANOFPDM_EXPORT char* anofpdm_forget_peak_memory(int device) {
  return caught([&] {
    const auto where = device < 0 ? at::Device(at::kCPU) : at::Device(at::kCUDA, static_cast<at::DeviceIndex>(device));
    c10::getDeviceAllocator(where.type())->resetPeakStats(where.index());
  });
}
