#include "mount.h"

#define FUSE_USE_VERSION 312
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <mutex>
#include <regex>
#include <stdexcept>

namespace lamina::torture {
namespace {

/// Of the mount; the disk's inodes come after it.
constexpr fuse_ino_t kMountRoot = FUSE_ROOT_ID;
constexpr fuse_ino_t kFirst = 2;  // of the disk: its inode n is n + 1 here
constexpr const char* kTopName = "top";
constexpr double kForEver = 1e9;

fuse_ino_t node_of(InodeNumber inode) { return inode + kFirst - kRoot; }
InodeNumber inode_of(fuse_ino_t node) { return node - kFirst + kRoot; }

/// Ids are different in each run; what they are of is what matters.
std::string without_ids(const std::string& path) {
  static const std::regex id("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}");
  return std::regex_replace(path, id, "ID");
}

}  // namespace

class Mount::Server {
 public:
  explicit Server(const std::string& path);
  ~Server();

  void run();
  /// The thread that waits for requests ends with the mount.
  void end() {
    if (::umount2(path_.c_str(), MNT_DETACH) != 0) fuse_session_unmount(session_);
  }
  void drop_caches() {
    fuse_lowlevel_notify_inval_entry(session_, kMountRoot, kTopName,
                                     std::char_traits<char>::length(kTopName));
  }

  std::mutex mutex;
  Disk disk;
  bool recording = false;
  History history;
  std::map<std::string, std::uint64_t> calls;
  std::optional<Fault> fault;
  bool happened = false;
  InodeNumber next_inode = kRoot + 1;

  void add(std::string what, std::vector<Change> changes) {
    for (const Change& change : changes) disk.apply(change);
    if (recording) history.records.push_back({std::move(what), std::move(changes), kNoInode});
  }
  void add_sync(InodeNumber inode) {
    if (recording) history.records.push_back({"fsync " + path_of(inode), {}, inode});
  }
  [[nodiscard]] std::string path_of(InodeNumber inode) const {
    const std::string path = without_ids(disk.path_of(inode));
    return path.empty() ? "." : path;
  }
  [[nodiscard]] std::string path_of(InodeNumber directory, const char* name) const {
    const std::string above = disk.path_of(directory);
    return without_ids(above.empty() ? name : above + "/" + name);
  }

  /// Counts a call; 0, or the error that it fails with. `limit` becomes what a short one may do.
  int count(const std::string& call, std::uint64_t* limit = nullptr) {
    const std::uint64_t number = ++calls[call];
    if (!fault || fault->call != call || fault->number != number) return 0;
    if (fault->error == 0 && limit == nullptr) return 0;
    happened = true;
    if (fault->error == 0) *limit = std::min(*limit, fault->limit_bytes);
    return fault->error;
  }

  [[nodiscard]] struct stat attributes(fuse_ino_t node) const;
  [[nodiscard]] fuse_entry_param entry(InodeNumber inode) const;
  /// Makes an inode with a name.
  InodeNumber make(const std::string& what, InodeNumber parent, const char* name, mode_t mode,
                   const fuse_ctx* who, std::string target = {});

