#pragma once
#include <chrono>
#include <memory>

namespace gloo {
namespace transport {
class Device;
class UnboundBuffer;
} // namespace transport

class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
  /// Ends every operation under way with an error, here and at the peers.
  void closeConnections();
};
} // namespace gloo
