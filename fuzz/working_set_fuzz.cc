// Working sets: the checksum is put right first, so that the fuzzer reaches what lies behind it.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "base/block.h"
#include "format/checksum.h"
#include "format/working_set.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lamina::format;
  const auto input = std::as_bytes(std::span(data, size));
  static_cast<void>(decode_working_set(input));
  std::vector<std::byte> bytes(input.begin(), input.end());
  if (bytes.size() < sizeof(std::uint64_t)) return 0;
  const auto covered = std::span(bytes).first(bytes.size() - sizeof(std::uint64_t));
  const std::uint64_t checksum = checksum64(covered);
  std::memcpy(bytes.data() + covered.size(), &checksum, sizeof(checksum));
  const auto decoded = decode_working_set(bytes);
  if (!decoded) return 0;
  for (const lamina::BlockRun& run : decoded->runs) {
    if (run.count == 0 ||
        std::uint64_t{run.first} + run.count > lamina::blocks_for(decoded->memory_bytes)) {
      std::abort();
    }
  }
  const auto again = decode_working_set(encode_working_set(*decoded));
  if (!again || *again != *decoded) std::abort();
  return 0;
}
