// A header against layers: extents and trailers that do not fit each other are refused, and
// whatever is accepted can be read through without leaving the data.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/block.h"
#include "base/bytes.h"
#include "engine/chain.h"
#include "engine/layer.h"
#include "engine/rebuild.h"
#include "format/trailer.h"
#include "mapping/mapping.h"

namespace {

using namespace lamina;

/// Reads small numbers off the input, zeros when it is used up.
class NumberReader {
 public:
  explicit NumberReader(std::span<const std::byte> bytes) : reader_(bytes) {}
  std::uint32_t number(std::uint32_t limit) { return reader_.get<std::uint8_t>() % limit; }

 private:
  ByteReader reader_;
};

Uuid id_of(std::uint32_t number) {
  Uuid id;
  id.bytes.fill(static_cast<std::uint8_t>(number + 1));
  return id;
}

format::Trailer make_trailer(NumberReader& input, std::uint32_t number, std::uint32_t blocks) {
  format::Trailer trailer;
  trailer.build_id = id_of(number);
  trailer.memory_bytes = blocks * kBlockBytes;
  trailer.layout =
      input.number(2) == 0 ? format::LayerLayout::kCompact : format::LayerLayout::kAdopted;
  for (std::uint32_t i = 0; i < number; ++i) {
    (input.number(4) != 0 ? trailer.chain : trailer.replaces).push_back(id_of(i));
  }
  for (std::uint32_t block = 0; block < blocks;) {
    const std::uint32_t count = std::min(1 + input.number(4), blocks - block);
    const auto state = input.number(3);
    if (state == 0) trailer.extents.push_back({block, count, 0, 0});
    if (state == 1) trailer.zeros.push_back({block, count});
    block += count + input.number(2);
  }
  const std::uint64_t stored = format::set_positions(trailer);
  trailer.data_blocks = trailer.layout == format::LayerLayout::kCompact ? stored : blocks;
  trailer.checksums.resize(stored);
  return trailer;
}

/// A layer with this trailer and no data; nothing if extents and zeros contradict each other.
std::optional<engine::Layer> make_layer(const format::Trailer& trailer) {
  static const int directory = ::open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::string name = "lamina-fuzz-" + std::to_string(::getpid());
  const auto bytes = format::encode_trailer(trailer);
  const int fd = ::openat(directory, name.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) std::abort();
  const auto offset = static_cast<off_t>(trailer.data_blocks * kBlockBytes);
  if (::ftruncate(fd, offset) != 0 || ::pwrite(fd, bytes.data(), bytes.size(), offset) < 0) {
    std::abort();
  }
  ::close(fd);
  auto layer = engine::Layer::open(directory, name, name, trailer.build_id, true);
  ::unlinkat(directory, name.c_str(), 0);
  if (!layer) return std::nullopt;
  return std::move(*layer);
}

/// The state that the trailers give must be one that they allow.
void check_rebuilt(std::span<const engine::Layer> layers) {
  std::vector<const format::Trailer*> trailers;
  for (const engine::Layer& layer : layers) trailers.push_back(&*layer.trailer());
  const auto rebuilt = engine::rebuild_state(trailers);
  if (!rebuilt) return;
  for (std::size_t i = 0; i < rebuilt->mapping.extent_count(); ++i) {
    const auto extent = rebuilt->mapping.extent(i);
    if (extent.layer == mapping::kZeros) continue;
    const Uuid& id = rebuilt->mapping.layer_id(extent.layer);
    for (const engine::Layer& layer : layers) {
      if (layer.build_id() == id && !layer.check_extent(extent)) std::abort();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  NumberReader input(std::as_bytes(std::span(data, size)));
  const std::uint32_t blocks = 1 + input.number(24);
  const std::uint32_t layer_count = 1 + input.number(4);
  std::vector<engine::Layer> layers;
  std::vector<Uuid> ids;
  for (std::uint32_t i = 0; i < layer_count; ++i) {
    const format::Trailer trailer = make_trailer(input, i, blocks);
    auto layer = make_layer(trailer);
    if (!layer) return 0;
    ids.push_back(trailer.build_id);
    layers.push_back(std::move(*layer));
  }
  check_rebuilt(layers);
  std::vector<mapping::Extent> extents;
  for (std::uint32_t block = 0; block < blocks;) {
    const std::uint32_t count = std::min(1 + input.number(6), blocks - block);
    const auto layer = static_cast<mapping::LayerIndex>(input.number(layer_count + 1));
    extents.push_back({block, count, layer, layer == 0 ? 0 : input.number(24)});
    block += count;
  }
  auto mapping = mapping::Mapping::create(blocks, ids, extents);
  if (!mapping) return 0;
  const auto chain = engine::Chain::create(std::move(*mapping), std::move(layers));
  if (!chain) return 0;
  std::vector<std::byte> memory(blocks * kBlockBytes);
  if (!chain->read(0, memory, engine::Chain::Check::kNone)) std::abort();
  static_cast<void>(chain->read(0, memory, engine::Chain::Check::kChecksums));
  return 0;
}
