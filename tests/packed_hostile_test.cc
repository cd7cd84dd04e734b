// Packed snapshots whose contents were made to do harm. All their checksums are right.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "base/block.h"
#include "format/checksum.h"
#include "lamina/ingest.h"
#include "lamina/pack.h"
#include "packed/object_io.h"
#include "packed/packed_snapshot.h"
#include "packed/snapshot_reader.h"
#include "scratch_directory.h"

namespace lamina::packed {
namespace {

namespace fs = std::filesystem;

/// A packed snapshot, taken apart.
struct Parts {
  std::vector<std::byte> objects;
  SnapshotContents contents;
};

std::vector<std::byte> put_together(const Parts& parts) {
  std::vector<std::byte> bytes = parts.objects;
  const auto contents = encode_contents(parts.contents);
  EXPECT_TRUE(contents);
  SnapshotFooter footer;
  footer.objects_bytes = parts.objects.size();
  footer.contents_bytes = contents->size();
  footer.contents_digest = format::checksum64(*contents);
  footer.entry_count = static_cast<std::uint32_t>(parts.contents.entries.size());
  bytes.insert(bytes.end(), contents->begin(), contents->end());
  const auto end = encode_snapshot_footer(footer);
  bytes.insert(bytes.end(), end.begin(), end.end());
  return bytes;
}

class HostileSnapshot : public testing::Test {
 protected:
  HostileSnapshot() {
    fs::create_directory(scratch_.file("store"));
    fs::create_directory(scratch_.file("other"));
    std::ofstream(scratch_.file("memory")) << std::string(2 * kBlockBytes, 'm');
    IngestOptions ingesting;
    ingesting.memory_file = scratch_.file("memory");
    ingesting.snapshot = scratch_.file("store/vm");
    EXPECT_TRUE(ingest(ingesting));
    std::ofstream(scratch_.file("store/vm/disk")) << "disk";
    PackOptions packing;
    packing.snapshot = ingesting.snapshot;
    packing.out = scratch_.file("packed");
    EXPECT_TRUE(pack_snapshot(packing));
    take_apart();
  }

  void take_apart() {
    std::ifstream file(scratch_.file("packed"), std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(file)),
                           std::istreambuf_iterator<char>());
    const auto bytes = std::as_bytes(std::span(text));
    const Source source = [&](std::uint64_t offset, std::span<std::byte> into) -> Status {
      std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
      return {};
    };
    const auto snapshot = PackedSnapshot::open(source, bytes.size(), nullptr);
    ASSERT_TRUE(snapshot) << snapshot.error().message;
    parts_.contents = snapshot->contents();
    std::uint64_t objects_bytes = 0;
    for (const SnapshotEntry& entry : parts_.contents.entries) {
      objects_bytes += entry.object_bytes;
    }
    parts_.objects.assign(bytes.begin(),
                          bytes.begin() + static_cast<std::ptrdiff_t>(objects_bytes));
  }

  SnapshotEntry& entry(const std::string& name) {
    for (SnapshotEntry& found : parts_.contents.entries) {
      if (found.name.starts_with(name)) return found;
    }
    ADD_FAILURE() << name;
    return parts_.contents.entries.front();
  }

  SnapshotEntry& add_link(const std::string& name, std::uint32_t target) {
    SnapshotEntry link;
    link.kind = EntryKind::kLink;
    link.name = name;
    link.target = target;
    parts_.contents.entries.push_back(link);
    return parts_.contents.entries.back();
  }

