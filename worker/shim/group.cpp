// Groups of ranks: rendezvous, collectives and gradient buckets of libtorch's c10d.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <ATen/ATen.h>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include "caught.hpp"
#include "group.hpp"

using namespace anofpdm;
using std::chrono::milliseconds;

namespace {

/// Largest value of a key, bytes: as `Rendezvous` in Rust says.
constexpr size_t kValueLimit = 16 * 1024;

/// The store of c10d on top of the two things that the queue can do: set a key and get it.
class RustStore : public c10d::Store {
 public:
  RustStore(RendezvousCalls calls, milliseconds timeout) : Store(timeout), calls_(std::make_shared<Owned>(calls)) {}

  c10::intrusive_ptr<Store> clone() override {
    return c10::make_intrusive<RustStore>(*this);
  }

  void set(const std::string& key, const std::vector<uint8_t>& value) override {
    TORCH_CHECK(value.size() <= kValueLimit, "rendezvous: the value of ", key, " has ", value.size(), " bytes");
    char error[kErrorCapacity] = {};
    const bool done = calls_->calls.set(
        calls_->calls.context, key.data(), key.size(), value.data(), value.size(), error, sizeof error);
    TORCH_CHECK(done, error);
  }

  std::vector<uint8_t> get(const std::string& key) override {
    return await(key, timeout_);
  }

  void wait(const std::vector<std::string>& keys) override {
    wait(keys, timeout_);
  }

  void wait(const std::vector<std::string>& keys, const milliseconds& timeout) override {
    const auto end = std::chrono::steady_clock::now() + timeout;
    for (const auto& key : keys) {
      const auto left = std::chrono::duration_cast<milliseconds>(end - std::chrono::steady_clock::now());
      await(key, std::max(left, milliseconds(0)));
    }
  }

  bool check(const std::vector<std::string>& keys) override {
    std::vector<uint8_t> value;
    for (const auto& key : keys) {
      if (!look(key, milliseconds(0), value)) return false;
    }
    return true;
  }

  int64_t add(const std::string& key, int64_t) override {
    TORCH_CHECK(false, "rendezvous: nothing should add to ", key);
  }

  bool deleteKey(const std::string&) override {
    // A rendezvous belongs to one generation of a gang and is dropped whole with it.
    return false;
  }

  int64_t getNumKeys() override {
    TORCH_CHECK(false, "rendezvous: nothing should count its keys");
  }

 private:
  struct Owned {
    explicit Owned(RendezvousCalls calls) : calls(calls) {}
    ~Owned() {
      calls.release(calls.context);
    }
    Owned(const Owned&) = delete;
    Owned& operator=(const Owned&) = delete;
    RendezvousCalls calls;
  };

  std::vector<uint8_t> await(const std::string& key, milliseconds timeout) {
    std::vector<uint8_t> value;
    TORCH_CHECK(
        look(key, timeout, value), "rendezvous: no rank has set ", key, " within ", timeout.count(), " ms");
    return value;
  }

  /// Whether `key` is set within `timeout`, and its value.
  bool look(const std::string& key, milliseconds timeout, std::vector<uint8_t>& value) {
    value.resize(kValueLimit);
    int64_t length = -1;
    char error[kErrorCapacity] = {};
    const bool done = calls_->calls.get(
        calls_->calls.context,
        key.data(),
        key.size(),
        static_cast<uint64_t>(timeout.count()),
        value.data(),
        value.size(),
        &length,
        error,
        sizeof error);
    TORCH_CHECK(done, error);
    if (length < 0) return false;
    value.resize(static_cast<size_t>(length));
    return true;
  }

  std::shared_ptr<Owned> calls_;
};

/// Gloo that can be aborted: closing the connections ends every operation under way.
class AbortableGloo : public c10d::ProcessGroupGloo {
 public:
  using ProcessGroupGloo::ProcessGroupGloo;

