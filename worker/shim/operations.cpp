// Which operations of libtorch a piece of work consists of, counted by libtorch's own observers.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ATen/record_function.h>

#include "caught.hpp"

using namespace anofpdm;

namespace {

/// Operations of this thread that have asked for no other one, by name.
struct Counted {
  std::map<std::string, uint64_t> leaves;
  /// Of each operation under way: whether it has asked for another one.
  std::vector<bool> asked;
  at::CallbackHandle handle = at::INVALID_CALLBACK_HANDLE;
};

thread_local std::unique_ptr<Counted> counted;

std::unique_ptr<at::ObserverContext> begun(const at::RecordFunction&) {
  if (counted != nullptr) {
    if (!counted->asked.empty()) counted->asked.back() = true;
    counted->asked.push_back(false);
  }
  return nullptr;
}

void ended(const at::RecordFunction& function, at::ObserverContext*) {
  if (counted == nullptr || counted->asked.empty()) return;
  if (!counted->asked.back()) ++counted->leaves[function.name()];
  counted->asked.pop_back();
}

} // namespace

/// From here on the operations of this thread are counted.
ANOFPDM_EXPORT char* anofpdm_operations_begin() {
  return caught([&] {
    TORCH_CHECK(counted == nullptr, "operations are counted already: a bug");
    counted = std::make_unique<Counted>();
    counted->handle = at::addThreadLocalCallback(
        at::RecordFunctionCallback(&begun, &ended).scopes({at::RecordScope::FUNCTION}));
  });
}

/// Ends the counting: a line for each operation, its name and how often. Freed by `anofpdm_free_text`.
ANOFPDM_EXPORT char* anofpdm_operations_end(char** text) {
  return caught([&] {
    TORCH_CHECK(counted != nullptr, "operations are not counted: a bug");
    at::removeCallback(counted->handle);
    std::string lines;
    for (const auto& [name, times] : counted->leaves) lines += name + " " + std::to_string(times) + "\n";
    counted.reset();
    *text = copied(lines.c_str());
  });
}
