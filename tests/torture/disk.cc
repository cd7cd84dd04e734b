#include "disk.h"

#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <set>

#include "format/checksum.h"

namespace lamina::torture {
namespace {

std::uint64_t hash_of(std::string_view bytes) {
  return format::checksum64(std::as_bytes(std::span(bytes.data(), bytes.size())));
}

std::uint64_t hash_of(const Inode& inode) {
  std::string text = inode.target;
  const auto add = [&](std::uint64_t number) {
    text.append(reinterpret_cast<const char*>(&number), sizeof number);
  };
  for (const std::uint64_t number : {std::uint64_t{inode.mode}, std::uint64_t{inode.uid},
                                     std::uint64_t{inode.gid}, inode.size}) {
    add(number);
  }
  for (const auto& [index, block] : inode.blocks) {
    add(index);
    add(block->hash);
  }
  for (const auto& [name, child] : inode.entries) {
    text += name;
    add(child);
  }
  return hash_of(text);
}

std::int64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

std::array<char, kDiskBlockBytes> bytes_of(const Inode& file, std::uint64_t block) {
  const auto found = file.blocks.find(block);
  return found == file.blocks.end() ? std::array<char, kDiskBlockBytes>{} : found->second->bytes;
}

/// Drops what a file has past `size`.
void cut(Inode& file, std::uint64_t size) {
  const std::uint64_t whole = size / kDiskBlockBytes;
  const auto tail = static_cast<std::ptrdiff_t>(size % kDiskBlockBytes);
  file.blocks.erase(file.blocks.lower_bound(whole + (tail != 0 ? 1 : 0)), file.blocks.end());
  const auto last = file.blocks.find(whole);
  if (tail == 0 || last == file.blocks.end()) return;
  const auto& bytes = last->second->bytes;
  if (std::all_of(bytes.begin() + tail, bytes.end(), [](char byte) { return byte == 0; })) return;
  auto contents = bytes;
  std::fill(contents.begin() + tail, contents.end(), char{0});
  last->second = Block::of(contents);
}

Change block_change(InodeNumber file, std::uint64_t block, BlockPointer contents) {
  Change change;
  change.kind = ChangeKind::kBlock;
  change.inode = file;
  change.number = block;
  change.block = std::move(contents);
  change.time_ns = now_ns();
  return change;
}

Change size_change(InodeNumber file, std::uint64_t size) {
  Change change;
  change.kind = ChangeKind::kSize;
  change.inode = file;
  change.number = size;
  change.time_ns = now_ns();
  return change;
}

}  // namespace

std::shared_ptr<const Block> Block::of(const std::array<char, kDiskBlockBytes>& bytes) {
  auto block = std::make_shared<Block>();
  block->bytes = bytes;
  block->hash = hash_of({bytes.data(), bytes.size()});
  return block;
}

bool Inode::is_directory() const { return S_ISDIR(mode); }
bool Inode::is_file() const { return S_ISREG(mode); }

Disk::Disk() {
  Inode root;
  root.mode = S_IFDIR | 0755;
  root.links = 1;
  inodes_[kRoot] = std::make_shared<Inode>(root);
}

Inode& Disk::at(InodeNumber number) {
  std::shared_ptr<Inode>& inode = inodes_[number];
  if (!inode) {
    inode = std::make_shared<Inode>();
  } else if (inode.use_count() > 1) {
    inode = std::make_shared<Inode>(*inode);
  }
  inode->hash = 0;
  return *inode;
}

void Disk::apply(const Change& change) {
  switch (change.kind) {
    case ChangeKind::kInode: {
      Inode& inode = at(change.inode);
      inode.mode = change.mode;
      inode.uid = change.uid;
      inode.gid = change.gid;
      inode.target = change.target;
      inode.size = change.target.size();
      inode.modified_ns = change.time_ns;
      return;
    }
    case ChangeKind::kBlock: {
      Inode& file = at(change.inode);
      if (change.block) {
        file.blocks[change.number] = change.block;
      } else {
        file.blocks.erase(change.number);
      }
      file.modified_ns = change.time_ns;
      return;
    }
    case ChangeKind::kSize: {
      Inode& file = at(change.inode);
      if (change.number < file.size) cut(file, change.number);
      file.size = change.number;
      file.modified_ns = change.time_ns;
      return;
    }
    case ChangeKind::kMode: {
      Inode& inode = at(change.inode);
      inode.mode = (inode.mode & S_IFMT) | (change.mode & ~static_cast<mode_t>(S_IFMT));
      inode.uid = change.uid;
      inode.gid = change.gid;
      return;
    }
    case ChangeKind::kEntries:
      for (const Assignment& entry : change.entries) {
        Inode& directory = at(entry.directory);
        const auto old = directory.entries.find(entry.name);
        if (old != directory.entries.end()) {
          count_links(old->second, -1);
          directory.entries.erase(old);
        }
        if (entry.inode != kNoInode) {
          directory.entries[entry.name] = entry.inode;
          count_links(entry.inode, 1);
        }
        directory.modified_ns = change.time_ns;
      }
      return;
  }
}

void Disk::count_links(InodeNumber number, int difference) {
  at(number).links += static_cast<std::uint64_t>(std::int64_t{difference});
}

const Inode* Disk::find(InodeNumber number) const {
  const auto found = inodes_.find(number);
  return found == inodes_.end() ? nullptr : found->second.get();
}

InodeNumber Disk::lookup(InodeNumber directory, const std::string& name) const {
  const Inode* inode = find(directory);
  if (inode == nullptr) return kNoInode;
  const auto found = inode->entries.find(name);
  return found == inode->entries.end() ? kNoInode : found->second;
}

std::string Disk::path_of(InodeNumber number) const {
  if (number == kRoot) return {};
  for (const auto& [parent, inode] : inodes_) {
    for (const auto& [name, child] : inode->entries) {
      if (child != number) continue;
      const std::string above = path_of(parent);
      return above.empty() ? name : above + "/" + name;
    }
  }
  return "?";
}

std::string Disk::read(InodeNumber number, std::uint64_t offset, std::uint64_t length) const {
  const Inode* file = find(number);
  if (file == nullptr || offset >= file->size) return {};
  length = std::min(length, file->size - offset);
  std::string bytes(length, '\0');
  for (std::uint64_t done = 0; done < length;) {
    const std::uint64_t at = offset + done;
    const std::uint64_t inside = at % kDiskBlockBytes;
    const std::uint64_t part = std::min(kDiskBlockBytes - inside, length - done);
    const auto found = file->blocks.find(at / kDiskBlockBytes);
    if (found != file->blocks.end()) {
      std::copy_n(found->second->bytes.data() + inside, part, bytes.data() + done);
    }
    done += part;
  }
  return bytes;
}

void Disk::prune() {
  std::map<InodeNumber, std::uint64_t> names;
  std::vector<InodeNumber> waiting{kRoot};
  names[kRoot] = 1;
  while (!waiting.empty()) {
    const InodeNumber number = waiting.back();
    waiting.pop_back();
    for (const auto& [name, child] : inodes_.at(number)->entries) {
      if (++names[child] == 1) waiting.push_back(child);
    }
  }
  std::erase_if(inodes_, [&](const auto& entry) { return !names.contains(entry.first); });
  for (const auto& [number, inode] : inodes_) {
    if (inode->links != names[number]) at(number).links = names[number];
    // Blocks whose size is not on the disk: no file system shows them, also not when it grows.
    const auto& blocks = inode->blocks;
    if (!blocks.empty() && (blocks.rbegin()->first + 1) * kDiskBlockBytes > inode->size) {
      cut(at(number), inode->size);
    }
  }
}

std::uint64_t Disk::hash() const {
  std::string text;
  for (const auto& [number, inode] : inodes_) {
    if (inode->hash == 0) inode->hash = hash_of(*inode);
    text.append(reinterpret_cast<const char*>(&number), sizeof number);
    text.append(reinterpret_cast<const char*>(&inode->hash), sizeof inode->hash);
  }
  return hash_of(text);
}

std::vector<Change> write_changes(const Disk& disk, InodeNumber file, std::uint64_t offset,
                                  std::string_view bytes) {
  const Inode& inode = *disk.find(file);
  std::vector<Change> changes;
  for (std::uint64_t done = 0; done < bytes.size();) {
    const std::uint64_t at = offset + done;
    const std::uint64_t inside = at % kDiskBlockBytes;
    const std::uint64_t part =
        std::min<std::uint64_t>(kDiskBlockBytes - inside, bytes.size() - done);
    auto contents = bytes_of(inode, at / kDiskBlockBytes);
    std::copy_n(bytes.data() + done, part, contents.data() + inside);
    changes.push_back(block_change(file, at / kDiskBlockBytes, Block::of(contents)));
    done += part;
  }
  if (offset + bytes.size() > inode.size) {
    changes.push_back(size_change(file, offset + bytes.size()));
  }
  return changes;
}

std::vector<Change> size_changes(const Disk& disk, InodeNumber file, std::uint64_t size) {
  if (disk.find(file)->size == size) return {};
  return {size_change(file, size)};
}

std::vector<Change> punch_changes(const Disk& disk, InodeNumber file, std::uint64_t offset,
                                  std::uint64_t length) {
  const Inode& inode = *disk.find(file);
  std::vector<Change> changes;
  const std::uint64_t end = offset + length;
  for (const auto& [index, block] : inode.blocks) {
    const std::uint64_t start = index * kDiskBlockBytes;
    const std::uint64_t from = std::max(offset, start);
    const std::uint64_t to = std::min(end, start + kDiskBlockBytes);
    if (from >= to) continue;
    if (to - from == kDiskBlockBytes) {
      changes.push_back(block_change(file, index, nullptr));
      continue;
    }
    auto contents = block->bytes;
    std::fill(contents.begin() + static_cast<std::ptrdiff_t>(from - start),
              contents.begin() + static_cast<std::ptrdiff_t>(to - start), char{0});
    changes.push_back(block_change(file, index, Block::of(contents)));
  }
  return changes;
}

Change mode_change(const Disk& disk, InodeNumber inode, mode_t mode, uid_t uid, gid_t gid) {
  Change change;
  change.kind = ChangeKind::kMode;
  change.inode = inode;
  change.mode = mode;
  change.uid = uid;
  change.gid = gid;
  change.time_ns = disk.find(inode)->modified_ns;
  return change;
}

Change inode_change(InodeNumber inode, mode_t mode, uid_t uid, gid_t gid, std::string target) {
  Change change;
  change.kind = ChangeKind::kInode;
  change.inode = inode;
  change.mode = mode;
  change.uid = uid;
  change.gid = gid;
  change.target = std::move(target);
  change.time_ns = now_ns();
  return change;
}

Change entry_change(std::vector<Assignment> entries) {
  Change change;
  change.kind = ChangeKind::kEntries;
  change.entries = std::move(entries);
  change.time_ns = now_ns();
  return change;
}

}  // namespace lamina::torture