  void abort() override {
    for (auto& context : contexts_) context->closeConnections();
  }
};

using Instant = std::chrono::steady_clock::time_point;
using c10::ivalue::Future;

/// Sums under way on CPUs. Gloo that closes its connections wakes its peers, but not its own threads, which wait for a peer
/// that hangs until the timeout: whoever waits for such a sum is told of the end here.
class OpenSums : public std::enable_shared_from_this<OpenSums> {
 public:
  /// Ends as `sum` does, or with an error when the group is aborted before.
  c10::intrusive_ptr<Future> followed(Future& sum) {
    auto follower = c10::make_intrusive<Future>(sum.elementType());
    {
      std::lock_guard<std::mutex> guard(mutex_);
      open_.erase(
          std::remove_if(open_.begin(), open_.end(), [](const auto& open) { return open->completed(); }), open_.end());
      open_.push_back(follower);
      if (aborted_) follower->setError(ended());
    }
    sum.addCallback([self = shared_from_this(), follower](Future& sum) {
      std::lock_guard<std::mutex> guard(self->mutex_);
      if (follower->completed()) return;
      if (sum.hasError()) {
        follower->setError(sum.exception_ptr());
      } else {
        follower->markCompleted(sum.value());
      }
    });
    return follower;
  }

  void abort() {
    std::lock_guard<std::mutex> guard(mutex_);
    aborted_ = true;
    for (const auto& open : open_) {
      if (!open->completed()) open->setError(ended());
    }
  }

 private:
  static std::exception_ptr ended() { return std::make_exception_ptr(std::runtime_error("the group was aborted")); }

  std::mutex mutex_;
  bool aborted_ = false;
  std::vector<c10::intrusive_ptr<Future>> open_;
};

/// Sums a bucket over the ranks and leaves it a sum: what a rank's gradients weigh is in its loss.
class SumHook : public c10d::CppCommHookInterface<c10::intrusive_ptr<c10d::Backend>> {
 public:
  /// `open` where a backend has to be helped to abort.
  SumHook(c10::intrusive_ptr<c10d::Backend> backend, std::shared_ptr<OpenSums> open, std::shared_ptr<Instant> last)
      : CppCommHookInterface(std::move(backend)), open_(std::move(open)), last_(std::move(last)) {}

  c10::intrusive_ptr<c10::ivalue::Future> runHook(c10d::GradBucket& bucket) override {
    std::vector<at::Tensor> tensors{bucket.getBufferRef()};
    auto sum = state_->allreduce(tensors)->getFuture();
    *last_ = std::chrono::steady_clock::now();
    return open_ == nullptr ? sum : open_->followed(*sum);
  }

 private:
  std::shared_ptr<OpenSums> open_;
  std::shared_ptr<Instant> last_;
};

} // namespace

namespace anofpdm {

/// A group as both its faces: the Reducer wants a ProcessGroup, everything else the backend.
struct Group {
  c10::intrusive_ptr<c10d::Backend> backend;
  c10::intrusive_ptr<c10d::ProcessGroup> whole;
  /// Of CPUs; null where the backend itself ends what is under way.
  std::shared_ptr<OpenSums> open;
  /// Nothing more is to be expected of the other ranks.
  std::atomic<bool> aborted{false};
};

struct Buckets {
  Buckets(std::vector<at::Tensor> parameters, const Group& group, int64_t first_bytes, int64_t bytes)
      : reducer(
            parameters,
            assignment(parameters, first_bytes, bytes),
            group.whole,
            std::vector<bool>(parameters.size(), false),
            bytes,
            /*find_unused_parameters=*/false,
            /*gradient_as_bucket_view=*/true,
            {},
            first_bytes,
            /*skip_all_reduce_unused_params=*/false,
            /*use_python_reducer=*/false,
            {}) {
    reducer.register_comm_hook(std::make_unique<SumHook>(group.backend, group.open, last_sent));
  }

