#include "remote/manifest.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>

#include "base/bytes.h"
#include "packed/pack_writer.h"
#include "remote/pin.h"
#include "scratch_directory.h"

namespace lamina::remote {
namespace {

const Uuid kId = *Uuid::parse("00112233-4455-6677-8899-aabbccddeeff");
const Uuid kPush = *Uuid::parse("10112233-4455-6677-8899-aabbccddeeff");
const Uuid kBucket = *Uuid::parse("20112233-4455-6677-8899-aabbccddeeff");
const RecordPlace kPlace{"web_1", 7};

std::vector<std::byte> bytes_of_text(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

/// A file of two pages, packed.
ManifestFile packed_file(Manifest& manifest) {
  const std::string key = file_key(kId, kPush, 0);
  std::vector<std::byte> object;
  packed::PackSettings settings;
  settings.method = packed::Method::kRaw;  // libraries compress differently
  settings.name = key;
  auto writer = packed::PackWriter::for_file(
      8192, {{0, 2}}, settings, [&](std::span<const std::byte> bytes) -> Status {
        object.insert(object.end(), bytes.begin(), bytes.end());
        return {};
      });
  EXPECT_TRUE(writer);
  const std::vector<std::byte> blocks(8192, std::byte{7});
  EXPECT_TRUE(writer->add(blocks));
  const auto packed = writer->finish();
  EXPECT_TRUE(packed);
  ManifestFile file;
  file.storage = FileStorage::kFile;
  file.name = "disk";
  file.mode = 0640;
  const auto end = std::span(object).last(packed::kObjectFooterBytes);
  file.object.footer.assign(end.begin(), end.end());
  const auto index =
      std::span(object).subspan(packed->footer.frames_bytes, packed->footer.index_bytes);
  file.object.index.assign(index.begin(), index.end());
  file.contents.size_bytes = 8192;
  file.contents.digest = format::digest128(blocks);
  manifest.record.references.push_back({key, object.size(), packed->footer_digest});
  return file;
}

/// A packed file with these runs of data, and its reference.
StoredObject packed_object(Manifest& manifest, const std::string& key, std::uint64_t file_bytes,
                           std::vector<BlockRun> runs) {
  std::vector<std::byte> bytes;
  packed::PackSettings settings;
  settings.method = packed::Method::kRaw;
  settings.name = key;
  std::uint64_t blocks = 0;
  for (const BlockRun& run : runs) blocks += run.count;
  auto writer = packed::PackWriter::for_file(file_bytes, std::move(runs), settings,
                                             [&](std::span<const std::byte> part) -> Status {
                                               bytes.insert(bytes.end(), part.begin(), part.end());
                                               return {};
                                             });
  EXPECT_TRUE(writer);
  EXPECT_TRUE(writer->add(std::vector<std::byte>(blocks * 4096, std::byte{5})));
  const auto packed = writer->finish();
  EXPECT_TRUE(packed);
  StoredObject object;
  object.reference = static_cast<std::uint32_t>(manifest.record.references.size());
  const auto end = std::span(bytes).last(packed::kObjectFooterBytes);
  object.footer.assign(end.begin(), end.end());
  const auto index =
      std::span(bytes).subspan(packed->footer.frames_bytes, packed->footer.index_bytes);
  object.index.assign(index.begin(), index.end());
  manifest.record.references.push_back({key, bytes.size(), packed->footer_digest});
  return object;
}

/// With an attached file in two parts, and a pack.
Manifest example_in_parts() {
  Manifest manifest;
  manifest.record.bucket_id = kBucket;
  manifest.record.nonce = kPush;
  manifest.record.place = kPlace;
  manifest.record.created_s = 1'700'000'000;
  manifest.record.pause_id = kId;
  manifest.record.build_id = kId;
  manifest.record.memory_bytes = 1 << 20;
  ManifestFile file;
  file.storage = FileStorage::kParts;
  file.name = "disk";
  file.mode = 0600;
  file.contents.size_bytes = 7 * 4096 + 1;
  file.contents.digest.fill(0xab);
  file.parted.parts = {
      {packed_object(manifest, file_key(kId, kPush, 0), 9 * 4096, {{0, 9}}), 8},
      {packed_object(manifest, file_key(kId, kPush, 1), 9 * 4096, {{3, 1}, {8, 1}}), 1}};
  file.parted.map = {{{0, 3}, 0}, {{3, 1}, 1}, {{6, 2}, 0}};
  manifest.files.push_back(file);
  WorkingSetPack pack;
  pack.object = packed_object(manifest, pack_key(kId, kPush, 2), 3 * 4096, {{0, 3}});
  pack.contents = {{{9, 2}, {0, 1}}, {1, 2, 3}};
  manifest.pack = pack;
  return manifest;
}

Manifest example() {
  Manifest manifest;
  Record& record = manifest.record;
  record.bucket_id = kBucket;
  record.nonce = kPush;
  record.place = kPlace;
  record.created_s = 1'700'000'000;
  record.base_number = 5;
  record.pause_id = kId;
  record.parent_pause_id = kPush;
  record.build_id = kId;
  record.memory_bytes = 1 << 20;
  ManifestFile header;
  header.name = "memfile.header";
  header.mode = 0600;
  header.bytes = bytes_of_text("a header");
  manifest.files.push_back(header);
  manifest.files.push_back(packed_file(manifest));
  ManifestFile link;
  link.storage = FileStorage::kLink;
  link.name = "disk.2";
  link.target = 1;
  manifest.files.push_back(link);
  return manifest;
}

class ManifestTest : public testing::Test {
 protected:
  /// A key file's wrapper.
  std::unique_ptr<packed::KeyWrapper> key(const std::string& name, char digit) {
    const std::string path = scratch_.file(name);
    std::ofstream(path) << std::string(64, digit);
    std::filesystem::permissions(path, std::filesystem::perms::owner_read);
    auto read = packed::read_key_file(path);
    EXPECT_TRUE(read) << read.error().message;
    return std::move(*read);
  }

  tests::ScratchDirectory scratch_;
};

TEST_F(ManifestTest, IsReadBack) {
  const Manifest manifest = example();
  const auto bytes = encode_manifest(manifest, nullptr);
  ASSERT_TRUE(bytes);
  const auto read = decode_manifest(*bytes, kPlace, nullptr);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->record, manifest.record);
  EXPECT_EQ(read->files, manifest.files);
  EXPECT_TRUE(open_stored(*read, read->files[1], {}));
}

TEST_F(ManifestTest, EveryTruncationAndEveryChangedByteIsFound) {
  const auto tenant = key("key", 'a');
  for (packed::KeyWrapper* wrapper : {static_cast<packed::KeyWrapper*>(nullptr), tenant.get()}) {
    const auto bytes = encode_manifest(example(), wrapper);
    ASSERT_TRUE(bytes);
    for (std::size_t length = 0; length < bytes->size(); ++length) {
      EXPECT_FALSE(decode_manifest(std::span(*bytes).first(length), kPlace, wrapper)) << length;
    }
    std::vector<std::byte> changed = *bytes;
    for (std::size_t at = 0; at < changed.size(); ++at) {
      changed[at] ^= std::byte{0x10};
      EXPECT_FALSE(decode_manifest(changed, kPlace, wrapper)) << at;
      changed[at] ^= std::byte{0x10};
    }
    changed.push_back(std::byte{0});
    EXPECT_FALSE(decode_manifest(changed, kPlace, wrapper));
  }
}

TEST_F(ManifestTest, PartsAndPackAreReadBack) {
  const Manifest manifest = example_in_parts();
  const auto bytes = encode_manifest(manifest, nullptr);
  ASSERT_TRUE(bytes);
  const auto read = decode_manifest(*bytes, kPlace, nullptr);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->record, manifest.record);
  EXPECT_EQ(read->files, manifest.files);
  EXPECT_EQ(read->pack, manifest.pack);
  std::vector<std::byte> changed = *bytes;
  for (std::size_t at = 0; at < changed.size(); ++at) {
    EXPECT_FALSE(decode_manifest(std::span(changed).first(at), kPlace, nullptr)) << at;
    changed[at] ^= std::byte{0x10};
    EXPECT_FALSE(decode_manifest(changed, kPlace, nullptr)) << at;
    changed[at] ^= std::byte{0x10};
  }
}

TEST_F(ManifestTest, PartsAndPacksThatCannotBeAreRefused) {
  const auto expect_refused = [](const std::function<void(Manifest&)>& change) {
    Manifest manifest = example_in_parts();
    change(manifest);
    const auto bytes = encode_manifest(manifest, nullptr);
    ASSERT_TRUE(bytes);
    const auto read = decode_manifest(*bytes, kPlace, nullptr);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().kind, ErrorKind::kCorrupt) << read.error().message;
  };
  const auto expect_map_refused = [&](const std::vector<MappedRun>& map) {
    expect_refused([&](Manifest& manifest) { manifest.files[0].parted.map = map; });
  };
  expect_map_refused({{{0, 9}, 0}});               // beyond the end
  expect_map_refused({{{0, 0}, 0}});               // empty
  expect_map_refused({{{0, 1}, 2}});               // no such part
  expect_map_refused({{{3, 1}, 0}, {{2, 1}, 1}});  // not in order
  expect_map_refused({{{2, 2}, 0}, {{3, 1}, 1}});  // overlap
  expect_map_refused({{{2, 1}, 0}, {{3, 1}, 0}});  // two that are one
  expect_map_refused({{{0xffff'ffff, 2}, 0}});
  expect_map_refused({});  // several parts need one
  expect_refused([](Manifest& m) { m.files[0].parted.parts[1].object.reference = 3; });
  expect_refused([](Manifest& m) { m.files[0].parted.parts[1].object.reference = 0; });
  expect_refused([](Manifest& m) { m.files[0].parted.parts[0].object.index.pop_back(); });
  expect_refused([](Manifest& m) { m.files[0].contents.size_bytes = UINT64_MAX; });
  expect_refused([](Manifest& m) {
    m.files[0].parted.parts.resize(kMaxFileParts + 1, m.files[0].parted.parts[0]);
  });
  expect_refused([](Manifest& m) { m.pack->object.reference = 0; });
  expect_refused([](Manifest& m) { m.pack->contents.runs = {{9, 2}, {10, 1}}; });
  expect_refused([](Manifest& m) { m.pack->contents.runs = {{254, 3}}; });
  expect_refused([](Manifest& m) { m.pack->contents.runs = {{9, 2}}; });
  expect_refused([](Manifest& m) { m.pack->contents.runs = {{9, 3}, {0, 0}}; });
  expect_refused([](Manifest& m) { m.pack->contents = {}; });
  expect_refused([](Manifest& m) {
    m.record.memory_bytes = std::uint64_t{1} << 40;
    m.pack->contents.runs = {{0, kMaxPackBlocks + 1}};
    m.pack->contents.checksums.resize(kMaxPackBlocks + 1);
  });
}

TEST_F(ManifestTest, PublicPartIsReadAloneAndWithoutAKey) {
  const auto tenant = key("key", 'a');
  const Manifest manifest = example();
  const auto bytes = encode_manifest(manifest, tenant.get());
  ASSERT_TRUE(bytes);
  const auto length = public_bytes_of(*bytes);
  ASSERT_TRUE(length);
  const auto part = decode_public_part(std::span(*bytes).first(*length), kPlace);
  ASSERT_TRUE(part) << part.error().message;
  EXPECT_EQ(part->record, manifest.record);
  EXPECT_EQ(part->layout.seal, packed::SealAlgorithm::kAes256Gcm);
  for (std::size_t shorter = 0; shorter < *length; ++shorter) {
    EXPECT_FALSE(decode_public_part(std::span(*bytes).first(shorter), kPlace)) << shorter;
  }
}

TEST_F(ManifestTest, RecordOfAnotherPlaceIsRefused) {
  const auto bytes = encode_manifest(example(), nullptr);
  ASSERT_TRUE(bytes);
  EXPECT_FALSE(decode_manifest(*bytes, {"web_1", 8}, nullptr));
  EXPECT_FALSE(decode_manifest(*bytes, {"web_2", 7}, nullptr));
}

TEST_F(ManifestTest, SealedManifestNeedsItsKeyAndItsPublicPart) {
  const auto tenant = key("key", 'a');
  const auto other = key("other", 'b');
  Manifest manifest = example();
  const auto bytes = encode_manifest(manifest, tenant.get());
  ASSERT_TRUE(bytes);
  const auto read = decode_manifest(*bytes, kPlace, tenant.get());
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->files, manifest.files);
  EXPECT_EQ(decode_manifest(*bytes, kPlace, nullptr).error().kind, ErrorKind::kUsage);
  EXPECT_EQ(decode_manifest(*bytes, kPlace, other.get()).error().kind, ErrorKind::kPermission);
  const auto plain = encode_manifest(manifest, nullptr);
  ASSERT_TRUE(plain);
  EXPECT_EQ(decode_manifest(*plain, kPlace, tenant.get()).error().kind, ErrorKind::kUsage);
  // Somebody without the key gives the body another public part.
  const auto part = decode_record(*bytes, kPlace);
  ASSERT_TRUE(part);
  manifest.record.pause_id = kPush;
  const auto body = std::span(*bytes).subspan(
      part->layout.public_bytes + part->layout.keyring_bytes, part->layout.body_bytes);
  const auto keyring =
      std::span(*bytes).subspan(part->layout.public_bytes, part->layout.keyring_bytes);
  const auto forged = encode_record(manifest.record, part->layout.seal, keyring, body);
  const auto refused = decode_manifest(forged, kPlace, tenant.get());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kCorrupt);
}

TEST_F(ManifestTest, FilesThatNoSnapshotHasAreRefused) {
  const auto expect_refused = [](const Manifest& manifest) {
    const auto bytes = encode_manifest(manifest, nullptr);
    ASSERT_TRUE(bytes);
    const auto read = decode_manifest(*bytes, kPlace, nullptr);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().kind, ErrorKind::kCorrupt);
  };
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"),
        std::string("a\0b", 3), std::string(256, 'a'), std::string("disk")}) {
    Manifest manifest = example();
    manifest.files[0].name = name;
    expect_refused(manifest);
  }
  Manifest forward_link = example();
  forward_link.files[2].target = 2;
  expect_refused(forward_link);
  Manifest no_reference = example();
  no_reference.files[1].object.reference = 1;
  expect_refused(no_reference);
  Manifest other_object = example();
  other_object.record.references[0].footer_digest ^= 1;
  expect_refused(other_object);
  Manifest other_kind = example();
  other_kind.files[1].storage = FileStorage::kLayer;
  expect_refused(other_kind);
  Manifest other_key = example();
  other_key.record.references[0].key = "v1/snapshots/x";
  expect_refused(other_key);
}