 private:
  std::string path_;
  fuse_session* session_ = nullptr;
};

namespace {

using Server = Mount::Server;

Server& server(fuse_req_t request) { return *static_cast<Server*>(fuse_req_userdata(request)); }

}  // namespace

struct stat Mount::Server::attributes(fuse_ino_t node) const {
  struct stat status{};
  status.st_ino = node;
  status.st_blksize = kDiskBlockBytes;
  if (node == kMountRoot) {
    status.st_mode = S_IFDIR | 0755;
    status.st_nlink = 3;
    return status;
  }
  const Inode& inode = *disk.find(inode_of(node));
  status.st_mode = inode.mode;
  status.st_nlink = static_cast<nlink_t>(inode.is_directory() ? 2 : inode.links);
  status.st_uid = inode.uid;
  status.st_gid = inode.gid;
  status.st_size = static_cast<off_t>(inode.size);
  status.st_blocks = static_cast<blkcnt_t>(inode.blocks.size() * kDiskBlockBytes / 512);
  status.st_mtim = {inode.modified_ns / 1'000'000'000, inode.modified_ns % 1'000'000'000};
  status.st_ctim = status.st_atim = status.st_mtim;
  return status;
}

fuse_entry_param Mount::Server::entry(InodeNumber inode) const {
  fuse_entry_param entry{};
  entry.entry_timeout = kForEver;
  entry.attr_timeout = kForEver;
  if (inode == kNoInode) return entry;  // there is none, and that may be cached too
  entry.ino = node_of(inode);
  entry.attr = attributes(entry.ino);
  return entry;
}

InodeNumber Mount::Server::make(const std::string& what, InodeNumber parent, const char* name,
                                mode_t mode, const fuse_ctx* who, std::string target) {
  const InodeNumber inode = next_inode++;
  add(what + " " + path_of(parent, name),
      {inode_change(inode, mode, who->uid, who->gid, std::move(target)),
       entry_change({{parent, name, inode}})});
  return inode;
}

namespace {

/// The inode that a request is about; answers it when there is none any more.
const Inode* find_or_answer(fuse_req_t request, fuse_ino_t node) {
  const Inode* inode = node == kMountRoot ? nullptr : server(request).disk.find(inode_of(node));
  if (inode == nullptr) fuse_reply_err(request, node == kMountRoot ? EPERM : ESTALE);
  return inode;
}

void init(void* /*data*/, fuse_conn_info* connection) {
  connection->want &= ~static_cast<unsigned>(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_READDIRPLUS |
                                             FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_FLOCK_LOCKS |
                                             FUSE_CAP_POSIX_LOCKS);
}

void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  Server& self = server(request);
  const std::scoped_lock lock(self.mutex);
  if (const int error = self.count("lookup")) return void(fuse_reply_err(request, error));
  InodeNumber found = kNoInode;
  if (parent == kMountRoot) {
    if (std::string_view(name) == kTopName) found = kRoot;
  } else {
    found = self.disk.lookup(inode_of(parent), name);
  }
  const fuse_entry_param entry = self.entry(found);
  fuse_reply_entry(request, &entry);
}

void getattr(fuse_req_t request, fuse_ino_t node, fuse_file_info* /*file*/) {
  Server& self = server(request);
  const std::scoped_lock lock(self.mutex);
  if (node != kMountRoot && find_or_answer(request, node) == nullptr) return;
  const struct stat status = self.attributes(node);
  fuse_reply_attr(request, &status, kForEver);
}

void setattr(fuse_req_t request, fuse_ino_t node, struct stat* wanted, int which,
             fuse_file_info* /*file*/) {
  Server& self = server(request);
  const std::scoped_lock lock(self.mutex);
  const Inode* inode = find_or_answer(request, node);
  if (inode == nullptr) return;
  const InodeNumber number = inode_of(node);
  const std::string path = self.path_of(number);
  if ((which & FUSE_SET_ATTR_SIZE) != 0) {
    if (const int error = self.count("truncate")) return void(fuse_reply_err(request, error));
    self.add("truncate " + path,
             size_changes(self.disk, number, static_cast<std::uint64_t>(wanted->st_size)));
  }
  if ((which & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) != 0) {
    if (const int error = self.count("chmod")) return void(fuse_reply_err(request, error));
    const mode_t mode = (which & FUSE_SET_ATTR_MODE) != 0 ? wanted->st_mode : inode->mode;
    const uid_t uid = (which & FUSE_SET_ATTR_UID) != 0 ? wanted->st_uid : inode->uid;
    const gid_t gid = (which & FUSE_SET_ATTR_GID) != 0 ? wanted->st_gid : inode->gid;
    self.add("chmod " + path, {mode_change(self.disk, number, mode, uid, gid)});
  }
  const struct stat status = self.attributes(node);
  fuse_reply_attr(request, &status, kForEver);
}

void readlink(fuse_req_t request, fuse_ino_t node) {
  Server& self = server(request);
  const std::scoped_lock lock(self.mutex);
  const Inode* inode = find_or_answer(request, node);
  if (inode != nullptr) fuse_reply_readlink(request, inode->target.c_str());
}

/// Makes something that must not be there yet. Nothing when that was answered with an error.
std::optional<InodeNumber> make_new(fuse_req_t request, const char* call, fuse_ino_t parent,
                                    const char* name, mode_t mode, std::string target = {}) {
  Server& self = server(request);
  int error = self.count(call);
  if (find_or_answer(request, parent) == nullptr) return std::nullopt;
  if (error == 0 && self.disk.lookup(inode_of(parent), name) != kNoInode) error = EEXIST;
  if (error != 0) {
    fuse_reply_err(request, error);
    return std::nullopt;
  }
  return self.make(call, inode_of(parent), name, mode, fuse_req_ctx(request), std::move(target));
}

void mkdir(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) {
  Server& self = server(request);
  const std::scoped_lock lock(self.mutex);
  const auto made = make_new(request, "mkdir", parent, name, S_IFDIR | (mode & 07777U));
  if (!made) return;
  const fuse_entry_param entry = self.entry(*made);
  fuse_reply_entry(request, &entry);
}

void symlink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name) {
  Server& self = server(request);
  const std::scoped_lock lock(self.mutex);
  const auto made = make_new(request, "symlink", parent, name, S_IFLNK | 0777, target);
  if (!made) return;
  const fuse_entry_param entry = self.entry(*made);
  fuse_reply_entry(request, &entry);
}

