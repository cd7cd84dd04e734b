// Objects as files below a directory, which may be on a file system that several hosts share.
//
// The object "a/b" is the file a/b. It is written as a file of a random name in ".incoming",
// synced, and then gets its name by link(2), which fails if the name exists, or by rename(2), which
// replaces it. Before a write is acknowledged, the directories on the path are synced too, also
// those that another process has made. Nothing but ".incoming" ever has a part of an object.
//
// A key cannot be another's directory: "a" and "a/b" do not exist together. A directory that
// becomes empty is removed.
//
// Synchronous and thread-safe; directory_store.h makes an ObjectStore of it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "lamina/result.h"
#include "object_store/object_store.h"
#include "os/fd.h"

namespace lamina::object_store {

class DirectoryObjects {
 public:
  /// kNotFound if there is no directory at `path`. Removes what writers of more than a day ago have
  /// left in ".incoming".
  static Result<std::unique_ptr<DirectoryObjects>> open(const std::string& path);

  DirectoryObjects(const DirectoryObjects&) = delete;
  DirectoryObjects& operator=(const DirectoryObjects&) = delete;
  DirectoryObjects(DirectoryObjects&&) = delete;
  DirectoryObjects& operator=(DirectoryObjects&&) = delete;
  /// Removes uploads that have not been completed.
  ~DirectoryObjects();

  /// Carries out one request. Without regard to its limits; Request::buffer is not used, bytes are
  /// in the answer. REQUIRES: check_request().
  Answer carry_out(const Request& request);

  [[nodiscard]] std::string name_of(std::string_view key) const {
    return "file://" + path_ + "/" + std::string(key);
  }

 private:
  /// A file in ".incoming".
  struct Staged {
    os::Fd incoming;  ///< the directory
    os::Fd file;
    std::string name;
  };
  /// One that receives parts.
  struct Upload {
    Staged staged;
    std::string key;
    std::map<unsigned, std::uint64_t> part_bytes;
  };

  DirectoryObjects() = default;

  [[nodiscard]] Answer get(const Request& request) const;
  [[nodiscard]] Answer head(const Request& request) const;
  [[nodiscard]] Answer remove(const Request& request) const;
  [[nodiscard]] Answer list(const Request& request) const;
  [[nodiscard]] Answer put(const Request& request) const;
  Answer begin_upload(const Request& request);
  Answer upload_part(const Request& request);
  Answer complete_upload(const Request& request);
  Answer abort_upload(const Request& request);

  [[nodiscard]] Result<Staged> stage() const;
  [[nodiscard]] Answer publish(const Staged& staged, const Request& request) const;
  [[nodiscard]] Result<os::Fd> open_incoming() const;
  static void discard(const Staged& staged);
  void remove_old_leftovers() const;
  [[nodiscard]] std::shared_ptr<Upload> find_upload(const Request& request);
  [[nodiscard]] Answer failed(const Request& request, const Error& error) const;
  [[nodiscard]] Answer no_upload(const Request& request) const;

  std::string path_;
  os::Fd root_;
  std::mutex mutex_;  ///< of uploads_ and of each Upload::part_bytes
  /// Shared with the request that writes a part.
  std::map<std::string, std::shared_ptr<Upload>> uploads_;
};

}  // namespace lamina::object_store