/// A golden file, made anew if that is asked for.
std::vector<std::byte> golden(const std::string& name, const std::vector<std::byte>& made) {
  const std::string path = std::string(LAMINA_TEST_DATA) + "/" + name;
  if (std::getenv("LAMINA_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(made.data()),
               static_cast<std::streamsize>(made.size()));
  }
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return bytes_of_text(std::string(std::istreambuf_iterator<char>(file), {}));
}

TEST(GoldenRemoteRecords, BytesNeverChange) {
  const auto manifest = encode_manifest(example(), nullptr);
  ASSERT_TRUE(manifest);
  EXPECT_EQ(*manifest, golden("remote_manifest_v1.bin", *manifest));
  const auto parts = encode_manifest(example_in_parts(), nullptr);
  ASSERT_TRUE(parts);
  EXPECT_EQ(*parts, golden("remote_manifest_parts_v1.bin", *parts));
  Record removal;
  removal.kind = RecordKind::kRemoval;
  removal.bucket_id = kBucket;
  removal.nonce = kPush;
  removal.place = {"web_1", 8};
  removal.created_s = 1'700'000'001;
  const auto record = encode_record(removal, packed::SealAlgorithm::kNone, {}, {});
  EXPECT_EQ(record, golden("remote_removal_v1.bin", record));
  const auto pin = encode_pin({kBucket, kPush, kPlace, {layer_key(kId, kPush, 1)}});
  EXPECT_EQ(pin, golden("remote_pin_v1.bin", pin));
}

TEST(PinTest, EveryTruncationAndEveryChangedByteIsFound) {
  const Pin pin{kBucket, kPush, kPlace, {layer_key(kId, kPush, 1), file_key(kId, kId, 2)}};
  std::vector<std::byte> bytes = encode_pin(pin);
  const auto read = decode_pin(bytes, kPush);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, pin);
  EXPECT_FALSE(decode_pin(bytes, kId));
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(decode_pin(std::span(bytes).first(length), kPush)) << length;
  }
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    bytes[at] ^= std::byte{0x10};
    EXPECT_FALSE(decode_pin(bytes, kPush)) << at;
    bytes[at] ^= std::byte{0x10};
  }
}

}  // namespace
}  // namespace lamina::remote
