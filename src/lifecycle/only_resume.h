// The only resume of a snapshot that was paused with `once` (store/once_mark.h), for every VMM.
#pragma once

#include <string>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "store/snapshot_directory.h"
#include "store/store.h"

namespace lamina::lifecycle {

class OnlyResume {
 public:
  /// `again`: a state whose only resume is consumed may be resumed all the same.
  explicit OnlyResume(bool again) : again_(again) {}

  /// Before anything is begun. kExists: `path` may be resumed only once, and was.
  [[nodiscard]] Status check(const store::Store& store, const Uuid& pause_id,
                             const std::string& path) const;

  /// Before the VMM gets the state: the mark is on the disk then. `vm`: what it says of the
  /// process. kExists: another resume was faster.
  [[nodiscard]] Status consume(const store::Store& store, const store::OpenSnapshot& snapshot,
                               const std::string& vm);

  /// After a resume whose guest has certainly not run. If that fails, `cause` says so.
  void give_back(const store::Store& store, const Uuid& pause_id, Error& cause) const;

 private:
  bool again_;
  bool is_consumed_ = false;  ///< by this resume
};

}  // namespace lamina::lifecycle
