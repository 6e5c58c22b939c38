// What the shim in the program and the one beside it (NCCL) hand to each other.
#pragma once

#include <cstddef>
#include <cstdint>

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <torch/csrc/distributed/c10d/Work.hpp>

/// A rendezvous implemented in Rust. Each call returns false after writing a message, ended by a zero, to `error`.
extern "C" struct RendezvousCalls {
  void* context;
  bool (*set)(
      void* context,
      const char* key,
      size_t key_length,
      const uint8_t* value,
      size_t length,
      char* error,
      size_t error_capacity);
  /// Waits up to `wait_ms` for the key; `*length` is -1 where it is not set.
  bool (*get)(
      void* context,
      const char* key,
      size_t key_length,
      uint64_t wait_ms,
      uint8_t* value,
      size_t capacity,
      int64_t* length,
      char* error,
      size_t error_capacity);
  void (*release)(void* context);
};

namespace anofpdm {

constexpr size_t kErrorCapacity = 512;

using StorePointer = c10::intrusive_ptr<c10d::Store>;
using BackendPointer = c10::intrusive_ptr<c10d::Backend>;
using WorkPointer = c10::intrusive_ptr<c10d::Work>;

struct Group;
struct Buckets;

} // namespace anofpdm
