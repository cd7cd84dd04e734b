// snapshot.json: no input crashes the decoder, and what it accepts survives a round trip.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "store/snapshot_facts.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lamina::store;
  const auto facts = decode_facts(std::as_bytes(std::span(data, size)));
  if (!facts) return 0;
  const std::string text = encode_facts(*facts);
  const auto again = decode_facts(std::as_bytes(std::span(text)));
  if (!again || again->pause_id != facts->pause_id || again->layers != facts->layers) std::abort();
  return 0;
}
