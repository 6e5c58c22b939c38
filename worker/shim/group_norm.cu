// GroupNorm with scale, shift and SiLU over channels-last maps: three kernels, two readings of the maps and one writing.
//
// libtorch's own GroupNorm returns channels-last maps in the plain order, so that a convolution would lay each out anew.
// Compiled at run time for the GPU that is there, with IN_KIND and OUT_KIND set; sums are in one order, so the same maps
// give the same bits. The tests compile it for the CPU (`emulated.cpp`), since few machines have a GPU.
//
// A map may lie in two sources that are joined along their channels; one with fewer rows than the result serves it
// several times over. Every source has a multiple of four channels and starts at a multiple of four values.

#define FLOAT32 0
#define FLOAT16 1
#define BFLOAT16 2

/// Channels that a thread reads at once.
constexpr int VECTOR = 4;
/// Threads of `moments` side by side along the channels, and pixels that they read at once.
constexpr int TILE = 32, LANES = 8;
/// Threads of `lines`.
constexpr int WARP = 32;

#ifdef __CUDACC_RTC__
// The run-time compiler comes without the header for these two.
__device__ float float_of_half(unsigned short bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}

__device__ unsigned short half_of_float(float value) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
#endif

template <int kind>
struct Stored;

template <>
struct Stored<FLOAT32> {
  using Type = float;
  static __device__ float widen(float value) { return value; }
  static __device__ float narrow(float value) { return value; }
};

template <>
struct Stored<FLOAT16> {
  using Type = unsigned short;
  static __device__ float widen(unsigned short bits) { return float_of_half(bits); }
  static __device__ unsigned short narrow(float value) { return half_of_float(value); }
};

template <>
struct Stored<BFLOAT16> {
  using Type = unsigned short;
  static __device__ float widen(unsigned short bits) {
    return __uint_as_float(static_cast<unsigned>(bits) << 16);
  }
  // To the nearest, halves to even; NaN stays NaN.
  static __device__ unsigned short narrow(float value) {
    const unsigned bits = __float_as_uint(value);
    const unsigned rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return static_cast<unsigned short>(value != value ? 0x7fc0u : rounded);
  }
};

using Input = Stored<IN_KIND>;
using Output = Stored<OUT_KIND>;

template <typename Type>
struct alignas(VECTOR * sizeof(Type)) Vector {
  Type values[VECTOR];
};

using In = Vector<Input::Type>;
using Out = Vector<Output::Type>;

struct alignas(8) Pair {
  float first, second;
};

/// `[rows, pixels, channels]`, channels side by side; `sums` is what `moments` wrote of it.
struct Source {
  const In* values;
  Pair* sums;
  int rows, channels;
};

/// Which of two sources holds a channel of the joined map, and where in it.
struct Place {
  Source source;
  int channel;
};

__device__ Place place_of(Source first, Source second, int channel) {
  if (channel < first.channels) return {first, channel};
  return {second, channel - first.channels};
}

/// A value by its index, for the few that are read one at a time.
__device__ float value_at(const In* values, size_t index) {
  return Input::widen(values[index / VECTOR].values[index % VECTOR]);
}

/// How many values, their mean, and the sum of squared distances from it.
struct Moments {
  double count, mean, squares;
};

__device__ Moments joined(Moments a, Moments b) {
  const double count = a.count + b.count;
  if (count == 0) return a;
  const double apart = b.mean - a.mean, share = b.count / count;
  return {count, a.mean + apart * share, a.squares + b.squares + apart * apart * a.count * share};
}

