#include "mapping_contenders.h"

#include <algorithm>
#include <random>
#include <utility>

#include "base/block.h"
#include "base/error.h"
#include "format/header_codec.h"

namespace lamina::bench {
namespace {

constexpr std::size_t kMappingLayers = 8;
constexpr std::uint64_t kMappingSeed = 3;

}  // namespace

Result<std::unique_ptr<MappingContenders>> MappingContenders::create(const Sizes& sizes) {
  auto contenders = std::unique_ptr<MappingContenders>(new MappingContenders());
  LAMINA_RETURN_IF_ERROR(contenders->draw(sizes));
  return contenders;
}

Status MappingContenders::draw(const Sizes& sizes) {
  std::mt19937_64 random(kMappingSeed);
  has_plain_ = sizes.plain;
  std::vector<Uuid> layers(kMappingLayers);
  std::generate(layers.begin(), layers.end(), Uuid::random);
  std::vector<mapping::Extent> extents;
  std::uint32_t end = 0;
  for (std::uint32_t i = 0; i < sizes.extents; ++i) {
    // A length of 1 to 16, and never the layer of the extent before: nothing joins.
    const auto count = static_cast<std::uint32_t>(1 + random() % 16);
    const auto layer =
        static_cast<mapping::LayerIndex>(i % 2 == 0 ? 1 + random() % kMappingLayers : 0);
    extents.push_back({end, count, layer, layer == mapping::kZeros ? 0 : end});
    if (has_plain_) {
      const Uuid build = layer == mapping::kZeros ? Uuid{} : layers[layer - 1U];
      plain_.mapping.push_back({end * kBlockBytes, count * kBlockBytes, build,
                                layer == mapping::kZeros ? 0 : end * kBlockBytes});
    }
    end += count;
  }
  plain_.memory_bytes = end * kBlockBytes;
  if (has_plain_) plain_.index();

  header_.memory_bytes = end * kBlockBytes;
  header_.pause_id = Uuid::random();
  header_.base_build_id = layers.front();
  header_.build_id = layers.back();
  header_.generation = kMappingLayers - 1;
  header_.layers.assign(kMappingLayers, {end, true});
  LAMINA_ASSIGN_OR_RETURN(header_.mapping,
                          mapping::Mapping::create(end, std::move(layers), extents));
  blocks_.resize(sizes.lookups);
  for (std::uint32_t& block : blocks_) block = static_cast<std::uint32_t>(random() % end);
  draw_changes(sizes, end);
  return {};
}

void MappingContenders::draw_changes(const Sizes& sizes, std::uint32_t end) {
  constexpr std::uint32_t kLongest = 64;
  std::mt19937_64 random(kMappingSeed + 1);
  const std::uint32_t half = end / sizes.changes / 2;
  std::uint32_t storage = 0;
  for (std::uint32_t i = 0; i < sizes.changes; ++i) {
    const auto start = static_cast<std::uint32_t>(2 * half * i + random() % half);
    const auto count = static_cast<std::uint32_t>(1 + random() % std::min(kLongest, half));
    changes_.push_back({start, count, mapping::kNewLayer, storage});
    plain_changes_.push_back(
        {start * kBlockBytes, count * kBlockBytes, new_layer_, storage * kBlockBytes});
    storage += count;
  }
}

std::uint64_t MappingContenders::sum_ours() const {
  std::uint64_t sum = 0;
  for (const std::uint32_t block : blocks_) sum += header_.mapping.resolve(block).storage_block;
  return sum;
}

std::uint64_t MappingContenders::sum_plain() const {
  std::uint64_t sum = 0;
  for (const std::uint32_t block : blocks_) {
    const auto place = plain_.find(block * kBlockBytes);
    if (place && !place->build.is_nil()) sum += place->storage_offset / kBlockBytes;
  }
  return sum;
}

std::uint64_t MappingContenders::sum_floor() const {
  const mapping::Mapping& mapping = header_.mapping;
  std::uint64_t sum = 0;
  for (const std::uint32_t block : blocks_) {
    const std::size_t index = block % mapping.extent_count();
    sum += mapping.starts()[index] + mapping.storage()[index] + mapping.layer_column()[index];
  }
  return sum;
}

std::vector<Contender> MappingContenders::lookups() {
  std::vector<Contender> contenders;
  if (has_plain_) {
    contenders.push_back({"plain",
                          {},
                          [this]() -> Status {
                            plain_sum_ = sum_plain();
                            return {};
                          },
                          {},
                          {}});
  }
  contenders.push_back({"ours",
                        {},
                        [this]() -> Status {
                          ours_sum_ = sum_ours();
                          return {};
                        },
                        [this]() -> Status {
                          if (!has_plain_ || ours_sum_ == plain_sum_) return {};
                          return fail(ErrorKind::kCorrupt, "lookups differ from the plain ones");
                        },
                        {}});
  contenders.push_back({"floor",
                        {},
                        [this]() -> Status {
                          floor_sum_ = sum_floor();
                          return {};
                        },
                        [this]() -> Status {
                          if (floor_sum_ != 0) return {};
                          return fail(ErrorKind::kFailed, "the floor read only zeros");
                        },
                        {}});
  return contenders;
}

Status MappingContenders::check_overlay() const {
  if (!has_plain_) return {};
  for (const PlainRecord& record : plain_overlaid_) {
    const auto block = static_cast<std::uint32_t>(record.offset / kBlockBytes);
    const mapping::Extent run = overlaid_.resolve(block);
    const Uuid build = run.layer == mapping::kZeros ? Uuid{} : overlaid_.layer_id(run.layer);
    if (build != record.build || run.storage_block * kBlockBytes != record.storage_offset) {
      return fail(ErrorKind::kCorrupt, "block {} is mapped elsewhere", block);
    }
  }
  return {};
}

std::vector<Contender> MappingContenders::overlays() {
  std::vector<Contender> contenders;
  if (has_plain_) {
    contenders.push_back({"plain",
                          [this]() -> Status {
                            plain_overlaid_ = {};
                            return {};
                          },
                          [this]() -> Status {
                            plain_overlaid_ =
                                normalize_mappings(merge_mappings(plain_.mapping, plain_changes_));
                            return {};
                          },
                          {},
                          {}});
  }
  contenders.push_back({"ours",
                        [this]() -> Status {
                          overlaid_ = mapping::Mapping::zeros(1);
                          return {};
                        },
                        [this]() -> Status {
                          LAMINA_ASSIGN_OR_RETURN(
                              overlaid_, mapping::overlay(header_.mapping, new_layer_, changes_));
                          return {};
                        },
                        [this] { return check_overlay(); },
                        {}});
  contenders.push_back({"floor",
                        [this]() -> Status {
                          made_ = {};
                          return {};
                        },
                        [this]() -> Status {
                          const auto append = [this](auto column) {
                            const auto bytes = std::as_bytes(column);
                            made_.insert(made_.end(), bytes.begin(), bytes.end());
                          };
                          made_.reserve(header_.mapping.extent_count() * 10);
                          append(header_.mapping.starts());
                          append(header_.mapping.storage());
                          append(header_.mapping.layer_column());
                          return {};
                        },
                        {},
                        {}});
  return contenders;
}

Contender MappingContenders::copy_of(const std::vector<std::byte>& bytes) {
  return {"floor",
          [this]() -> Status {
            made_ = {};
            return {};
          },
          [this, &bytes]() -> Status {
            made_.assign(bytes.begin(), bytes.end());
            return {};
          },
          {},
          {}};
}

std::vector<Contender> MappingContenders::encodings() {
  if (auto encoded = format::encode_header(header_)) bytes_ = std::move(*encoded);
  const auto drop = [this]() -> Status {
    made_ = {};
    return {};
  };
  std::vector<Contender> contenders;
  if (has_plain_) {
    contenders.push_back({"plain",
                          drop,
                          [this]() -> Status {
                            made_ = serialize(plain_);
                            return {};
                          },
                          {},
                          {}});
  }
  contenders.push_back({"ours",
                        drop,
                        [this]() -> Status {
                          LAMINA_ASSIGN_OR_RETURN(made_, format::encode_header(header_));
                          return {};
                        },
                        {},
                        {}});
  contenders.push_back(copy_of(bytes_));
  return contenders;
}

std::vector<Contender> MappingContenders::decodings() {
  if (auto encoded = format::encode_header(header_)) bytes_ = std::move(*encoded);
  std::vector<Contender> contenders;
  if (has_plain_) {
    plain_bytes_ = serialize(plain_);
    contenders.push_back({"plain",
                          [this]() -> Status {
                            plain_decoded_ = {};
                            return {};
                          },
                          [this]() -> Status {
                            plain_decoded_ = deserialize(plain_bytes_);
                            plain_decoded_.index();
                            return {};
                          },
                          [this]() -> Status {
                            if (plain_decoded_.mapping == plain_.mapping) return {};
                            return fail(ErrorKind::kCorrupt, "the plain header was read wrongly");
                          },
                          {}});
  }
  contenders.push_back({"ours",
                        [this]() -> Status {
                          decoded_ = {};
                          return {};
                        },
                        [this]() -> Status {
                          LAMINA_ASSIGN_OR_RETURN(decoded_, format::decode_header(bytes_));
                          return {};
                        },
                        [this]() -> Status {
                          if (decoded_ == header_) return {};
                          return fail(ErrorKind::kCorrupt, "the header was read wrongly");
                        },
                        {}});
  contenders.push_back(copy_of(bytes_));
  return contenders;
}

}  // namespace lamina::bench