  /// Unpacks `parts_`, put together.
  Result<UnpackReport> unpack_parts() {
    const auto bytes = put_together(parts_);
    std::ofstream(scratch_.file("hostile"), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    UnpackOptions options;
    options.file = scratch_.file("hostile");
    options.snapshot = scratch_.file("other/vm");
    return unpack_snapshot(options);
  }

  /// The message; "accepted" if it was unpacked. Nothing may be left in the store.
  std::string error_of_unpacking() {
    const auto unpacked = unpack_parts();
    if (unpacked) return "accepted";
    EXPECT_EQ(unpacked.error().kind, ErrorKind::kCorrupt) << unpacked.error().message;
    for (const auto& found : fs::directory_iterator(scratch_.file("other"))) {
      EXPECT_TRUE(found.path().filename().string().starts_with('.')) << found.path();
    }
    const std::string area = scratch_.file("other/.tmp");
    EXPECT_TRUE(!fs::exists(area) || fs::is_empty(area));
    return unpacked.error().message;
  }

  void expect_error(const std::string& part) {
    const std::string message = error_of_unpacking();
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }

  tests::ScratchDirectory scratch_;
  Parts parts_;
};

TEST_F(HostileSnapshot, UnchangedIsAccepted) { EXPECT_EQ(error_of_unpacking(), "accepted"); }

TEST_F(HostileSnapshot, NamesThatLeadOutAreRefused) {
  const std::string long_name(256, 'n');
  for (const std::string& name :
       {std::string("../escaped"), std::string("/tmp/escaped"), std::string(".."), std::string("."),
        std::string(), std::string("a/b"), std::string("nul\0name", 8), long_name}) {
    entry("disk").name = name;
    expect_error("which cannot be a file's");
    parts_ = {};
    take_apart();
  }
}

TEST_F(HostileSnapshot, NamesOfUnfinishedFilesAreRefused) {
  for (const char* name :
       {".memfile.header.new", ".snapshot.json.new", "working-set.new", ".link.new", "memfile",
        "memfile.11111111-1111-4111-8111-111111111111"}) {
    entry("disk").name = name;
    expect_error("which no snapshot has");
    parts_ = {};
    take_apart();
  }
}

TEST_F(HostileSnapshot, ANameThatIsThereTwiceIsRefused) {
  entry("disk").name = "snapshot.json";
  expect_error("twice");
}

TEST_F(HostileSnapshot, LinksMustLeadToAFileBefore) {
  const auto count = static_cast<std::uint32_t>(parts_.contents.entries.size());
  for (const std::uint32_t target : {count, count + 1, 0xffff'ffffU, 0U}) {  // 0 is the layer
    add_link("link", target);
    expect_error("is not a file before it");
    parts_.contents.entries.pop_back();
  }
  add_link("link", count - 1);
  EXPECT_EQ(error_of_unpacking(), "accepted");
}

TEST_F(HostileSnapshot, ALinkMayNotTakeTheNameOfALayer) {
  const auto count = static_cast<std::uint32_t>(parts_.contents.entries.size());
  add_link("memfile.11111111-1111-4111-8111-111111111111", count - 1);
  expect_error("which no snapshot has");
}

TEST_F(HostileSnapshot, ALayerMustHaveTheNameOfItsBuild) {
  entry("memfile.").name = "memfile.11111111-1111-4111-8111-111111111111";
  expect_error("has the name");
}

TEST_F(HostileSnapshot, SetuidAndOtherModesAreRefused) {
  entry("disk").mode = 04755;
  expect_error("mode 4755");
}

TEST_F(HostileSnapshot, EnormousObjectsAreRefused) {
  entry("disk").object_bytes = std::uint64_t{1} << 62;
  expect_error("are left");
}

TEST_F(HostileSnapshot, ObjectsInEachOthersPlacesAreRefused) {
  std::swap(entry("disk").name, entry("snapshot.json").name);
  // Without a seal names are not bound to objects, but a snapshot must still be one.
  EXPECT_NE(error_of_unpacking(), "accepted");
  parts_ = {};
  take_apart();
  std::swap(entry("disk").footer_digest, entry("snapshot.json").footer_digest);
  expect_error("not the one that was packed");
}

TEST_F(HostileSnapshot, AMissingLayerIsFound) {
  const SnapshotEntry layer = entry("memfile.");
  auto& entries = parts_.contents.entries;
  ASSERT_EQ(entries.front(), layer);
  entries.erase(entries.begin());
  parts_.objects.erase(parts_.objects.begin(),
                       parts_.objects.begin() + static_cast<std::ptrdiff_t>(layer.object_bytes));
  const auto unpacked = unpack_parts();
  const std::string message = unpacked ? "accepted" : unpacked.error().message;
  EXPECT_NE(message.find("is missing"), std::string::npos) << message;
}

TEST_F(HostileSnapshot, AnotherPauseIdIsRefused) {
  parts_.contents.pause_id.bytes[3] ^= 1;
  expect_error("it is of pause");
}

TEST_F(HostileSnapshot, TooManyEntriesAreRefusedBeforeAnyIsRead) {
  auto contents = *encode_contents(parts_.contents);
  // The count is behind the pause id and the name, which is "vm".
  const std::uint32_t count = 0xffff'ffff;
  std::memcpy(&contents[16 + 2 + 2], &count, sizeof(count));
  const auto decoded = decode_contents(contents, parts_.objects.size());
  ASSERT_FALSE(decoded);
  EXPECT_NE(decoded.error().message.find("4294967295 entries"), std::string::npos);
}

/// A packed object of a file with a footer that was changed.
std::string error_of_footer(const std::function<void(ObjectFooter&)>& change) {
  ObjectFooter footer;
  footer.kind = ObjectKind::kFile;
  footer.frame_blocks = 16;
  footer.index_bytes = 8;
  change(footer);
  const auto decoded = decode_object_footer(encode_object_footer(footer), footer.object_bytes());
  return decoded ? "accepted" : decoded.error().message;
}

TEST(HostileObject, ImpossibleFootersAreRefused) {
  const auto has = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  EXPECT_EQ(error_of_footer([](ObjectFooter&) {}), "accepted");
  has(error_of_footer([](ObjectFooter& f) { f.kind = static_cast<ObjectKind>(9); }), "kind 9");
  has(error_of_footer([](ObjectFooter& f) { f.seal = static_cast<SealAlgorithm>(7); }),
      "algorithm 7");
  has(error_of_footer([](ObjectFooter& f) { f.frame_blocks = 65; }), "65 blocks");
  has(error_of_footer([](ObjectFooter& f) { f.frame_blocks = 0; }), "0 blocks");
  has(error_of_footer([](ObjectFooter& f) { f.index_bytes = kMaxIndexBytes + 1; }), "at most");
  has(error_of_footer([](ObjectFooter& f) { f.frames_bytes = ~std::uint64_t{0} - 100; }),
      "truncated");
}

std::string error_of_index(const std::vector<BlockRun>& runs, std::uint64_t file_bytes,
                           const std::vector<FrameEntry>& frames) {
  ObjectFooter footer;
  footer.kind = ObjectKind::kFile;
  footer.frame_blocks = 16;
  footer.frame_count = static_cast<std::uint32_t>(frames.size());
  for (const FrameEntry& frame : frames) footer.frames_bytes += frame.length;
  const auto index = encode_file_index(file_bytes, runs, frames);
  EXPECT_TRUE(index);
  const auto decoded = decode_object_index(footer, *index);
  return decoded ? "accepted" : decoded.error().message;
}

TEST(HostileObject, ImpossibleIndexesAreRefused) {
  const auto has = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  const std::uint64_t bytes = 10 * kBlockBytes;
  const FrameEntry frame{0, 100, Method::kZstd, 0};
  EXPECT_EQ(error_of_index({{0, 4}}, bytes, {frame}), "accepted");
  EXPECT_EQ(error_of_index({}, std::uint64_t{1} << 43, {}), "accepted");
  has(error_of_index({{0, 0}}, bytes, {}), "empty");
  has(error_of_index({{4, 2}, {2, 2}}, bytes, {frame}), "out of order");
  has(error_of_index({{0, 2}, {2, 2}}, bytes, {frame}), "touching");
  has(error_of_index({{9, 2}}, bytes, {frame}), "past its end");
  has(error_of_index({{0xffff'ffff, 2}}, bytes, {frame}), "past its end");
  has(error_of_index({{0, 4}}, ~std::uint64_t{0}, {frame}), "at most");
  has(error_of_index({{0, 4}}, bytes, {}), "0 frames");
  has(error_of_index({{0, 4}}, bytes, {frame, frame}), "2 frames");
  // A frame cannot be shorter than its checksums, nor longer than its blocks.
  has(error_of_index({{0, 4}}, bytes, {{0, 32, Method::kZstd, 0}}), "not possible");
  has(error_of_index({{0, 4}}, bytes, {{0, 17000, Method::kLz4, 0}}), "not possible");
  has(error_of_index({{0, 4}}, bytes, {{0, 100, Method::kRaw, 0}}), "not possible");
  has(error_of_index({{0, 4}}, bytes, {{0, 100, static_cast<Method>(3), 0}}), "not possible");
}

TEST(HostileObject, AFrameThatWouldDecompressToMoreIsRefused) {
  const std::vector<std::byte> zeros(64 * kBlockBytes);
  for (const Method method : {Method::kZstd, Method::kLz4}) {
    std::vector<std::byte> stored(zeros.size());
    const std::size_t length = Compressor(method).compress(zeros, stored);
    ASSERT_GT(length, 0);
    std::vector<std::byte> room(2 * kBlockBytes, std::byte{0x77});
    const auto blocks = std::span(room).first(kBlockBytes);
    const Status done = Decompressor().decompress(method, std::span(stored).first(length), blocks);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().kind, ErrorKind::kCorrupt);
    for (std::size_t i = kBlockBytes; i < room.size(); ++i) ASSERT_EQ(room[i], std::byte{0x77});
  }
}

}  // namespace
}  // namespace lamina::packed
