// The NCCL backend, a library beside the program: it needs CUDA, which the program itself must not.
// Built with the cargo feature `nccl`, loaded after libtorch_cuda.so.

#include <chrono>

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "caught.hpp"
#include "group.hpp"

using namespace anofpdm;

/// `device` is this rank's GPU. NCCL's own watchdog ends the process when an operation takes longer than `timeout_ms`.
ANOFPDM_EXPORT char* anofpdm_nccl_create(
    StorePointer* store, int rank, int world, uint64_t timeout_ms, int device, BackendPointer** out) {
  return caught([&] {
    auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = std::chrono::milliseconds(timeout_ms);
    auto nccl = c10::make_intrusive<c10d::ProcessGroupNCCL>(*store, rank, world, options);
    nccl->setBoundDeviceId(c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(device)));
    *out = new BackendPointer(std::move(nccl));
  });
}