void create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode,
            fuse_file_info* file) {
  Server& self = server(request);
  const std::scoped_lock lock(self.mutex);
  const auto made = make_new(request, "create", parent, name, S_IFREG | (mode & 07777U));
  if (!made) return;
  const fuse_entry_param entry = self.entry(*made);
  file->direct_io = 1;
  fuse_reply_create(request, &entry, file);
}

void link(fuse_req_t request, fuse_ino_t node, fuse_ino_t parent, const char* name) {
  Server& self = server(request);
  const std::scoped_lock lock(self.mutex);
  int error = self.count("link");
  if (find_or_answer(request, node) == nullptr) return;
  if (error == 0 && self.disk.lookup(inode_of(parent), name) != kNoInode) error = EEXIST;
  if (error != 0) return void(fuse_reply_err(request, error));
  self.add("link " + self.path_of(inode_of(parent), name),
           {entry_change({{inode_of(parent), name, inode_of(node)}})});
  const fuse_entry_param entry = self.entry(inode_of(node));
  fuse_reply_entry(request, &entry);
}

void remove(fuse_req_t request, const char* call, fuse_ino_t parent, const char* name) {
  Server& self = server(request);
  const std::scoped_lock lock(self.mutex);
  int error = self.count(call);
  if (find_or_answer(request, parent) == nullptr) return;
  const InodeNumber inode = self.disk.lookup(inode_of(parent), name);
  if (error == 0 && inode == kNoInode) error = ENOENT;
  if (error == 0 && !self.disk.find(inode)->entries.empty()) error = ENOTEMPTY;
  if (error != 0) return void(fuse_reply_err(request, error));
  self.add(std::string(call) + " " + self.path_of(inode_of(parent), name),
           {entry_change({{inode_of(parent), name, kNoInode}})});
  fuse_reply_err(request, 0);
}

void unlink(fuse_req_t request, fuse_ino_t parent, const char* name) {
  remove(request, "unlink", parent, name);
}

void rmdir(fuse_req_t request, fuse_ino_t parent, const char* name) {
  remove(request, "rmdir", parent, name);
}

