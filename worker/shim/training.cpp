// Operations of libtorch that tch does not offer: own generators, fused optimiser, foreach, autocast, switches.

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/Generator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "caught.hpp"

using namespace anofpdm;

namespace {

std::vector<at::Tensor> listed(at::Tensor* const* tensors, size_t count) {
  std::vector<at::Tensor> list;
  list.reserve(count);
  for (size_t i = 0; i < count; ++i) list.push_back(*tensors[i]);
  return list;
}

/// The device of a number: -1 is the CPU, others are CUDA devices.
at::Device device_of(int device) {
  return device < 0 ? at::Device(at::kCPU) : at::Device(at::kCUDA, static_cast<at::DeviceIndex>(device));
}

} // namespace

ANOFPDM_EXPORT char* anofpdm_generator_create(int device, at::Generator** out) {
  return caught([&] {
    const auto where = device_of(device);
    // The default generator is only copied: no header of CUDA is needed to make one of its kind.
    at::Generator standard = at::globalContext().defaultGenerator(where);
    std::lock_guard<std::mutex> guard(standard.mutex());
    *out = new at::Generator(standard.clone());
  });
}

ANOFPDM_EXPORT char* anofpdm_generator_seed(at::Generator* generator, uint64_t seed) {
  return caught([&] {
    std::lock_guard<std::mutex> guard(generator->mutex());
    generator->set_current_seed(seed);
  });
}

/// A generator that goes on where this one is.
ANOFPDM_EXPORT char* anofpdm_generator_fork(at::Generator* generator, at::Generator** out) {
  return caught([&] {
    std::lock_guard<std::mutex> guard(generator->mutex());
    *out = new at::Generator(generator->clone());
  });
}

ANOFPDM_EXPORT void anofpdm_generator_free(at::Generator* generator) {
  delete generator;
}

/// Zero with probability `drop`, else 1 / (1 - drop), in the shape, kind and layout of `like`.
ANOFPDM_EXPORT char* anofpdm_dropout_mask(at::Generator* generator, at::Tensor* like, double drop, at::Tensor** out) {
  return caught([&] {
    at::NoGradGuard no_grad;
    auto mask = at::empty_like(*like).bernoulli_(1.0 - drop, *generator).div_(1.0 - drop);
    *out = new at::Tensor(std::move(mask));
  });
}

ANOFPDM_EXPORT char* anofpdm_backward(at::Tensor* loss) {
  return caught([&] { loss->backward(); });
}

/// Sets the gradients to undefined. Zeroing them in place fails for views into buckets.
ANOFPDM_EXPORT char* anofpdm_drop_gradients(at::Tensor* const* parameters, size_t count) {
  return caught([&] {
    for (size_t i = 0; i < count; ++i) parameters[i]->mutable_grad().reset();
  });
}

ANOFPDM_EXPORT char* anofpdm_fused_adamw(
    at::Tensor* const* parameters,
    at::Tensor* const* gradients,
    at::Tensor* const* first,
    at::Tensor* const* second,
    size_t count,
    int64_t step,
    double learning_rate,
    double beta1,
    double beta2,
    double weight_decay,
    double eps) {
  return caught([&] {
    at::NoGradGuard no_grad;
    const auto weights = listed(parameters, count);
    if (weights.empty()) return;
    // One number serves every parameter: the kernels only read it.
    const auto step_count = at::full({}, step, weights[0].options().dtype(at::kFloat).requires_grad(false));
    const std::vector<at::Tensor> steps(count, step_count);
    at::_fused_adamw_(
        weights,
        listed(gradients, count),
        listed(first, count),
        listed(second, count),
        {},
        steps,
        learning_rate,
        beta1,
        beta2,
        weight_decay,
        eps,
        /*amsgrad=*/false,
        /*maximize=*/false);
  });
}

ANOFPDM_EXPORT char* anofpdm_lerp_all(
    at::Tensor* const* averages, at::Tensor* const* weights, size_t count, double weight) {
  return caught([&] {
    at::NoGradGuard no_grad;
    const auto list = listed(averages, count);
    at::_foreach_lerp_(list, listed(weights, count), weight);
  });
}

/// Divides the gradients by a loss scale and says whether all of them are finite.
ANOFPDM_EXPORT char* anofpdm_unscale(at::Tensor* const* gradients, size_t count, double scale, bool* finite) {
  return caught([&] {
    at::NoGradGuard no_grad;
    *finite = true;
    if (count == 0) return;
    const auto list = listed(gradients, count);
    const auto options = list[0].options().dtype(at::kFloat).requires_grad(false);
    auto found = at::zeros({}, options);
    at::_amp_foreach_non_finite_check_and_unscale_(list, found, at::full({}, 1.0 / scale, options));
    *finite = found.item<float>() == 0.0f;
  });
}

/// Autocast of this thread to float16 or bfloat16; ends with anofpdm_autocast_leave.
ANOFPDM_EXPORT char* anofpdm_autocast_enter(int device, bool half) {
  return caught([&] {
    const auto type = device_of(device).type();
    TORCH_CHECK(!at::autocast::is_autocast_enabled(type), "autocast is on already: a bug");
    at::autocast::set_autocast_dtype(type, half ? at::kHalf : at::kBFloat16);
    at::autocast::set_autocast_enabled(type, true);
  });
}

ANOFPDM_EXPORT char* anofpdm_autocast_leave(int device) {
  return caught([&] {
    at::autocast::set_autocast_enabled(device_of(device).type(), false);
    // Lower-precision copies of the weights would outlive the next update of the weights.
    at::autocast::clear_cache();
  });
}

ANOFPDM_EXPORT char* anofpdm_allow_tf32(bool allow) {
  return caught([&] {
    at::globalContext().setAllowTF32CuBLAS(allow);
    at::globalContext().setAllowTF32CuDNN(allow);
  });
}

ANOFPDM_EXPORT char* anofpdm_peak_memory(int device, uint64_t* bytes) {
  return caught([&] {
    const auto where = device_of(device);
    const auto stats = c10::getDeviceAllocator(where.type())->getDeviceStats(where.index());
    const auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    *bytes = static_cast<uint64_t>(stats.allocated_bytes[all].peak);
  });
}

ANOFPDM_EXPORT char* anofpdm_free_kept_memory(int device) {
  return caught([&] {
    if (device >= 0) c10::getDeviceAllocator(device_of(device).type())->emptyCache();
  });
}

/// The stream that libtorch's operations on GPU `device` go to on this thread; the device becomes the current one.
ANOFPDM_EXPORT char* anofpdm_current_stream(int device, void** stream) {
  return caught([&] {
    const auto where = device_of(device);
    const c10::impl::VirtualGuardImpl guard(where.type());
    guard.setDevice(where);
    *stream = guard.getStream(where).native_handle();
  });
}
