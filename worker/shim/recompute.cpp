// Activation checkpointing: a layer whose intermediate values are not kept for its backward pass but computed again there.
//
// The layer is computed in Rust. Its forward pass has been made without a graph; what is made here is the node of the graph
// that stands for all of it. The node asks Rust for the layer once more, differentiates that small graph, and hands the
// gradients on, those of the parameters too: so gradients arrive where they would without it, and hooks on parameters, as
// c10d's Reducer has them, are called once for each.

#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/csrc/autograd/variable.h>

#include "caught.hpp"

using namespace anofpdm;
using torch::autograd::variable_list;

extern "C" {

/// A layer, computed by Rust. `compute` returns a new tensor, or null with a message that ends with a zero in `error`.
struct LayerCalls {
  void* context;
  at::Tensor* (*compute)(void* context, at::Tensor* const* inputs, size_t count, char* error, size_t capacity);
  void (*release)(void* context);
};

}

namespace {

constexpr size_t kErrorCapacity = 16 * 1024;

/// Releases the layer once, with the last of its owners.
struct Layer {
  explicit Layer(LayerCalls calls) : calls(calls) {}
  ~Layer() { calls.release(calls.context); }
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  at::Tensor compute(const variable_list& inputs) const {
    std::vector<at::Tensor*> pointers;
    // Rust takes pointers to tensors that may be changed and changes none.
    for (const auto& input : inputs) pointers.push_back(const_cast<at::Tensor*>(&input));
    std::string error(kErrorCapacity, '\0');
    std::unique_ptr<at::Tensor> output(
        calls.compute(calls.context, pointers.data(), pointers.size(), error.data(), error.size()));
    if (output == nullptr) throw std::runtime_error(error.c_str());
    return *output;
  }

  LayerCalls calls;
};

/// Autocast as the forward pass had it: a backward pass runs outside of it, perhaps on another thread. Without the cache of
/// lowered weights, which would keep those of this pass.
class AutocastAgain {
 public:
  AutocastAgain(at::DeviceType type, bool enabled, at::ScalarType dtype)
      : type_(type),
        was_enabled_(at::autocast::is_autocast_enabled(type)),
        was_cached_(at::autocast::is_autocast_cache_enabled()),
        was_dtype_(at::autocast::get_autocast_dtype(type)) {
    at::autocast::set_autocast_dtype(type, dtype);
    at::autocast::set_autocast_enabled(type, enabled);
    at::autocast::set_autocast_cache_enabled(false);
  }
  ~AutocastAgain() {
    at::autocast::set_autocast_cache_enabled(was_cached_);
    at::autocast::set_autocast_enabled(type_, was_enabled_);
    at::autocast::set_autocast_dtype(type_, was_dtype_);
  }
  AutocastAgain(const AutocastAgain&) = delete;
  AutocastAgain& operator=(const AutocastAgain&) = delete;

 private:
  at::DeviceType type_;
  bool was_enabled_;
  bool was_cached_;
  at::ScalarType was_dtype_;
};

/// Stands for a layer in the graph. The first of its variables are the layer's inputs, the others its parameters.
class RecomputedLayer : public torch::autograd::Node {
 public:
  RecomputedLayer(variable_list variables, size_t inputs, std::shared_ptr<Layer> layer)
      : inputs_(inputs),
        layer_(std::move(layer)),
        device_(variables.at(0).device().type()),
        autocast_(at::autocast::is_autocast_enabled(device_)),
        dtype_(at::autocast::get_autocast_dtype(device_)) {
    for (const auto& variable : variables) {
      add_next_edge(variable.requires_grad() ? torch::autograd::impl::gradient_edge(variable) : torch::autograd::Edge());
      saved_.emplace_back(variable, /*is_output=*/false);
    }
  }

  std::string name() const override { return "RecomputedLayer"; }

  variable_list apply(variable_list&& gradients) override {
    std::lock_guard<std::mutex> guard(mutex_);
    variable_list results(saved_.size());
    if (!gradients.at(0).defined()) return results;
    TORCH_CHECK(layer_ != nullptr, "a layer cannot be differentiated twice: a bug");
    variable_list inputs, wanted;
    std::vector<size_t> places;
    for (size_t i = 0; i < saved_.size(); ++i) {
      auto variable = saved_[i].unpack();
      const bool differentiated = variable.requires_grad() && task_should_compute_output(i);
      if (i < inputs_) {
        // Cut off from the graph before it: the gradient ends here, and this node hands it on.
        variable = variable.detach().set_requires_grad(differentiated);
        inputs.push_back(variable);
      }
      if (differentiated) {
        wanted.push_back(variable);
        places.push_back(i);
      }
    }
    if (wanted.empty()) return results;
    at::AutoGradMode with_graph(true);
    at::Tensor output;
    {
      AutocastAgain autocast(device_, autocast_, dtype_);
      output = layer_->compute(inputs);
    }
    auto found = torch::autograd::grad(
        {output}, wanted, {gradients[0]}, /*retain_graph=*/false, /*create_graph=*/false, /*allow_unused=*/true);
    for (size_t i = 0; i < places.size(); ++i) results[places[i]] = std::move(found[i]);
    return results;
  }

  void release_variables() override {
    std::lock_guard<std::mutex> guard(mutex_);
    for (auto& variable : saved_) variable.reset_data();
    layer_.reset();
  }

 private:
  size_t inputs_;
  std::shared_ptr<Layer> layer_;
  at::DeviceType device_;
  bool autocast_;
  at::ScalarType dtype_;
  std::vector<torch::autograd::SavedVariable> saved_;
};

} // namespace

/// Makes `*out` of `output`, which the layer has computed of `inputs` and `parameters` without a graph: the same values, with
/// a graph in which the layer is computed again.
ANOFPDM_EXPORT char* anofpdm_recomputed(
    at::Tensor* output,
    at::Tensor* const* inputs,
    size_t input_count,
    at::Tensor* const* parameters,
    size_t parameter_count,
    LayerCalls calls,
    at::Tensor** out) {
  return caught([&] {
    auto layer = std::make_shared<Layer>(calls);
    variable_list variables;
    for (size_t i = 0; i < input_count; ++i) variables.push_back(*inputs[i]);
    for (size_t i = 0; i < parameter_count; ++i) variables.push_back(*parameters[i]);
    // The same memory, without what it may be a view of.
    auto result = output->variable_data();
    bool differentiable = false;
    for (const auto& variable : variables) differentiable |= variable.requires_grad();
    if (at::GradMode::is_enabled() && differentiable) {
      std::shared_ptr<RecomputedLayer> node(
          new RecomputedLayer(std::move(variables), input_count, std::move(layer)), torch::autograd::deleteNode);
      torch::autograd::set_history(result, node);
    }
    *out = new at::Tensor(std::move(result));
  });
}