void rename(fuse_req_t request, fuse_ino_t from_parent, const char* from, fuse_ino_t to_parent,
            const char* to, unsigned flags) {
  Server& self = server(request);
  const std::scoped_lock lock(self.mutex);
  int error = self.count("rename");
  if (find_or_answer(request, from_parent) == nullptr) return;
  if (to_parent != from_parent && find_or_answer(request, to_parent) == nullptr) return;
  const InodeNumber from_directory = inode_of(from_parent);
  const InodeNumber to_directory = inode_of(to_parent);
  const InodeNumber moved = self.disk.lookup(from_directory, from);
  const InodeNumber there = self.disk.lookup(to_directory, to);
  const bool exchanges = (flags & RENAME_EXCHANGE) != 0;
  if (error == 0 && (moved == kNoInode || (exchanges && there == kNoInode))) error = ENOENT;
  if (error == 0 && (flags & RENAME_NOREPLACE) != 0 && there != kNoInode) error = EEXIST;
  if (error == 0 && !exchanges && there != kNoInode && !self.disk.find(there)->entries.empty()) {
    error = ENOTEMPTY;
  }
  if (error != 0) return void(fuse_reply_err(request, error));
  const std::string what = self.path_of(from_directory, from) + (exchanges ? " with " : " to ") +
                           self.path_of(to_directory, to);
  if (moved != there) {  // two names of one file: nothing happens
    self.add((exchanges ? "exchange " : "rename ") + what,
             {entry_change({{from_directory, from, exchanges ? there : kNoInode},
                            {to_directory, to, moved}})});
  }
  fuse_reply_err(request, 0);
}

void open(fuse_req_t request, fuse_ino_t node, fuse_file_info* file) {
  Server& self = server(request);
  const std::scoped_lock lock(self.mutex);
  if (const int error = self.count("open")) return void(fuse_reply_err(request, error));
  if (find_or_answer(request, node) == nullptr) return;
  if ((file->flags & O_TRUNC) != 0) {
    self.add("truncate " + self.path_of(inode_of(node)),
             size_changes(self.disk, inode_of(node), 0));
  }
  file->direct_io = 1;
  fuse_reply_open(request, file);
}

void read(fuse_req_t request, fuse_ino_t node, std::size_t size, off_t offset,
          fuse_file_info* /*file*/) {
  Server& self = server(request);
  const std::scoped_lock lock(self.mutex);
  std::uint64_t limit = size;
  if (const int error = self.count("read", &limit)) return void(fuse_reply_err(request, error));
  if (find_or_answer(request, node) == nullptr) return;
  const std::string bytes =
      self.disk.read(inode_of(node), static_cast<std::uint64_t>(offset), limit);
  fuse_reply_buf(request, bytes.data(), bytes.size());
}

void write(fuse_req_t request, fuse_ino_t node, const char* bytes, std::size_t size, off_t offset,
           fuse_file_info* file) {
  Server& self = server(request);
  const std::scoped_lock lock(self.mutex);
  std::uint64_t limit = size;
  if (const int error = self.count("write", &limit)) return void(fuse_reply_err(request, error));
  const Inode* inode = find_or_answer(request, node);
  if (inode == nullptr) return;
  const bool appends = (file->flags & O_APPEND) != 0;
  const std::uint64_t start = appends ? inode->size : static_cast<std::uint64_t>(offset);
  self.add("write " + self.path_of(inode_of(node)),
           write_changes(self.disk, inode_of(node), start, {bytes, limit}));
  fuse_reply_write(request, limit);
}

void release(fuse_req_t request, fuse_ino_t /*node*/, fuse_file_info* /*file*/) {
  fuse_reply_err(request, 0);
}

void sync(fuse_req_t request, fuse_ino_t node, int /*data_only*/, fuse_file_info* /*file*/) {
  Server& self = server(request);
  const std::scoped_lock lock(self.mutex);
  if (const int error = self.count("fsync")) return void(fuse_reply_err(request, error));
  if (node != kMountRoot) self.add_sync(inode_of(node));
  fuse_reply_err(request, 0);
}

void opendir(fuse_req_t request, fuse_ino_t node, fuse_file_info* file) {
  Server& self = server(request);
  const std::scoped_lock lock(self.mutex);
  if (const int error = self.count("opendir")) return void(fuse_reply_err(request, error));
  if (node != kMountRoot && find_or_answer(request, node) == nullptr) return;
  fuse_reply_open(request, file);
}

