// Runs the kernels of `group_norm.cu` on the CPU, one thread for each of a block, so that a test sees what they compute
// without a GPU. Reads the sizes, grids and values that the test writes to standard input, writes the result.

#include <barrier>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

struct Dimensions {
  unsigned x = 1, y = 1, z = 1;
};
thread_local Dimensions threadIdx, blockIdx;
static Dimensions blockDim, gridDim;
static std::barrier<>* everyone;

#define __device__
#define __global__
#define __shared__ static
static void __syncthreads() { everyone->arrive_and_wait(); }

static float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
static unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
static float float_of_half(unsigned short bits) {
  _Float16 value;
  std::memcpy(&value, &bits, sizeof value);
  return static_cast<float>(value);
}
static unsigned short half_of_float(float wide) {
  const auto value = static_cast<_Float16>(wide);
  unsigned short bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
static int min(int a, int b) { return a < b ? a : b; }

#include "group_norm.cu"

/// Every block of the grid in turn, all threads of a block at once.
template <typename Kernel>
void launch(Dimensions grid, Dimensions block, Kernel&& kernel) {
  gridDim = grid;
  blockDim = block;
  const unsigned count = block.x * block.y * block.z;
  std::barrier all(count);
  everyone = &all;
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < count; ++thread) {
    threads.emplace_back([&, thread] {
      threadIdx = {thread % block.x, thread / block.x % block.y, thread / block.x / block.y};
      for (unsigned z = 0; z < grid.z; ++z)
        for (unsigned y = 0; y < grid.y; ++y)
          for (unsigned x = 0; x < grid.x; ++x) {
            blockIdx = {x, y, z};
            kernel();
            // The next block has the same shared memory.
            all.arrive_and_wait();
          }
    });
  }
  for (auto& thread : threads) thread.join();
}

template <typename Value>
std::vector<Value> read(size_t count) {
  std::vector<Value> values(count);
  if (std::fread(values.data(), sizeof(Value), count, stdin) != count) std::abort();
  return values;
}

Dimensions dimensions() {
  const auto sides = read<int32_t>(3);
  return {static_cast<unsigned>(sides[0]), static_cast<unsigned>(sides[1]), static_cast<unsigned>(sides[2])};
}

int main() {
  const auto sizes = read<int32_t>(7);
  const int rows = sizes[0], pixels = sizes[1], chunk = sizes[2], chunks = sizes[3], branches = sizes[4], silu = sizes[5],
            count = sizes[6];
  std::vector<std::vector<In>> values(2);
  std::vector<std::vector<Pair>> sums(2);
  Source sources[2] = {{nullptr, nullptr, 1, 0}, {nullptr, nullptr, 1, 0}};
  int channels = 0;
  for (int i = 0; i < count; ++i) {
    const auto size = read<int32_t>(2);
    values[i] = read<In>(static_cast<size_t>(size[0]) * pixels * size[1] / VECTOR);
    sums[i].resize(static_cast<size_t>(size[0]) * chunks * size[1]);
    sources[i] = {values[i].data(), sums[i].data(), size[0], size[1]};
    channels += size[1];
    const auto grid = dimensions(), block = dimensions();
    launch(grid, block, [&] { moments(sources[i], pixels, chunk); });
  }
  const auto gains = read<float>(static_cast<size_t>(branches) * channels);
  const auto offsets = read<float>(static_cast<size_t>(branches) * channels);
  Affines affines = {};
  for (int branch = 0; branch < branches; ++branch) {
    affines.gain[branch] = &gains[static_cast<size_t>(branch) * channels];
    affines.offset[branch] = &offsets[static_cast<size_t>(branch) * channels];
  }
  std::vector<Pair> written(static_cast<size_t>(rows) * channels);
  {
    const auto grid = dimensions(), block = dimensions();
    launch(grid, block, [&] {
      lines(sources[0], sources[1], pixels, chunks, 1e-5, rows / branches, affines, written.data());
    });
  }
  std::vector<Out> out(static_cast<size_t>(rows) * pixels * channels / VECTOR);
  {
    const auto grid = dimensions(), block = dimensions();
    launch(grid, block, [&] { apply(sources[0], sources[1], pixels, silu, written.data(), out.data()); });
  }
  std::fwrite(out.data(), sizeof(Out), out.size(), stdout);
}
