// What every function that Rust calls is wrapped in: no exception leaves C++.
#pragma once

#include <cstdlib>
#include <cstring>
#include <exception>
#include <utility>

#include <c10/util/Exception.h>

#define ANOFPDM_EXPORT extern "C" __attribute__((visibility("default")))

namespace anofpdm {

/// A copy of `text` that `anofpdm_free_text` frees.
inline char* copied(const char* text) {
  char* copy = strdup(text);
  // Without memory for the message an abort says more than a pointer to nothing.
  if (copy == nullptr) std::abort();
  return copy;
}

/// Runs `body`: null when it returns, the text of its exception otherwise.
template <typename Body>
char* caught(Body&& body) noexcept {
  try {
    std::forward<Body>(body)();
    return nullptr;
  } catch (const c10::Error& error) {
    return copied(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return copied(error.what());
  } catch (...) {
    return copied("an exception of unknown type");
  }
}

} // namespace anofpdm
