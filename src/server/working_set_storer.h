// A thread that stores recorded working sets. It is separate because storing syncs, and no peer
// should wait for a disk.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "os/event.h"
#include "pager/session.h"

namespace lamina::server {

/// The blocks that one VM touched first.
struct Recording {
  std::uint64_t vm = 0;
  std::string snapshot;  ///< path of the snapshot that it is stored in
  /// Path of the base of the VM's pin, which gets it too: the VM's next pause passes it on. Empty:
  /// not pinned.
  std::string pin_base;
  bool faults_only = false;  ///< see working_set_choice.h; else `blocks` are all touched ones
  /// The snapshot must still have this pause id, or descend from it: then the VM was paused into
  /// that name meanwhile.
  Uuid pause_id;
  std::uint64_t memory_bytes = 0;
  std::shared_ptr<const pager::PopulatePlan> replayed;  ///< put before `blocks`; may be null
  std::vector<std::uint32_t> blocks;                    ///< in the order of their faults
};

/// Stores a recording in its snapshot, and in the base of the VM's pin. A recording of every touch
/// replaces the working set; for one of faults, choose_working_set() decides. The latter is made of
/// every VM, so it is not an error if the snapshot is gone, replaced, being written or another
/// user's.
Status store_recording(const Recording& recording);

/// Its thread starts with the first recording: VMs are served where no such thread can be started.
class WorkingSetStorer {
 public:
  static Result<std::unique_ptr<WorkingSetStorer>> create();

  WorkingSetStorer(const WorkingSetStorer&) = delete;
  WorkingSetStorer& operator=(const WorkingSetStorer&) = delete;
  WorkingSetStorer(WorkingSetStorer&&) = delete;
  WorkingSetStorer& operator=(WorkingSetStorer&&) = delete;
  /// Drops recordings that are not being stored yet.
  ~WorkingSetStorer();

  /// On failure, or if it throws, the recording is neither stored nor reported.
  Status add(Recording recording);

  struct Stored {
    std::uint64_t vm = 0;
    std::string snapshot;
    Status status;
  };
  /// Readable when take_stored() has something.
  [[nodiscard]] int fd() const { return stored_event_.fd(); }
  std::vector<Stored> take_stored();

 private:
  WorkingSetStorer() = default;
  void run();

  os::Event stored_event_;
  Mutex mutex_;
  std::condition_variable_any wake_;
  bool stopping_ LAMINA_GUARDED_BY(mutex_) = false;
  std::deque<Recording> queue_ LAMINA_GUARDED_BY(mutex_);
  std::vector<Stored> stored_ LAMINA_GUARDED_BY(mutex_);  ///< room for all pending recordings
  std::size_t under_way_ LAMINA_GUARDED_BY(mutex_) = 0;   ///< pending recordings
  std::thread thread_;                                    ///< of the caller of add()
};

}  // namespace lamina::server
