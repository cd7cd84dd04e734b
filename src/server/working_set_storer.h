// Stores what VMs have recorded: a thread of its own, because it syncs, and no peer that connects
// or ends should wait for a disk.
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

/// What one VM touched first.
struct Recording {
  std::uint64_t vm = 0;
  std::string snapshot;  ///< path of the snapshot that gets it
  Uuid pause_id;         ///< that it must still have
  std::uint64_t memory_bytes = 0;
  std::shared_ptr<const pager::PopulatePlan> replayed;  ///< goes before it; may be null
  std::vector<std::uint32_t> blocks;                    ///< in the order of their faults
};

/// Puts a recording into its snapshot, in the place of an older one.
Status store_recording(const Recording& recording);

class WorkingSetStorer {
 public:
  static Result<std::unique_ptr<WorkingSetStorer>> start();

  WorkingSetStorer(const WorkingSetStorer&) = delete;
  WorkingSetStorer& operator=(const WorkingSetStorer&) = delete;
  WorkingSetStorer(WorkingSetStorer&&) = delete;
  WorkingSetStorer& operator=(WorkingSetStorer&&) = delete;
  /// Gives up what has not been begun.
  ~WorkingSetStorer();

  /// May throw: then it is not stored, and not reported.
  void add(Recording recording);

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
  std::vector<Stored> stored_ LAMINA_GUARDED_BY(mutex_);  ///< with room for all that are under way
  std::size_t under_way_ LAMINA_GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

}  // namespace lamina::server
