#include "remote/file_difference.h"

#include <algorithm>
#include <utility>

#include "base/block.h"
#include "base/error.h"
#include "engine/transfer.h"
#include "os/file.h"

namespace lamina::remote {
namespace {

constexpr std::uint8_t kNone = 0xff;
constexpr std::uint32_t kDifferenceBatchBlocks = 64;
/// Blocks around a changed one, if the map would have too many runs without them.
constexpr std::uint32_t kFirstGroup = 4;
constexpr std::uint32_t kLastGroup = 256;

/// Calls `use` with batches of blocks of `runs`: the first one's number, and the bytes, of which
/// those beyond the file's end are zeros.
template <typename Use>
Status read_runs(const LocalFile& file, const std::string& path, std::span<const BlockRun> runs,
                 Use use) {
  std::vector<std::byte> buffer(kDifferenceBatchBlocks * kBlockBytes);
  for (const BlockRun& run : runs) {
    for (std::uint32_t done = 0; done < run.count;) {
      const std::uint32_t count = std::min(run.count - done, kDifferenceBatchBlocks);
      const auto blocks = std::span(buffer).first(count * kBlockBytes);
      const std::uint64_t offset = (std::uint64_t{run.first} + done) * kBlockBytes;
      const std::uint64_t there =
          std::min<std::uint64_t>(blocks.size(), file.opened.facts.size_bytes - offset);
      LAMINA_RETURN_IF_ERROR(
          os::read_exactly_at(file.opened.fd.get(), blocks.first(there), offset, path));
      std::ranges::fill(blocks.subspan(there), std::byte{0});
      LAMINA_RETURN_IF_ERROR(use(run.first + done, std::span<const std::byte>(blocks)));
      done += count;
    }
  }
  return {};
}

std::unexpected<Error> was_changed(const std::string& path) {
  return with_remedy(fail(ErrorKind::kBusy, "'{}' was changed while it was pushed", path),
                     "do not write to the files of a snapshot, and push it again");
}

/// Calls `use` with the number of each block of `runs`, and its position among them.
template <typename Use>
void for_each_block(std::span<const BlockRun> runs, Use use) {
  std::size_t position = 0;
  for (const BlockRun& run : runs) {
    for (std::uint32_t block = run.first; block < run.end(); ++block) use(block, position++);
  }
}

}  // namespace

Status FileDifference::scan(Progress* progress) {
  if (is_scanned_) return {};
  digests_.clear();
  std::uint64_t blocks = 0;
  for (const BlockRun& run : file_->runs) blocks += run.count;
  if (progress != nullptr) progress->begin("comparing", blocks * kBlockBytes);
  digests_.reserve(blocks);
  LAMINA_ASSIGN_OR_RETURN(packed::Sha256 hash, packed::Sha256::create());
  LAMINA_ASSIGN_OR_RETURN(packed::FileDigester whole, packed::FileDigester::create());
  LAMINA_RETURN_IF_ERROR(read_runs(
      *file_, path_, file_->runs, [&](std::uint32_t first, std::span<const std::byte> bytes) {
        for (std::size_t at = 0; at < bytes.size(); at += kBlockBytes) {
          digests_.push_back(hash.of(bytes.subspan(at, kBlockBytes)));
          whole.add(first++, digests_.back());
        }
        return engine::advance(progress, bytes.size());
      }));
  // Blocks that were read before they were written would be a state that never was.
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts now, os::facts_of(file_->opened.fd.get(), path_));
  const os::FileFacts& before = file_->opened.facts;
  if (now.size_bytes != before.size_bytes || now.modified_ns != before.modified_ns) {
    return was_changed(path_);
  }
  contents_ = {before.size_bytes, whole.finish()};
  same_in_.assign(digests_.size(), kNone);
  is_scanned_ = true;
  settle();
  return {};
}

void FileDifference::compare(BaseFile base) {
  has_base_ = true;
  base_ = std::move(base.parts);
  std::size_t run = 0;
  std::size_t before = 0;  // blocks of the base's map before that run
  for_each_block(file_->runs, [&](std::uint32_t block, std::size_t position) {
    while (run < base.map.size() && base.map[run].run.end() <= block) {
      before += base.map[run++].run.count;
    }
    if (run == base.map.size() || base.map[run].run.first > block) return;
    const std::size_t there = before + (block - base.map[run].run.first);
    if (base.digests[there] == digests_[position]) same_in_[position] = base.map[run].part;
  });
  settle();
}