/// Sum and sum of squares of every channel over `chunk` pixels, both of the distance from the channel's first pixel, to
/// `sums`, `[rows, chunks, channels]`. Block (x, y, z): 128 channels from 128 x, chunk y, row z.
extern "C" __global__ void moments(Source source, int pixels, int chunk) {
  __shared__ Pair parts[LANES][TILE * VECTOR];
  const int channel = (blockIdx.x * TILE + threadIdx.x) * VECTOR;
  const int stride = source.channels / VECTOR;
  const bool inside = channel < source.channels;
  if (inside) {
    const In* map = source.values + static_cast<size_t>(blockIdx.z) * pixels * stride + channel / VECTOR;
    const In first = map[0];
    float sum[VECTOR] = {}, squares[VECTOR] = {};
    const int end = min(pixels, static_cast<int>(blockIdx.y + 1) * chunk);
    for (int pixel = blockIdx.y * chunk + threadIdx.y; pixel < end; pixel += LANES) {
      const In read = map[static_cast<size_t>(pixel) * stride];
      for (int i = 0; i < VECTOR; ++i) {
        const float apart = Input::widen(read.values[i]) - Input::widen(first.values[i]);
        sum[i] += apart;
        squares[i] += apart * apart;
      }
    }
    for (int i = 0; i < VECTOR; ++i) parts[threadIdx.y][threadIdx.x * VECTOR + i] = {sum[i], squares[i]};
  }
  __syncthreads();
  if (inside && threadIdx.y == 0) {
    const size_t at = (static_cast<size_t>(blockIdx.z) * gridDim.y + blockIdx.y) * source.channels + channel;
    for (int i = 0; i < VECTOR; ++i) {
      Pair total = parts[0][threadIdx.x * VECTOR + i];
      for (int lane = 1; lane < LANES; ++lane) {
        const Pair part = parts[lane][threadIdx.x * VECTOR + i];
        total = {total.first + part.first, total.second + part.second};
      }
      source.sums[at + i] = total;
    }
  }
}

/// Gain and offset of each branch, an equal share of the rows each: a value a channel.
struct Affines {
  const float* gain[MAX_BRANCHES];
  const float* offset[MAX_BRANCHES];
};

/// Factor and summand of every channel of every row, to `lines`, `[rows, channels]`. Block (x, y): group x of row y.
extern "C" __global__ void lines(
    Source first, Source second, int pixels, int chunks, double eps, int branch_rows, Affines affines, Pair* lines) {
  __shared__ Moments parts[WARP];
  const int channels = first.channels + second.channels, size = channels / gridDim.x;
  const int from = blockIdx.x * size, row = blockIdx.y;
  Moments own = {0, 0, 0};
  for (int channel = from + threadIdx.x; channel < from + size; channel += WARP) {
    const Place place = place_of(first, second, channel);
    const size_t source_row = row % place.source.rows, width = place.source.channels;
    double sum = 0, squares = 0;
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const Pair part = place.source.sums[(source_row * chunks + chunk) * width + place.channel];
      sum += part.first;
      squares += part.second;
    }
    const double pivot = value_at(place.source.values, source_row * pixels * width + place.channel);
    own = joined(own, {static_cast<double>(pixels), pivot + sum / pixels, squares - sum * sum / pixels});
  }
  parts[threadIdx.x] = own;
  __syncthreads();
  Moments all = {0, 0, 0};
  for (int thread = 0; thread < WARP; ++thread) all = joined(all, parts[thread]);
  const double variance = all.squares / all.count;
  // Rounding may leave a constant map a little below zero.
  const double scale = 1 / sqrt((variance < 0 ? 0 : variance) + eps);
  const int branch = row / branch_rows;
  for (int channel = from + threadIdx.x; channel < from + size; channel += WARP) {
    const double factor = affines.gain[branch][channel] * scale;
    const double summand = affines.offset[branch][channel] - all.mean * factor;
    lines[static_cast<size_t>(row) * channels + channel] = {static_cast<float>(factor), static_cast<float>(summand)};
  }
}

/// `factor * x + summand`, and SiLU of it where asked for. Row y of the grid is row y of the result.
extern "C" __global__ void apply(Source first, Source second, int pixels, int silu, const Pair* lines, Out* out) {
  const int channels = first.channels + second.channels, stride = channels / VECTOR, row = blockIdx.y;
  const int vectors = pixels * stride;
  const Pair* line = lines + static_cast<size_t>(row) * channels;
  Out* written = out + static_cast<size_t>(row) * vectors;
  for (int vector = blockIdx.x * blockDim.x + threadIdx.x; vector < vectors; vector += gridDim.x * blockDim.x) {
    const int pixel = vector / stride, channel = vector % stride * VECTOR;
    const Place place = place_of(first, second, channel);
    const size_t source_row = row % place.source.rows, width = place.source.channels / VECTOR;
    const In read = place.source.values[(source_row * pixels + pixel) * width + place.channel / VECTOR];
    Out result;
    for (int i = 0; i < VECTOR; ++i) {
      const float value = Input::widen(read.values[i]) * line[channel + i].first + line[channel + i].second;
      result.values[i] = Output::narrow(silu ? value / (1 + expf(-value)) : value);
    }
    written[vector] = result;
  }
}
