// Bytes of packed layers and snapshots that must never change (docs/format.md). Compressed and
// encrypted ones are only read: libraries compress differently, and keys are random.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>

#include "base/block.h"
#include "format/checksum.h"
#include "lamina/ingest.h"
#include "lamina/pack.h"
#include "lamina/snapshot.h"
#include "packed/keyring.h"
#include "packed/object_io.h"
#include "packed/packed_snapshot.h"
#include "packed/random_layer.h"
#include "scratch_directory.h"

namespace lamina::packed {
namespace {

using tests::ScratchDirectory;

constexpr const char* kUpdateVariable = "LAMINA_UPDATE_GOLDEN";

std::string golden_path(const std::string& name) {
  return std::string(LAMINA_TEST_DATA) + "/" + name;
}

void write_file(const std::string& path, const std::vector<std::byte>& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

std::vector<std::byte> read_golden(const std::string& name) {
  std::ifstream file(golden_path(name), std::ios::binary);
  EXPECT_TRUE(file) << name;
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

/// The golden file, made anew from `make` if that is asked for.
std::vector<std::byte> golden(const std::string& name,
                              const std::function<std::vector<std::byte>()>& make) {
  if (std::getenv(kUpdateVariable) != nullptr) write_file(golden_path(name), make());
  return read_golden(name);
}

Uuid uuid_of(const char* text) { return *Uuid::parse(text); }

/// The diff of the worked example of docs/format.md.
RandomLayer example_layer() {
  RandomLayer layer;
  format::Trailer& trailer = layer.trailer;
  trailer.build_id = uuid_of("22222222-2222-4222-8222-222222222222");
  trailer.pause_id = uuid_of("33333333-3333-4333-8333-333333333333");
  trailer.parent = uuid_of("11111111-1111-4111-8111-111111111111");
  trailer.chain = {trailer.parent};
  trailer.memory_bytes = 8 * kBlockBytes;
  trailer.data_blocks = 2;
  trailer.extents = {{2, 2, 0, 0}};
  trailer.zeros = {{4, 1}, {6, 2}};
  format::set_positions(trailer);
  layer.blocks.resize(2 * kBlockBytes);
  for (std::size_t i = 0; i < layer.blocks.size(); ++i) {
    layer.blocks[i] = static_cast<std::byte>(i / 256);
  }
  for (std::size_t i = 0; i < 2; ++i) {
    trailer.checksums.push_back(
        format::checksum64(std::span(layer.blocks).subspan(i * kBlockBytes, kBlockBytes)));
  }
  return layer;
}

void expect_example(const std::vector<std::byte>& object, const ObjectIdentity& identity) {
  const RandomLayer layer = example_layer();
  const Source source = [&](std::uint64_t offset, std::span<std::byte> into) -> Status {
    std::copy_n(object.begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
    return {};
  };
  const auto reader = open_object(source, object.size(), identity);
  ASSERT_TRUE(reader) << reader.error().message;
  format::Trailer expected = layer.trailer;
  expected.checksums.clear();
  EXPECT_EQ(reader->index().trailer, expected);
  ASSERT_EQ(reader->frame_count(), 1);
  auto decoder = reader->make_decoder();
  ASSERT_TRUE(decoder);
  std::vector<std::byte> blocks(layer.blocks.size());
  std::vector<std::uint64_t> checksums(2);
  const ByteRange range = reader->frame_range(0);
  const Status done = reader->decode(
      *decoder, 0, std::span(object).subspan(range.offset, range.length), checksums, blocks);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(blocks, layer.blocks);
  EXPECT_EQ(checksums, layer.trailer.checksums);
}

PackSettings settings_of(Method method) {
  PackSettings settings;
  settings.method = method;
  settings.name = "v1/layers/22222222";
  return settings;
}

TEST(PackedGolden, ARawLayerIsEncodedToTheGoldenFile) {
  const auto encoded = pack(example_layer(), settings_of(Method::kRaw));
  const auto bytes = golden("packed_layer_v1.bin", [&] { return encoded; });
  EXPECT_EQ(encoded, bytes);
  expect_example(bytes, {});
}

TEST(PackedGolden, ASealedLayerIsEncodedToTheGoldenFile) {
  PackSettings settings = settings_of(Method::kRaw);
  settings.key = key_of(0x44);
  const auto encoded = pack(example_layer(), settings);
  const auto bytes = golden("packed_layer_sealed_v1.bin", [&] { return encoded; });
  EXPECT_EQ(encoded, bytes);
  expect_example(bytes, {settings.name, settings.key});
}

TEST(PackedGolden, CompressedLayersAreRead) {
  for (const auto& [method, name] : {std::pair(Method::kZstd, "packed_layer_zstd_v1.bin"),
                                     std::pair(Method::kLz4, "packed_layer_lz4_v1.bin")}) {
    SCOPED_TRACE(name);
    expect_example(golden(name, [&] { return pack(example_layer(), settings_of(method)); }), {});
  }
}

TEST(PackedGolden, ContentsAndFooterOfASnapshotAreEncodedToTheGoldenFile) {
  SnapshotContents contents;
  contents.pause_id = uuid_of("33333333-3333-4333-8333-333333333333");
  contents.name = "web-1";
  contents.entries = {
      {EntryKind::kLayer, "memfile.22222222-2222-4222-8222-222222222222", 0, 500, 0x1122, 0, 0, 0},
      {EntryKind::kFile, "disk.img", 0640, 300, 0x3344, 0, 1, 500},
      {EntryKind::kLink, "disk.link", 0, 0, 0, 1, 2, 800}};
  const auto encoded_contents = encode_contents(contents);
  ASSERT_TRUE(encoded_contents);
  SnapshotFooter footer;
  footer.objects_bytes = 800;
  footer.contents_bytes = encoded_contents->size();
  footer.contents_digest = format::checksum64(*encoded_contents);
  footer.entry_count = 3;
  auto encoded = *encoded_contents;
  const auto encoded_footer = encode_snapshot_footer(footer);
  encoded.insert(encoded.end(), encoded_footer.begin(), encoded_footer.end());
  EXPECT_EQ(encoded, golden("packed_contents_v1.bin", [&] { return encoded; }));
  const auto decoded = decode_contents(*encoded_contents, 800);
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(*decoded, contents);
  const auto decoded_footer = decode_snapshot_footer(encoded_footer, 800 + encoded.size());
  ASSERT_TRUE(decoded_footer) << decoded_footer.error().message;
  EXPECT_EQ(*decoded_footer, footer);
}

std::string make_key_file(const ScratchDirectory& scratch) {
  const std::string path = scratch.file("key");
  std::ofstream(path) << std::string(32, '1');
  std::filesystem::permissions(path, std::filesystem::perms(0600));
  return path;
}

TEST(PackedGolden, AKeyringIsRead) {
  const ScratchDirectory scratch;
  const auto tenant = read_key_file(make_key_file(scratch));
  ASSERT_TRUE(tenant);
  ObjectKeys keys;
  keys.emplace("v1/layers/22222222", key_of(0x44));
  const auto opened = open_keyring(
      golden("keyring_v1.bin", [&] { return *encode_keyring(keys, **tenant); }), **tenant);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->at("v1/layers/22222222").check_value(), key_of(0x44).check_value());
}

/// Makes the golden snapshot: 8 blocks, of which block 2 has data, a VM state and an attached file.
void make_golden_snapshot(const ScratchDirectory& scratch, const std::string& key_file) {
  std::filesystem::create_directory(scratch.file("source"));
  std::string memory(8 * kBlockBytes, '\0');
  std::fill_n(memory.begin() + 2 * static_cast<std::ptrdiff_t>(kBlockBytes), kBlockBytes, 'm');
  std::ofstream(scratch.file("memory"), std::ios::binary) << memory;
  std::ofstream(scratch.file("state")) << "registers";
  IngestOptions options;
  options.memory_file = scratch.file("memory");
  options.vmstate_file = scratch.file("state");
  options.snapshot = scratch.file("source/vm");
  const auto ingested = ingest(options);
  ASSERT_TRUE(ingested) << ingested.error().message;
  std::ofstream(scratch.file("source/vm/disk")) << "disk";
  PackOptions packing;
  packing.snapshot = options.snapshot;
  packing.out = golden_path("packed_snapshot_v1.bin");
  packing.key_file = key_file;
  std::filesystem::remove(packing.out);
  const auto packed = pack_snapshot(packing);
  ASSERT_TRUE(packed) << packed.error().message;
}

TEST(PackedGolden, AnEncryptedSnapshotIsUnpacked) {
  const ScratchDirectory scratch;
  const std::string key_file = make_key_file(scratch);
  if (std::getenv(kUpdateVariable) != nullptr) make_golden_snapshot(scratch, key_file);
  std::filesystem::create_directory(scratch.file("store"));
  UnpackOptions options;
  options.file = golden_path("packed_snapshot_v1.bin");
  options.snapshot = scratch.file("store/vm");
  options.key_file = key_file;
  const auto unpacked = unpack_snapshot(options);
  ASSERT_TRUE(unpacked) << unpacked.error().message;
  EXPECT_EQ(unpacked->memory_bytes, 8 * kBlockBytes);
  const auto snapshot = SnapshotReader::open(options.snapshot);
  ASSERT_TRUE(snapshot) << snapshot.error().message;
  std::vector<std::byte> memory(8 * kBlockBytes);
  ASSERT_TRUE(snapshot->read(0, memory));
  for (std::size_t i = 0; i < memory.size(); ++i) {
    ASSERT_EQ(memory[i], i / kBlockBytes == 2 ? std::byte{'m'} : std::byte{0}) << i;
  }
  std::ifstream disk(options.snapshot + "/disk");
  std::string text;
  disk >> text;
  EXPECT_EQ(text, "disk");
}

}  // namespace
}  // namespace lamina::packed
