// Compiled with -mavx2: run only after checking the CPU, and define nothing but these functions
// here (see block_scan_loop.h).
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace lamina::engine {
namespace {

bool is_zero_bytes(const std::byte* bytes, std::size_t size) {
  constexpr std::size_t kStride = 4 * sizeof(__m256i);
  for (std::size_t i = 0; i < size; i += kStride) {
    const auto* vectors = reinterpret_cast<const __m256i*>(bytes + i);
    const __m256i low =
        _mm256_or_si256(_mm256_loadu_si256(vectors), _mm256_loadu_si256(vectors + 1));
    const __m256i high =
        _mm256_or_si256(_mm256_loadu_si256(vectors + 2), _mm256_loadu_si256(vectors + 3));
    const __m256i all = _mm256_or_si256(low, high);
    if (_mm256_testz_si256(all, all) == 0) return false;
  }
  return true;
}

}  // namespace
}  // namespace lamina::engine

#include "engine/block_scan_loop.h"
#include "engine/block_scan_paths.h"

namespace lamina::engine {

ScanPath avx2_scan_path() { return {"avx2", is_zero_bytes, checksum_bytes, scan_all}; }

}  // namespace lamina::engine