void readdir(fuse_req_t request, fuse_ino_t node, std::size_t size, off_t offset,
             fuse_file_info* /*file*/) {
  Server& self = server(request);
  const std::scoped_lock lock(self.mutex);
  if (const int error = self.count("readdir")) return void(fuse_reply_err(request, error));
  std::vector<std::pair<std::string, fuse_ino_t>> entries{{".", node}, {"..", node}};
  if (node == kMountRoot) {
    entries.emplace_back(kTopName, kFirst);
  } else {
    const Inode* inode = find_or_answer(request, node);
    if (inode == nullptr) return;
    for (const auto& [name, child] : inode->entries) entries.emplace_back(name, node_of(child));
  }
  std::string buffer;
  for (auto i = static_cast<std::size_t>(offset); i < entries.size(); ++i) {
    const auto& [name, child] = entries[i];
    struct stat status{};
    status.st_ino = child;
    status.st_mode = child == kMountRoot || i < 2 ? S_IFDIR : self.attributes(child).st_mode;
    const std::size_t needed = fuse_add_direntry(request, nullptr, 0, name.c_str(), nullptr, 0);
    if (buffer.size() + needed > size) break;
    const std::size_t at = buffer.size();
    buffer.resize(at + needed);
    fuse_add_direntry(request, buffer.data() + at, needed, name.c_str(), &status,
                      static_cast<off_t>(i + 1));
  }
  fuse_reply_buf(request, buffer.data(), buffer.size());
}

void statfs(fuse_req_t request, fuse_ino_t /*node*/) {
  struct statvfs facts{};
  facts.f_bsize = facts.f_frsize = kDiskBlockBytes;
  facts.f_blocks = facts.f_bfree = facts.f_bavail = std::uint64_t{1} << 30;
  facts.f_files = facts.f_ffree = facts.f_favail = std::uint64_t{1} << 30;
  facts.f_namemax = 255;
  fuse_reply_statfs(request, &facts);
}

void allocate(fuse_req_t request, fuse_ino_t node, int mode, off_t offset, off_t length,
              fuse_file_info* /*file*/) {
  Server& self = server(request);
  const std::scoped_lock lock(self.mutex);
  if (const int error = self.count("fallocate")) return void(fuse_reply_err(request, error));
  const Inode* inode = find_or_answer(request, node);
  if (inode == nullptr) return;
  const InodeNumber number = inode_of(node);
  const auto start = static_cast<std::uint64_t>(offset);
  const auto bytes = static_cast<std::uint64_t>(length);
  if (mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)) {
    self.add("punch " + self.path_of(number), punch_changes(self.disk, number, start, bytes));
  } else if (mode == 0) {
    // Space is not modelled: what is reserved reads as a hole.
    if (start + bytes > inode->size) {
      self.add("allocate " + self.path_of(number), size_changes(self.disk, number, start + bytes));
    }
  } else {
    return void(fuse_reply_err(request, EOPNOTSUPP));
  }
  fuse_reply_err(request, 0);
}

void seek(fuse_req_t request, fuse_ino_t node, off_t offset, int whence, fuse_file_info* /*file*/) {
  Server& self = server(request);
  const std::scoped_lock lock(self.mutex);
  if (const int error = self.count("lseek")) return void(fuse_reply_err(request, error));
  const Inode* inode = find_or_answer(request, node);
  if (inode == nullptr) return;
  auto position = static_cast<std::uint64_t>(offset);
  if (offset < 0 || position >= inode->size) return void(fuse_reply_err(request, ENXIO));
  while (position < inode->size) {
    const bool is_data = inode->blocks.contains(position / kDiskBlockBytes);
    if (is_data == (whence == SEEK_DATA)) break;
    position = (position / kDiskBlockBytes + 1) * kDiskBlockBytes;
  }
  if (position >= inode->size) {
    if (whence == SEEK_DATA) return void(fuse_reply_err(request, ENXIO));
    position = inode->size;
  }
  fuse_reply_lseek(request, static_cast<off_t>(position));
}

