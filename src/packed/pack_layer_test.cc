// Layers through packing and unpacking: random ones, in every codec, with and without keys; and
// every damage that one byte can have.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "base/block.h"
#include "format/checksum.h"
#include "os/file.h"
#include "packed/object_io.h"
#include "packed/random_layer.h"
#include "scratch_directory.h"

namespace lamina::packed {
namespace {

using tests::ScratchDirectory;

std::uint64_t seed_or(int number) {
  const char* fixed = std::getenv("LAMINA_SEED");
  return fixed != nullptr ? std::strtoull(fixed, nullptr, 10) : static_cast<std::uint64_t>(number);
}

/// A source of an object in memory.
Source source_of(const std::vector<std::byte>& object) {
  return [&object](std::uint64_t offset, std::span<std::byte> into) -> Status {
    if (offset > object.size() || into.size() > object.size() - offset) {
      return Status(std::unexpected(Error{ErrorKind::kCorrupt, "read past the end"}));
    }
    std::copy_n(object.begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
    return {};
  };
}

std::string contents_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// Decodes every frame. The blocks, or the error.
Result<std::vector<std::byte>> decode_all(const std::vector<std::byte>& object,
                                          const ObjectIdentity& identity) {
  const Source source = source_of(object);
  auto reader = open_object(source, object.size(), identity);
  if (!reader) return std::unexpected(reader.error());
  auto decoder = reader->make_decoder();
  if (!decoder) return std::unexpected(decoder.error());
  std::vector<std::byte> blocks(reader->index().stored_blocks() * kBlockBytes);
  std::vector<std::uint64_t> checksums(kMaxFrameBlocks);
  for (std::uint32_t frame = 0; frame < reader->frame_count(); ++frame) {
    const ByteRange range = reader->frame_range(frame);
    const auto stored = std::span(object).subspan(range.offset, range.length);
    const BlockRun run = reader->blocks_of(frame);
    const Status done =
        reader->decode(*decoder, frame, stored, std::span(checksums).first(run.count),
                       std::span(blocks).subspan(run.first * kBlockBytes, run.count * kBlockBytes));
    if (!done) return std::unexpected(done.error());
  }
  return blocks;
}

class RandomLayers : public testing::TestWithParam<std::tuple<int, Method, bool>> {};

TEST_P(RandomLayers, UnpackToTheSameLayerFile) {
  const auto [number, method, sealed] = GetParam();
  const std::uint64_t seed = seed_or(number);
  SCOPED_TRACE("LAMINA_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  const RandomLayer layer = make_random_layer(random, 400);
  const ScratchDirectory scratch;
  const engine::Chain chain = write_and_open(layer, scratch.path(), "original");

  PackSettings settings;
  settings.method = method;
  settings.frame_blocks = static_cast<std::uint32_t>(1U << (random() % 7));
  settings.name = "a/layer";
  if (sealed) settings.key = key_of(7);
  std::vector<std::byte> object;
  const auto packed = pack_layer(
      chain, 1, settings,
      [&](auto bytes) -> Status {
        object.insert(object.end(), bytes.begin(), bytes.end());
        return {};
      },
      nullptr);
  ASSERT_TRUE(packed) << packed.error().message;
  EXPECT_EQ(packed->footer.object_bytes(), object.size());
  EXPECT_EQ(packed->footer.seal != SealAlgorithm::kNone, sealed);

  const Source source = source_of(object);
  const auto reader = open_object(source, object.size(), {settings.name, settings.key});
  ASSERT_TRUE(reader) << reader.error().message;
  EXPECT_EQ(reader->footer_digest(), packed->footer_digest);
  const std::string path = scratch.file("unpacked");
  const auto file = os::open_at(AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL, path);
  ASSERT_TRUE(file);
  const Status unpacked = unpack_object(*reader, source, file->get(), path, nullptr);
  ASSERT_TRUE(unpacked) << unpacked.error().message;
  EXPECT_EQ(contents_of(path), contents_of(scratch.file("original")));
}

TEST_P(RandomLayers, EveryBlockIsInTheFrameThatTheIndexNames) {
  const auto [number, method, sealed] = GetParam();
  std::mt19937_64 random(seed_or(number));
  const RandomLayer layer = make_random_layer(random, 100);
  PackSettings settings;
  settings.method = method;
  settings.name = "layer";
  if (sealed) settings.key = key_of(7);
  const auto object = pack(layer, settings);
  const auto reader = open_object(source_of(object), object.size(), {"layer", settings.key});
  ASSERT_TRUE(reader) << reader.error().message;
  format::Trailer expected = layer.trailer;
  expected.checksums.clear();
  EXPECT_EQ(reader->index().trailer, expected);
  for (std::uint32_t block = 0; block < blocks_for(layer.trailer.memory_bytes); ++block) {
    const auto place = reader->find(block);
    const mapping::StoredExtent* stored = format::find_stored(layer.trailer, block);
    ASSERT_EQ(place.has_value(), stored != nullptr);
    if (!place) continue;
    EXPECT_EQ(reader->blocks_of(place->frame).first + place->block_in_frame,
              stored->checksum_index + (block - stored->guest_block));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Seeds, RandomLayers,
    testing::Combine(testing::Range(1, 13),
                     testing::Values(Method::kRaw, Method::kZstd, Method::kLz4), testing::Bool()));

std::uint64_t checksum_of(const RandomLayer& layer, std::size_t block) {
  return format::checksum64(std::span(layer.blocks).subspan(block * kBlockBytes, kBlockBytes));
}

/// Two frames of a block each, which compress.
RandomLayer small_layer() {
  RandomLayer layer;
  layer.trailer.build_id.bytes.fill(0x22);
  layer.trailer.pause_id.bytes.fill(0x33);
  layer.trailer.memory_bytes = 8 * kBlockBytes;
  layer.trailer.data_blocks = 2;
  layer.trailer.extents = {{2, 2, 0, 0}};
  layer.trailer.zeros = {{4, 1}, {6, 2}};
  format::set_positions(layer.trailer);
  layer.blocks.assign(2 * kBlockBytes, std::byte{0x55});
  layer.blocks[kBlockBytes] = std::byte{1};
  for (std::size_t i = 0; i < 2; ++i) {
    layer.trailer.checksums.push_back(checksum_of(layer, i));
  }
  return layer;
}

class SmallObject : public testing::TestWithParam<std::tuple<Method, bool>> {
 protected:
  void SetUp() override {
    layer_ = small_layer();
    settings_.method = std::get<0>(GetParam());
    settings_.frame_blocks = 1;
    settings_.name = "layer";
    if (std::get<1>(GetParam())) settings_.key = key_of(1);
    object_ = pack(layer_, settings_);
  }

  [[nodiscard]] ObjectIdentity identity() const { return {settings_.name, settings_.key}; }

  RandomLayer layer_;
  PackSettings settings_;
  std::vector<std::byte> object_;
};

TEST_P(SmallObject, IsReadBack) {
  const auto blocks = decode_all(object_, identity());
  ASSERT_TRUE(blocks) << blocks.error().message;
  EXPECT_EQ(*blocks, layer_.blocks);
}

TEST_P(SmallObject, EveryFlippedBitIsFound) {
  // Of a frame that is not compressed, one bit of each byte will do.
  const std::size_t step = object_.size() > 4000 ? 8 : 1;
  for (std::size_t bit = 0; bit < object_.size() * 8; bit += step) {
    const auto flip = static_cast<std::byte>(1U << ((bit + bit / 8 / step) % 8));
    object_[bit / 8] ^= flip;
    const auto blocks = decode_all(object_, identity());
    ASSERT_FALSE(blocks) << "byte " << bit / 8 << " of " << object_.size();
    object_[bit / 8] ^= flip;
  }
}

TEST_P(SmallObject, EveryTruncationIsFound) {
  for (std::size_t length = 0; length < object_.size(); ++length) {
    const std::vector<std::byte> first(object_.begin(),
                                       object_.begin() + static_cast<std::ptrdiff_t>(length));
    ASSERT_FALSE(decode_all(first, identity())) << length;
    const std::vector<std::byte> last(object_.end() - static_cast<std::ptrdiff_t>(length),
                                      object_.end());
    ASSERT_FALSE(decode_all(last, identity())) << length;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Codecs, SmallObject,
    testing::Combine(testing::Values(Method::kRaw, Method::kZstd, Method::kLz4), testing::Bool()));

TEST(PackWriter, AWrongBlockIsNotPacked) {
  RandomLayer layer = small_layer();
  layer.blocks[kBlockBytes + 5] ^= std::byte{1};
  auto writer = PackWriter::for_layer(layer.trailer, {}, [](auto) -> Status { return {}; });
  ASSERT_TRUE(writer);
  const Status added = writer->add(layer.blocks);
  ASSERT_TRUE(added);  // it fills no frame of 16 blocks
  const auto done = writer->finish();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().kind, ErrorKind::kCorrupt);
  EXPECT_EQ(done.error().message, "stored block 1 does not match its checksum");
}

TEST(PackWriter, BlocksMayComeInAnyPortions) {
  std::mt19937_64 random(5);
  RandomLayer layer;
  while (layer.trailer.checksums.size() < 50) layer = make_random_layer(random, 300);
  PackSettings settings;
  settings.frame_blocks = 4;
  const auto whole = pack(layer, settings);
  std::vector<std::byte> object;
  auto writer = PackWriter::for_layer(layer.trailer, settings, [&](auto bytes) -> Status {
    object.insert(object.end(), bytes.begin(), bytes.end());
    return {};
  });
  ASSERT_TRUE(writer);
  for (std::span<const std::byte> left = layer.blocks; !left.empty();) {
    const auto count = std::min<std::size_t>((1 + random() % 11) * kBlockBytes, left.size());
    ASSERT_TRUE(writer->add(left.first(count)));
    left = left.subspan(count);
  }
  ASSERT_TRUE(writer->finish());
  EXPECT_EQ(object, whole);
}

TEST(PackWriter, MissingAndExtraBlocksAreErrors) {
  const RandomLayer layer = small_layer();
  const auto sink = [](auto) -> Status { return {}; };
  auto missing = PackWriter::for_layer(layer.trailer, {}, sink);
  ASSERT_TRUE(missing);
  ASSERT_TRUE(missing->add(std::span(layer.blocks).first(kBlockBytes)));
  const auto done = missing->finish();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().message, "1 of the 2 blocks of a packed object were added");
  auto extra = PackWriter::for_layer(layer.trailer, {}, sink);
  ASSERT_TRUE(extra);
  ASSERT_TRUE(extra->add(layer.blocks));
  EXPECT_FALSE(extra->add(std::span(layer.blocks).first(kBlockBytes)));
}

TEST(PackWriter, AnErrorOfTheSinkEndsTheWriting) {
  const RandomLayer layer = small_layer();
  PackSettings settings;
  settings.frame_blocks = 1;
  auto writer = PackWriter::for_layer(layer.trailer, settings, [](auto) -> Status {
    return Status(std::unexpected(Error{ErrorKind::kNoSpace, "full"}));
  });
  ASSERT_TRUE(writer);
  const Status added = writer->add(layer.blocks);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().kind, ErrorKind::kNoSpace);
}

TEST(PackWriter, WhatDoesNotPayIsStoredRaw) {
  std::mt19937_64 random(9);
  RandomLayer layer = small_layer();
  for (std::byte& byte : layer.blocks) byte = static_cast<std::byte>(random());
  layer.trailer.checksums = {checksum_of(layer, 0), checksum_of(layer, 1)};
  for (const Method method : {Method::kZstd, Method::kLz4}) {
    PackSettings settings;
    settings.method = method;
    const auto object = pack(layer, settings);
    const auto reader = open_object(source_of(object), object.size(), {});
    ASSERT_TRUE(reader) << reader.error().message;
    EXPECT_EQ(reader->index().frames[0].method, Method::kRaw);
    EXPECT_EQ(reader->frame_range(0).length, plain_frame_bytes(2));
  }
}

std::string error_of(const std::vector<std::byte>& object, const ObjectIdentity& identity) {
  const auto blocks = decode_all(object, identity);
  return blocks ? "accepted" : blocks.error().message;
}

class SealedObjectTest : public testing::Test {
 protected:
  void SetUp() override {
    settings_.method = Method::kRaw;
    settings_.frame_blocks = 1;
    settings_.name = "layer";
    settings_.key = key_of(1);
    object_ = pack(small_layer(), settings_);
  }

  PackSettings settings_;
  std::vector<std::byte> object_;
};

TEST_F(SealedObjectTest, ContainsNothingOfTheMemory) {
  const std::string text(reinterpret_cast<const char*>(object_.data()), object_.size());
  EXPECT_EQ(text.find(std::string(16, 0x55)), std::string::npos);
  EXPECT_EQ(text.find(std::string(16, 0x22)), std::string::npos) << "the build id";
}

TEST_F(SealedObjectTest, AnotherKeyIsNamedAsTheCause) {
  const auto opened = decode_all(object_, {"layer", key_of(2)});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind, ErrorKind::kPermission);
  EXPECT_EQ(opened.error().message, "packed object 'layer': it is encrypted with another key");
  EXPECT_EQ(error_of(object_, {"layer", std::nullopt}),
            "packed object 'layer': it is encrypted, and there is no key for it");
}

TEST_F(SealedObjectTest, AnotherNameIsNamedAsTheCause) {
  EXPECT_EQ(error_of(object_, {"other", settings_.key}),
            "packed object 'other': it was encrypted as an object of another name");
}

TEST_F(SealedObjectTest, AnObjectThatShouldBeSealedAndIsNotIsRefused) {
  settings_.key.reset();
  EXPECT_EQ(error_of(pack(small_layer(), settings_), {"layer", key_of(1)}),
            "packed object 'layer': it is not encrypted, but must be: it is not what was stored "
            "under this name");
}

TEST_F(SealedObjectTest, SwappedFramesAreFound) {
  const std::size_t length = plain_frame_bytes(1) + kTagBytes;
  std::swap_ranges(object_.begin(), object_.begin() + static_cast<std::ptrdiff_t>(length),
                   object_.begin() + static_cast<std::ptrdiff_t>(length));
  EXPECT_EQ(error_of(object_, {"layer", settings_.key}),
            "packed object 'layer': frame 0 does not match its digest");
}

TEST_F(SealedObjectTest, AFrameOpensOnlyAtItsOwnPlace) {
  auto sealer = Sealer::create(key_of(1), {kObjectMagic, kObjectVersion, "layer", 2});
  ASSERT_TRUE(sealer);
  std::vector<std::byte> sealed(100 + kTagBytes, std::byte{0x11});
  const Part part{PartKind::kFrame, 1, 0, 3};
  ASSERT_TRUE(sealer->seal(part, sealed));
  std::vector<std::byte> plain(100);
  ASSERT_TRUE(sealer->open(part, sealed, plain).value());
  EXPECT_EQ(plain, std::vector<std::byte>(100, std::byte{0x11}));
  for (const Part& other : {Part{PartKind::kFrame, 0, 0, 3}, Part{PartKind::kIndex, 1, 0, 3},
                            Part{PartKind::kFrame, 1, 1, 3}, Part{PartKind::kFrame, 1, 0, 2}}) {
    EXPECT_FALSE(sealer->open(other, sealed, plain).value());
    EXPECT_EQ(plain, std::vector<std::byte>(100)) << "unauthenticated bytes are left";
  }
  const auto opens_as = [&](const DataKey& key, const SealedObject& object) {
    return Sealer::create(key, object)->open(part, sealed, plain).value();
  };
  EXPECT_TRUE(opens_as(key_of(1), {kObjectMagic, 1, "layer", 2}));
  EXPECT_FALSE(opens_as(key_of(2), {kObjectMagic, 1, "layer", 2}));
  EXPECT_FALSE(opens_as(key_of(1), {"LAMINAPS", 1, "layer", 2}));
  EXPECT_FALSE(opens_as(key_of(1), {kObjectMagic, 2, "layer", 2}));
  EXPECT_FALSE(opens_as(key_of(1), {kObjectMagic, 1, "layes", 2}));
  EXPECT_FALSE(opens_as(key_of(1), {kObjectMagic, 1, "layer", 3}));
}

}  // namespace
}  // namespace lamina::packed