std::vector<const BasePart*> FileDifference::kept_parts() const {
  std::vector<const BasePart*> parts;
  parts.reserve(kept_.size());
  for (const std::uint8_t part : kept_) parts.push_back(&base_[part]);
  return parts;
}

bool FileDifference::give_up(const std::string& key) {
  const auto is_it = [&](std::uint8_t part) { return base_[part].object.reference.key == key; };
  const auto found = std::ranges::find_if(kept_, is_it);
  if (found == kept_.end()) return false;
  const std::uint8_t lost = *found;
  take(same_in_, lost);
  settle();
  return true;
}

/// Blocks of `part` are sent.
void FileDifference::take(std::vector<std::uint8_t>& parts, std::uint8_t part) const {
  std::ranges::replace(parts, part, kNone);
}

std::vector<std::uint32_t> FileDifference::live_blocks(
    const std::vector<std::uint8_t>& parts) const {
  std::vector<std::uint32_t> live(base_.size());
  for (const std::uint8_t part : parts) {
    if (part != kNone) ++live[part];
  }
  return live;
}

void FileDifference::choose_parts(std::vector<std::uint8_t>& parts) {
  const std::vector<std::uint32_t> live = live_blocks(parts);
  std::uint64_t sent = parts.size();
  std::vector<std::uint8_t> kept;
  for (std::size_t part = 0; part < base_.size(); ++part) {
    if (live[part] == 0) continue;
    if (std::uint64_t{live[part]} * 2 < base_[part].data_blocks) {
      take(parts, static_cast<std::uint8_t>(part));
      continue;
    }
    sent -= live[part];
    kept.push_back(static_cast<std::uint8_t>(part));
  }
  if (kept.size() + (sent > 0 ? 1 : 0) <= kMaxPushedParts) return;
  std::ranges::sort(kept, {}, [&](std::uint8_t part) { return live[part]; });
  std::size_t left = kept.size();
  for (const std::uint8_t part : kept) {
    if (left < kMaxPushedParts && live[part] > 2 * sent) break;
    take(parts, part);
    sent += live[part];
    --left;
  }
}

/// Sends all blocks of each aligned group of which one is sent.
void FileDifference::widen(std::vector<std::uint8_t>& parts, std::uint32_t group) const {
  std::vector<std::size_t> positions;
  std::uint32_t number = 0;
  bool is_sent = false;
  const auto finish_group = [&] {
    for (const std::size_t position : positions) {
      if (is_sent) parts[position] = kNone;
    }
    positions.clear();
    is_sent = false;
  };
  for_each_block(file_->runs, [&](std::uint32_t block, std::size_t position) {
    if (block / group != number) finish_group();
    number = block / group;
    positions.push_back(position);
    is_sent = is_sent || parts[position] == kNone;
  });
  finish_group();
}

void FileDifference::make_map(const std::vector<std::uint8_t>& parts) {
  const std::vector<std::uint32_t> live = live_blocks(parts);
  std::vector<std::uint8_t> number(base_.size());
  kept_.clear();
  for (std::size_t part = 0; part < base_.size(); ++part) {
    if (live[part] == 0) continue;
    number[part] = static_cast<std::uint8_t>(kept_.size());
    kept_.push_back(static_cast<std::uint8_t>(part));
  }
  const auto new_part = static_cast<std::uint8_t>(kept_.size());
  map_.clear();
  changed_.clear();
  changed_blocks_ = 0;
  for_each_block(file_->runs, [&](std::uint32_t block, std::size_t position) {
    const std::uint8_t part = parts[position];
    append_run(map_, {block, 1}, part == kNone ? new_part : number[part]);
    if (part != kNone) return;
    ++changed_blocks_;
    if (!changed_.empty() && changed_.back().end() == block) {
      ++changed_.back().count;
    } else {
      changed_.push_back({block, 1});
    }
  });
  // The only part has everything: the map follows from it.
  const bool has_new_only = kept_.empty();
  const bool has_whole_part = changed_blocks_ == 0 && kept_.size() == 1 &&
                              live[kept_.front()] == base_[kept_.front()].data_blocks;
  if (has_new_only || has_whole_part) map_.clear();
}

