// Which of libtorch's operations a real run calls, and whether each has a kernel for CUDA. No GPU is needed: the run is on
// the CPU, and the second half only asks libtorch's registry.
//
//   as a library, by LD_PRELOAD: appends the name of each operation to $ANOFPDM_OPS when it is first called
//   as a program (-DANOFPDM_CHECKER): reads names on standard input, loads libtorch_cuda.so, prints those that CUDA does not have

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <mutex>
#include <set>
#include <string>

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/record_function.h>

#ifndef ANOFPDM_CHECKER

namespace {

std::unique_ptr<at::ObserverContext> note(const at::RecordFunction& function) {
  static std::mutex mutex;
  static std::set<std::string> seen;
  static std::FILE* file = [] {
    const char* path = std::getenv("ANOFPDM_OPS");
    return path == nullptr ? nullptr : std::fopen(path, "a");
  }();
  const auto name = function.operator_name();
  if (file == nullptr || !name.has_value()) return nullptr;
  std::string text = name->name + (name->overload_name.empty() ? "" : "." + name->overload_name);
  std::lock_guard<std::mutex> guard(mutex);
  if (seen.insert(text).second) {
    text += '\n';
    std::fputs(text.c_str(), file);
    std::fflush(file);
  }
  return nullptr;
}

const auto handle = at::addGlobalCallback(
    at::RecordFunctionCallback(note).scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));

} // namespace

#else

namespace {

/// Whether a tensor on a GPU finds a kernel: CUDA's own, or one made of other operations.
bool served(const c10::OperatorHandle& op) {
  using c10::DispatchKey;
  for (const auto key :
       {DispatchKey::CUDA,
        DispatchKey::CompositeImplicitAutograd,
        DispatchKey::CompositeExplicitAutograd,
        DispatchKey::CompositeExplicitAutogradNonFunctional}) {
    if (op.hasKernelForDispatchKey(key)) return true;
  }
  // For all backends at once: views and the like.
  return op.hasKernelForDispatchKey(DispatchKey::CatchAll);
}

} // namespace

int main() {
  // Without ending: its hooks are used until the process ends.
  if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    std::cerr << "op_coverage: " << dlerror() << '\n';
    return 2;
  }
  size_t seen = 0, missing = 0;
  std::string line;
  while (std::getline(std::cin, line)) {
    if (line.empty()) continue;
    ++seen;
    const auto dot = line.find('.', line.find("::"));
    const c10::OperatorName name{line.substr(0, dot), dot == std::string::npos ? "" : line.substr(dot + 1)};
    const auto op = c10::Dispatcher::singleton().findSchema(name);
    if (op.has_value() && served(*op)) continue;
    std::cout << line << (op.has_value() ? "" : " (libtorch does not know it)") << '\n';
    ++missing;
  }
  std::cerr << "op_coverage: " << seen << " operations, " << missing << " without a kernel for CUDA\n";
  // The destructors of libtorch_cuda would look for a driver.
  std::cout.flush();
  _exit(missing == 0 ? 0 : 1);
}

#endif