  /// Last parameters first: a guess at the order of their gradients until the first backward pass.
  static std::vector<std::vector<size_t>> assignment(
      const std::vector<at::Tensor>& parameters, int64_t first_bytes, int64_t bytes) {
    auto limits = std::vector<size_t>{static_cast<size_t>(first_bytes), static_cast<size_t>(bytes)};
    auto buckets = std::get<0>(c10d::compute_bucket_assignment_by_size(
        parameters, limits, std::vector<bool>(parameters.size(), false), {}, {}));
    std::reverse(buckets.begin(), buckets.end());
    return buckets;
  }

  /// When the last bucket was full and sent: what comes after it in a backward pass is waiting for the sums.
  std::shared_ptr<Instant> last_sent = std::make_shared<Instant>();
  c10d::Reducer reducer;
};

} // namespace anofpdm

ANOFPDM_EXPORT void anofpdm_free_text(char* text) {
  std::free(text);
}

ANOFPDM_EXPORT char* anofpdm_store_create(RendezvousCalls calls, uint64_t timeout_ms, StorePointer** out) {
  return caught([&] {
    *out = new StorePointer(c10::make_intrusive<RustStore>(calls, milliseconds(timeout_ms)));
  });
}

ANOFPDM_EXPORT void anofpdm_store_free(StorePointer* store) {
  delete store;
}

/// `connect_ms` for finding the other ranks, `timeout_ms` for each operation afterwards. `interface` and `host` say
/// where to listen; one of them is null.
ANOFPDM_EXPORT char* anofpdm_gloo_create(
    StorePointer* store,
    int rank,
    int world,
    uint64_t connect_ms,
    uint64_t timeout_ms,
    const char* interface,
    const char* host,
    BackendPointer** out) {
  return caught([&] {
    // c10d notes every operation in one record for the process. Ranks that are threads of one process write it at the same
    // time and have crashed there; nothing here reads it.
    static std::once_flag unrecorded;
    std::call_once(unrecorded, [] { setenv("TORCH_FR_BUFFER_SIZE", "0", /*overwrite=*/0); });
    auto options = c10d::ProcessGroupGloo::Options::create(milliseconds(connect_ms));
    options->devices.push_back(
        interface != nullptr ? c10d::ProcessGroupGloo::createDeviceForInterface(interface)
                             : c10d::ProcessGroupGloo::createDeviceForHostname(host));
    auto gloo = c10::make_intrusive<AbortableGloo>(*store, rank, world, options);
    gloo->setTimeout(milliseconds(timeout_ms));
    *out = new BackendPointer(std::move(gloo));
  });
}

/// `device` is the GPU of an NCCL backend, -1 for others; `detached` where an abort ends what is under way by itself.
ANOFPDM_EXPORT char* anofpdm_group_create(
    StorePointer* store, BackendPointer* backend, int device, bool detached, int rank, int world, Group** out) {
  return caught([&] {
    const bool cuda = device >= 0;
    const auto kind = cuda ? c10d::ProcessGroup::BackendType::NCCL : c10d::ProcessGroup::BackendType::GLOO;
    auto whole = c10::make_intrusive<c10d::ProcessGroup>(*store, rank, world);
    whole->setDefaultBackend(kind);
    if (cuda) whole->setBoundDeviceId(c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(device)));
    whole->setBackend(cuda ? c10::DeviceType::CUDA : c10::DeviceType::CPU, kind, *backend);
    whole->setGroupName("anofpdm");
    *out = new Group{*backend, std::move(whole), detached ? nullptr : std::make_shared<OpenSums>()};
  });
}

/// Connects to the other ranks now, where a backend would do so at its first operation. May take for ever.
ANOFPDM_EXPORT char* anofpdm_backend_connect(BackendPointer* backend, int device) {
  return caught([&] {
    const auto where = device < 0 ? c10::Device(c10::kCPU)
                                  : c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(device));
    (*backend)->eagerConnectSingleDevice(where);
  });
}

/// Another reference to the same backend.
ANOFPDM_EXPORT BackendPointer* anofpdm_backend_share(const BackendPointer* backend) {
  return new BackendPointer(*backend);
}

ANOFPDM_EXPORT void anofpdm_backend_free(BackendPointer* backend) {
  delete backend;
}

