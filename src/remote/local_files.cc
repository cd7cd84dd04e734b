#include "remote/local_files.h"

#include <fcntl.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/block.h"
#include "base/bytes.h"
#include "base/error.h"
#include "format/checksum.h"
#include "os/directory.h"
#include "remote/manifest.h"
#include "store/snapshot_link.h"

namespace lamina::remote {
namespace {

/// How often a snapshot is opened anew if it is replaced meanwhile.
constexpr int kOpenAttempts = 20;
/// The header is needed before anything else, so a larger one is in the manifest too.
constexpr std::uint64_t kMaxInlineHeaderBytes = std::uint64_t{1} << 20;
constexpr std::size_t kReadBytes = std::size_t{256} << 10;

/// Files that are pushed as they are: all but the layers and what is unfinished.
bool is_pushed_as_file(const std::string& name) {
  return name == store::kHeaderName || name == store::kFactsName || !store::is_own_file(name);
}

std::uint64_t inline_limit(const std::string& name) {
  return name == store::kHeaderName ? kMaxInlineHeaderBytes : kMaxInlineBytes;
}

/// Opens the files of an open snapshot.
class FileOpener {
 public:
  explicit FileOpener(LocalSnapshot& local) : local_(local), snapshot_(local.snapshot) {}

  /// kNotFound if a file is missing.
  Status run() {
    LAMINA_RETURN_IF_ERROR(add_layers());
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                            os::list_directory(snapshot_.directory.get(), snapshot_.path));
    for (const std::string& name : names) {
      if (!is_pushed_as_file(name)) continue;
      const Status added = add_file(name);
      if (added) continue;
      // A working set is a hint, and may go at any time.
      const bool is_gone = added.error().kind == ErrorKind::kNotFound;
      if (!is_gone || name != store::kWorkingSetName) return added;
    }
    return {};
  }

 private:
  Status add_layers() {
    mapping::LayerIndex index = 0;
    for (const engine::Layer& layer : snapshot_.chain.layers()) {
      ++index;
      if (!layer.trailer()) {
        return with_remedy(fail(ErrorKind::kUnsupported,
                                "layer '{}' has no checksums (it was not written by lamina), and "
                                "is not pushed without",
                                layer.path()),
                           "run: lamina merge {}", snapshot_.path);
      }
      LocalFile file;
      file.name = store::layer_file_name(layer.build_id());
      file.layer = index;
      local_.files.push_back(std::move(file));
    }
    return {};
  }

  Status add_file(const std::string& name) {
    const std::string path = snapshot_.path + "/" + name;
    auto opened = os::open_regular(snapshot_.directory.get(), name, O_RDONLY | O_NOFOLLOW, path);
    if (!opened) {
      if (opened.error().kind == ErrorKind::kNotFound) return std::unexpected(opened.error());
      return std::unexpected(with_context(
          fmt::format("'{}' in snapshot '{}' cannot be pushed (only files can); move it out of the "
                      "snapshot first",
                      name, snapshot_.path),
          opened.error()));
    }
    LocalFile file;
    file.name = name;
    file.mode = opened->facts.mode;
    file.is_attached = !store::is_own_file(name) && !store::is_reserved_name(name);
    const std::pair inode(opened->facts.device, opened->facts.inode);
    const auto [known, is_new] =
        known_.emplace(inode, static_cast<std::uint32_t>(local_.files.size()));
    if (!is_new) {
      file.target = known->second;
    } else {
      LAMINA_RETURN_IF_ERROR(read(file, std::move(*opened), path));
    }
    local_.files.push_back(std::move(file));
    return {};
  }

  static Status read(LocalFile& file, os::OpenedFile opened, const std::string& path) {
    const std::uint64_t size = opened.facts.size_bytes;
    LAMINA_ASSIGN_OR_RETURN(file.runs, packed::data_runs(opened.fd.get(), size, path));
    // A file with holes keeps them as an object only.
    const bool has_holes = !file.runs.empty() && file.runs.front().count < blocks_for(size);
    if (size <= inline_limit(file.name) && (size == 0 || (!file.runs.empty() && !has_holes))) {
      LAMINA_ASSIGN_OR_RETURN(file.bytes,
                              os::read_whole(opened.fd.get(), inline_limit(file.name), path));
      return {};
    }
    file.opened = std::move(opened);
    return {};
  }

  LocalSnapshot& local_;
  const store::OpenSnapshot& snapshot_;
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint32_t> known_;
};

}  // namespace

Result<LocalSnapshot> open_local_snapshot(const std::string& path) {
  for (int attempt = 1;; ++attempt) {
    LAMINA_ASSIGN_OR_RETURN(store::OpenSnapshot snapshot, store::open_snapshot(path));
    LocalSnapshot local{std::move(snapshot), {}};
    const Status opened = FileOpener(local).run();
    if (opened) {
      LAMINA_RETURN_IF_ERROR(store::check_vmstate(local.snapshot));
      return local;
    }
    // The files of a replaced snapshot are removed one by one, and may have been missed.
    const bool was_replaced = opened.error().kind == ErrorKind::kNotFound &&
                              store::was_replaced(local.snapshot).value_or(false);
    if (!was_replaced) return std::unexpected(opened.error());
    if (attempt == kOpenAttempts) {
      return fail(ErrorKind::kBusy, "snapshot '{}' was replaced again and again; try again", path);
    }
  }
}

std::uint64_t data_bytes_of(const LocalSnapshot& local, const LocalFile& file) {
  if (file.layer) return local.snapshot.chain.layer(*file.layer).stored_blocks() * kBlockBytes;
  std::uint64_t bytes = file.bytes ? file.bytes->size() : 0;
  for (const BlockRun& run : file.runs) bytes += file.bytes ? 0 : run.count * kBlockBytes;
  return bytes;
}

Result<format::FileDigest> digest_of(const LocalFile& file, const std::string& path,
                                     Progress* progress) {
  ByteWriter blocks;
  std::vector<std::byte> buffer(kReadBytes);
  const std::uint64_t size = file.opened.facts.size_bytes;
  for (const BlockRun& run : file.runs) {
    for (std::uint64_t offset = run.first * kBlockBytes; offset < run.end() * kBlockBytes;) {
      if (progress != nullptr && progress->interrupted()) {
        return fail(ErrorKind::kInterrupted, "interrupted");
      }
      const std::uint64_t end = std::min<std::uint64_t>(run.end() * kBlockBytes, size);
      if (offset >= end) break;
      const auto part =
          std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), end - offset));
      LAMINA_RETURN_IF_ERROR(os::read_exactly_at(file.opened.fd.get(), part, offset, path));
      for (std::size_t at = 0; at < part.size(); at += kBlockBytes) {
        blocks.put(std::uint64_t{(offset + at) / kBlockBytes});
        blocks.put(format::checksum64(
            part.subspan(at, std::min<std::size_t>(kBlockBytes, part.size() - at))));
      }
      offset += part.size();
    }
  }
  return format::FileDigest{size, format::digest128(blocks.view())};
}

}  // namespace lamina::remote