/// Decides what is sent.
void FileDifference::settle() {
  std::vector<std::uint8_t> parts = same_in_;
  choose_parts(parts);
  make_map(parts);
  for (std::uint32_t group = kFirstGroup; map_.size() > max_runs_; group *= 4) {
    if (group <= kLastGroup) {
      widen(parts, group);
    } else {
      parts.assign(parts.size(), kNone);
    }
    choose_parts(parts);
    make_map(parts);
  }
}

/// Passes the changed blocks to a writer, and collects their digests.
class FileDifference::Packing {
 public:
  Packing(const FileDifference& difference, packed::PackWriter& writer, packed::Sha256 hash,
          Progress* progress)
      : difference_(difference), writer_(writer), hash_(std::move(hash)), progress_(progress) {
    table_.reserve(digest_blocks_for(difference.changed_blocks_) * kBlockBytes);
  }

  Status add(std::uint32_t first, std::span<const std::byte> bytes) {
    for (std::size_t at = 0; at < bytes.size(); at += kBlockBytes) {
      const packed::BlockDigest digest = hash_.of(bytes.subspan(at, kBlockBytes));
      if (digest != scanned_digest(first++)) return was_changed(difference_.path_);
      const auto digest_bytes = std::as_bytes(std::span(digest));
      table_.insert(table_.end(), digest_bytes.begin(), digest_bytes.end());
    }
    LAMINA_RETURN_IF_ERROR(writer_.add(bytes));
    return engine::advance(progress_, bytes.size());
  }

  Result<packed::PackedObject> finish() {
    table_.resize(digest_blocks_for(difference_.changed_blocks_) * kBlockBytes);
    LAMINA_RETURN_IF_ERROR(writer_.add(table_));
    return writer_.finish();
  }

 private:
  /// REQUIRES: calls come in the order of the blocks.
  const packed::BlockDigest& scanned_digest(std::uint32_t block) {
    const auto& runs = difference_.file_->runs;
    while (runs[run_].end() <= block) before_ += runs[run_++].count;
    return difference_.digests_[before_ + (block - runs[run_].first)];
  }

  const FileDifference& difference_;
  packed::PackWriter& writer_;
  packed::Sha256 hash_;
  Progress* progress_;
  std::vector<std::byte> table_;
  std::size_t run_ = 0;
  std::size_t before_ = 0;  ///< blocks before that run
};

Result<packed::PackedObject> FileDifference::pack(const packed::PackSettings& settings,
                                                  packed::Sink sink, Progress* progress) const {
  const std::uint64_t file_blocks = blocks_for(contents_.size_bytes);
  const std::uint64_t digest_blocks = digest_blocks_for(changed_blocks_);
  if (file_blocks + digest_blocks > kMaxBlocks) {
    return fail(ErrorKind::kUnsupported, "'{}' has {} bytes, and is too large to be pushed", path_,
                contents_.size_bytes);
  }
  std::vector<BlockRun> runs = changed_;
  const auto first_digest = static_cast<std::uint32_t>(file_blocks);
  if (runs.empty() || runs.back().end() < first_digest) runs.push_back({first_digest, 0});
  runs.back().count += static_cast<std::uint32_t>(digest_blocks);
  LAMINA_ASSIGN_OR_RETURN(packed::PackWriter writer,
                          packed::PackWriter::for_file((file_blocks + digest_blocks) * kBlockBytes,
                                                       std::move(runs), settings, std::move(sink)));
  LAMINA_ASSIGN_OR_RETURN(packed::Sha256 hash, packed::Sha256::create());
  Packing packing(*this, writer, std::move(hash), progress);
  LAMINA_RETURN_IF_ERROR(read_runs(*file_, path_, changed_,
                                   [&](std::uint32_t first, std::span<const std::byte> bytes) {
                                     return packing.add(first, bytes);
                                   }));
  return packing.finish();
}

}  // namespace lamina::remote