ANOFPDM_EXPORT void anofpdm_group_free(Group* group) {
  // Both may throw when a peer is gone; nothing is left to be done about it.
  std::free(caught([&] {
    // A group that nobody shut down is taken for one that failed: NCCL's destructor would abort it and say so.
    if (!group->aborted) group->backend->shutdown();
  }));
  std::free(caught([&] { delete group; }));
}

ANOFPDM_EXPORT char* anofpdm_group_abort(Group* group) {
  return caught([&] {
    group->aborted = true;
    if (group->open != nullptr) group->open->abort();
    group->backend->abort();
  });
}

ANOFPDM_EXPORT char* anofpdm_all_reduce(Group* group, at::Tensor* tensor, WorkPointer** out) {
  return caught([&] {
    std::vector<at::Tensor> tensors{tensor->detach()};
    *out = new WorkPointer(group->backend->allreduce(tensors));
  });
}

ANOFPDM_EXPORT char* anofpdm_broadcast(Group* group, at::Tensor* tensor, int root, WorkPointer** out) {
  return caught([&] {
    std::vector<at::Tensor> tensors{tensor->detach()};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    *out = new WorkPointer(group->backend->broadcast(tensors, options));
  });
}

ANOFPDM_EXPORT char* anofpdm_barrier(Group* group, uint64_t timeout_ms, int device, WorkPointer** out) {
  return caught([&] {
    c10d::BarrierOptions options;
    options.timeout = milliseconds(timeout_ms);
    if (device >= 0) options.device_ids = {device};
    *out = new WorkPointer(group->backend->barrier(options));
  });
}

/// Waits up to `timeout_ms`; `*done` says whether the work has ended. A work that has not may be waited for again.
/// `asked` for a backend that a wait with a timeout would abort.
ANOFPDM_EXPORT char* anofpdm_work_wait(WorkPointer* work, uint64_t timeout_ms, bool asked, bool* done) {
  return caught([&] {
    *done = false;
    const auto end = std::chrono::steady_clock::now() + milliseconds(timeout_ms);
    if (asked) {
      while (!(*work)->isCompleted()) {
        if (std::chrono::steady_clock::now() >= end) return;
        std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
      (*work)->wait();
      *done = true;
      return;
    }
    try {
      (*work)->wait(milliseconds(std::max<uint64_t>(timeout_ms, 1)));
      *done = true;
    } catch (...) {
      // Either the work has failed, or it is not done yet.
      if ((*work)->isCompleted()) throw;
    }
  });
}

ANOFPDM_EXPORT void anofpdm_work_free(WorkPointer* work) {
  delete work;
}

ANOFPDM_EXPORT char* anofpdm_buckets_create(
    Group* group, at::Tensor* const* parameters, size_t count, int64_t first_bytes, int64_t bytes, Buckets** out) {
  return caught([&] {
    std::vector<at::Tensor> list;
    for (size_t i = 0; i < count; ++i) list.push_back(*parameters[i]);
    *out = new Buckets(std::move(list), *group, first_bytes, bytes);
  });
}

/// `*waited` is how long this thread waited for the sums after it had sent its own last gradient, seconds. On a GPU the
/// device waits, not the thread.
ANOFPDM_EXPORT char* anofpdm_buckets_backward(Buckets* buckets, at::Tensor* loss, double* waited) {
  return caught([&] {
    buckets->reducer.prepare_for_forward();
    buckets->reducer.prepare_for_backward({*loss});
    *buckets->last_sent = std::chrono::steady_clock::now();
    loss->backward();
    *waited = std::chrono::duration<double>(std::chrono::steady_clock::now() - *buckets->last_sent).count();
  });
}

ANOFPDM_EXPORT char* anofpdm_buckets_reorder(Buckets* buckets) {
  return caught([&] { buckets->reducer.rebuild_buckets(); });
}

ANOFPDM_EXPORT void anofpdm_buckets_free(Buckets* buckets) {
  char* said = caught([&] { delete buckets; });
  std::free(said);
}
