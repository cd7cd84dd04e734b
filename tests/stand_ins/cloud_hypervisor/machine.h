// One Cloud Hypervisor: no VM, or one that runs or is paused; its configuration, and its migration
// in both directions. The messages are written and read here by hand, not by lamina's code: a
// stand-in that shared the code under test would share its faults.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"
#include "stand_ins/cloud_hypervisor/guest.h"

namespace lamina::cloud_hypervisor_stand_in {

using Json = nlohmann::ordered_json;

/// The version of the migration protocol of release 53.
struct Message {
  std::uint16_t command = 0;
  std::uint16_t version = 0;
  std::string payload;
  os::Fd descriptor;
};

/// How a VM is started.
struct BootOptions {
  std::uint64_t memory_mib = 16;
  bool is_shared = false;
  bool is_checked = true;  ///< what the guest reads is compared
  bool has_huge_pages = false;
  std::string zone_file;  ///< a zone that maps it privately
  bool has_gap = false;   ///< two ranges: the second at 4 GiB
  std::string serial_file;
  std::string network;  ///< id of a network device
  std::string disk;     ///< a file; its id is "_disk0"
  std::string vsock;    ///< a socket
};

/// Points of failure, each armed for one time.
class Points {
 public:
  /// False if there is no such point.
  bool arm(const std::string& point);
  bool hits(const std::string& point);

  /// Waits at the point until release() if it is armed.
  void hold(const std::string& point);
  bool release();
  bool is_held();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> armed_;
  bool held_ = false;
};

class Machine {
 public:
  enum class State : std::uint8_t { kNone, kRunning, kPaused };

  explicit Machine(Points& points) : points_(points) {}

  Status boot(const BootOptions& options);
  /// A thread that uses the guest's memory while it runs.
  void start_writer(bool discards);

  // The API. Errors are in Cloud Hypervisor's words.
  Result<Json> info();
  Status pause();
  Status resume();
  /// Returns at once; a thread of its own hands the VM over.
  Status send_migration(const std::string& socket_path);
  /// Write and read a directory. The VM must be paused; a restored one is.
  Status snapshot(const std::string& directory);
  Status restore_from(const std::string& directory);
  /// Returns when it is over.
  Status receive_migration(const std::string& socket_path);

  [[nodiscard]] Guest* guest() const { return guest_.get(); }
  [[nodiscard]] State state() const { return state_; }
  /// Lets `use` have the guest while it runs; false if it does not run.
  template <typename Use>
  bool while_running(const Use& use) {
    const std::shared_lock lock(running_);
    if (state_ != State::kRunning) return false;
    use();
    return true;
  }

 private:
  void freeze();
  void thaw();
  /// Where a range's memory comes from.
  struct Source {
    Backing backing = Backing::kAnonymous;
    os::Fd file;
  };

  void hand_over(os::Fd socket);
  bool send_all(int socket, bool was_running);
  bool send_memory(int socket);
  bool send_config(int socket);
  /// The points of failure before a message: SIDE-hang-MESSAGE, SIDE-die-MESSAGE.
  void reach(const std::string& side, const std::string& message);
  bool send(int socket, std::uint16_t command, const std::string& payload, int descriptor = -1);
  /// True if the answer is Ok.
  static bool is_answered(int socket);
  [[nodiscard]] std::string config_message() const;
  std::string state_message();
  Status receive_on(int socket);
  Status take_memory(std::uint16_t last, Message& message, std::vector<Message>& memory);
  Status take_config(std::uint16_t last, const Message& message, std::vector<Message>& memory);
  Status take_state(std::uint16_t last, const Message& message);
  Status take(std::uint16_t last, Message& message, std::vector<Message>& memory);
  Result<Source> zone_source(const Json& zone, std::uint64_t bytes);
  Result<Source> source_of(const Range& range, const Json& memory_config,
                           std::vector<Message>& memory);
  Status configure(const Json& json, std::vector<Message>& memory);
  Status restore(const std::string& payload);
  /// Opens the files of the devices for writing, and listens at their sockets.
  Status open_devices();

  Points& points_;
  std::atomic<State> state_ = State::kNone;
  std::atomic<bool> is_migrating_ = false;
  std::shared_mutex running_;
  Json config_;
  std::vector<MappedRange> received_;
  std::vector<os::Fd> devices_;
  std::unique_ptr<Guest> guest_;
  std::uint64_t random_ = 1;
};

}  // namespace lamina::cloud_hypervisor_stand_in
