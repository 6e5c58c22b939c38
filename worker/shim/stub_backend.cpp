// A backend for tests that behaves as NCCL does where something is wrong, without a GPU: operations that never end, or that
// an abort ends without an exception; a barrier that knows no timeout but the group's; a thread that polls the store; a
// connection that is never made. Only tests name its functions, so no program contains it.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <torch/csrc/distributed/c10d/Backend.hpp>

#include "caught.hpp"
#include "group.hpp"

using namespace anofpdm;

namespace {

/// What becomes of an operation.
enum class Operations : int {
  /// Done at once; every rank keeps what it has.
  Done = 0,
  /// Under way until the group is aborted, and then done, without an exception.
  UntilAborted = 1,
  /// Under way for ever: no abort ends a kernel that hangs.
  Endless = 2,
};

/// What a test may ask, also after the backend is gone. As `StubState` in Rust.
struct State {
  std::atomic<bool> aborted{false};
  std::atomic<bool> shut_down{false};
  std::atomic<uint64_t> barriers{0};
  std::atomic<uint64_t> polls{0};
  /// Lets a connection be made that was not to be.
  std::atomic<bool> released{false};
};

class StubWork : public c10d::Work {
 public:
  StubWork(Operations operations, std::shared_ptr<State> state) : operations_(operations), state_(std::move(state)) {}

  bool isCompleted() override {
    return operations_ == Operations::Done || (operations_ == Operations::UntilAborted && state_->aborted);
  }

  bool wait(std::chrono::milliseconds) override {
    while (!isCompleted()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return true;
  }

  /// As a future of CUDA is: complete once the operation was launched, since the stream waits for it and not the thread.
  c10::intrusive_ptr<c10::ivalue::Future> getFuture() override {
    auto future = c10::make_intrusive<c10::ivalue::Future>(c10::ListType::create(c10::TensorType::get()));
    future->markCompleted(at::IValue(std::vector<at::Tensor>{tensor}));
    return future;
  }

  at::Tensor tensor;

 private:
  Operations operations_;
  std::shared_ptr<State> state_;
};

class StubBackend : public c10d::Backend {
 public:
  StubBackend(
      c10::intrusive_ptr<c10d::Store> store,
      int rank,
      int world,
      Operations operations,
      bool connects,
      bool polls,
      std::shared_ptr<State> state)
      : Backend(rank, world), operations_(operations), connects_(connects), state_(std::move(state)) {
    if (polls) {
      poller_ = std::thread([this, store = std::move(store)] {
        while (!over_) {
          // As NCCL's heartbeat thread looks for a sign that another rank is writing down what it did.
          try {
            store->check({"exception_dump"});
          } catch (const std::exception&) {
          }
          ++state_->polls;
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
      });
    }
  }

  ~StubBackend() override {
    over_ = true;
    if (poller_.joinable()) poller_.join();
  }

  const std::string getBackendName() const override {
    return "stub";
  }

  c10::intrusive_ptr<c10d::Work> broadcast(std::vector<at::Tensor>& tensors, const c10d::BroadcastOptions&) override {
    return work(tensors.front());
  }

  c10::intrusive_ptr<c10d::Work> allreduce(std::vector<at::Tensor>& tensors, const c10d::AllreduceOptions&) override {
    return work(tensors.front());
  }

  c10::intrusive_ptr<c10d::Work> allgather(
      std::vector<std::vector<at::Tensor>>& outputs,
      std::vector<at::Tensor>& inputs,
      const c10d::AllgatherOptions&) override {
    for (auto& output : outputs.front()) output.copy_(inputs.front());
    return work(inputs.front());
  }

  /// Not within the time that the options give, as NCCL's.
  c10::intrusive_ptr<c10d::Work> barrier(const c10d::BarrierOptions&) override {
    ++state_->barriers;
    return work(at::zeros({1}));
  }

  void eagerConnectSingleDevice(at::Device) override {
    while (!connects_ && !state_->released) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  void abort() override {
    state_->aborted = true;
  }

  void shutdown() override {
    state_->shut_down = true;
  }

 private:
  c10::intrusive_ptr<c10d::Work> work(const at::Tensor& tensor) {
    auto work = c10::make_intrusive<StubWork>(operations_, state_);
    work->tensor = tensor;
    return work;
  }

  Operations operations_;
  bool connects_;
  std::shared_ptr<State> state_;
  std::atomic<bool> over_{false};
  std::thread poller_;
};

} // namespace

using StatePointer = std::shared_ptr<State>;

ANOFPDM_EXPORT char* anofpdm_stub_create(
    StorePointer* store,
    int rank,
    int world,
    int operations,
    bool connects,
    bool polls,
    StatePointer** state,
    BackendPointer** out) {
  return caught([&] {
    auto shared = std::make_shared<State>();
    *out = new BackendPointer(c10::make_intrusive<StubBackend>(
        *store, rank, world, static_cast<Operations>(operations), connects, polls, shared));
    *state = new StatePointer(std::move(shared));
  });
}

/// Aborted, shut down, barriers, polls.
ANOFPDM_EXPORT void anofpdm_stub_state(const StatePointer* state, uint64_t* out) {
  out[0] = (*state)->aborted;
  out[1] = (*state)->shut_down;
  out[2] = (*state)->barriers;
  out[3] = (*state)->polls;
}

/// Ends what waits for a connection, and frees the state.
ANOFPDM_EXPORT void anofpdm_stub_release(StatePointer* state) {
  (*state)->released = true;
  delete state;
}