void copy(fuse_req_t request, fuse_ino_t from, off_t from_offset, fuse_file_info* /*from_file*/,
          fuse_ino_t to, off_t to_offset, fuse_file_info* /*to_file*/, std::size_t length,
          int /*flags*/) {
  Server& self = server(request);
  const std::scoped_lock lock(self.mutex);
  std::uint64_t limit = length;
  if (const int error = self.count("copy", &limit)) return void(fuse_reply_err(request, error));
  if (find_or_answer(request, from) == nullptr || find_or_answer(request, to) == nullptr) return;
  const std::string bytes =
      self.disk.read(inode_of(from), static_cast<std::uint64_t>(from_offset), limit);
  self.add("copy into " + self.path_of(inode_of(to)),
           write_changes(self.disk, inode_of(to), static_cast<std::uint64_t>(to_offset), bytes));
  fuse_reply_write(request, bytes.size());
}

fuse_lowlevel_ops operations() {
  fuse_lowlevel_ops ops{};
  ops.init = init;
  ops.lookup = lookup;
  ops.getattr = getattr;
  ops.setattr = setattr;
  ops.readlink = readlink;
  ops.mkdir = mkdir;
  ops.symlink = symlink;
  ops.create = create;
  ops.link = link;
  ops.unlink = unlink;
  ops.rmdir = rmdir;
  ops.rename = rename;
  ops.open = open;
  ops.read = read;
  ops.write = write;
  ops.release = release;
  ops.fsync = sync;
  ops.opendir = opendir;
  ops.readdir = readdir;
  ops.releasedir = release;
  ops.fsyncdir = sync;
  ops.statfs = statfs;
  ops.fallocate = allocate;
  ops.lseek = seek;
  ops.copy_file_range = copy;
  return ops;
}

}  // namespace

Mount::Server::Server(const std::string& path) : path_(path) {
  std::array<std::string, 3> words{"torture", "-o", "fsname=torture,default_permissions"};
  std::array<char*, 3> pointers{words[0].data(), words[1].data(), words[2].data()};
  fuse_args arguments = FUSE_ARGS_INIT(static_cast<int>(pointers.size()), pointers.data());
  static const fuse_lowlevel_ops ops = operations();
  session_ = fuse_session_new(&arguments, &ops, sizeof ops, this);
  fuse_opt_free_args(&arguments);
  if (session_ == nullptr || fuse_session_mount(session_, path.c_str()) != 0) {
    throw std::runtime_error("cannot mount a FUSE file system at '" + path + "'");
  }
}

Mount::Server::~Server() { fuse_session_destroy(session_); }

void Mount::Server::run() {
  fuse_buf buffer{};
  while (fuse_session_exited(session_) == 0) {
    const int received = fuse_session_receive_buf(session_, &buffer);
    if (received == -EINTR) continue;
    if (received <= 0) break;
    fuse_session_process_buf(session_, &buffer);
  }
  free(buffer.mem);  // NOLINT(cppcoreguidelines-no-malloc): libfuse made it
}

Mount::Mount(const std::string& path) : server_(std::make_unique<Server>(path)) {}

Mount::~Mount() {
  server_->end();
  if (thread_.joinable()) thread_.join();
}

void Mount::serve() {
  thread_ = std::thread([this] { server_->run(); });
}

void Mount::show(const Disk& disk) {
  {
    const std::scoped_lock lock(server_->mutex);
    server_->disk = disk;
    server_->recording = false;
    server_->calls.clear();
  }
  server_->drop_caches();
}

Disk Mount::disk() const {
  const std::scoped_lock lock(server_->mutex);
  Disk copy = server_->disk;
  copy.prune();
  return copy;
}

void Mount::start_recording() {
  const std::scoped_lock lock(server_->mutex);
  server_->history = {server_->disk, {}};
  server_->recording = true;
  server_->calls.clear();
}

History Mount::stop_recording() {
  const std::scoped_lock lock(server_->mutex);
  server_->recording = false;
  return std::move(server_->history);
}

std::map<std::string, std::uint64_t> Mount::calls() const {
  const std::scoped_lock lock(server_->mutex);
  return server_->calls;
}

void Mount::arm(const Fault& fault) {
  const std::scoped_lock lock(server_->mutex);
  server_->fault = fault;
  server_->happened = false;
  server_->calls.clear();
}

bool Mount::disarm() {
  const std::scoped_lock lock(server_->mutex);
  server_->fault.reset();
  return server_->happened;
}

}  // namespace lamina::torture
