// What a sandbox platform does with lamina: recovers its store, pauses and resumes Firecracker VMs,
// and merges layers in the background.
//
//   sandbox STORE NAME SOCKET pause        the VM ends
//   sandbox STORE NAME SOCKET checkpoint   the VM runs on, and its layers are merged meanwhile
//   sandbox STORE NAME SOCKET resume       into a Firecracker that was just started
//
// SOCKET is Firecracker's API socket. A real platform keeps the Store, and one thread that merges,
// for as long as it runs.
#include <lamina/store.h>
#include <lamina/version.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

void print_notes(const std::vector<std::string>& notes) {
  for (const std::string& note : notes) std::fprintf(stderr, "sandbox: %s\n", note.c_str());
}

/// Repeats `operation` while something else works on the same snapshot or VM.
template <typename Operation>
auto retry_busy(Operation operation) {
  constexpr int kAttempts = 50;
  constexpr std::chrono::milliseconds kDelay{100};
  auto result = operation();
  for (int i = 1; i < kAttempts && !result && result.error().kind == lamina::ErrorKind::kBusy;
       ++i) {
    std::this_thread::sleep_for(kDelay);
    result = operation();
  }
  return result;
}

/// Stops an operation when its thread is asked to stop.
class StopWithThread : public lamina::Progress {
 public:
  explicit StopWithThread(std::stop_token token) : token_(std::move(token)) {}
  void begin(std::string_view /*phase*/, std::uint64_t total_bytes) override {
    total_bytes_ = total_bytes;
    done_bytes_ = 0;
  }
  void advance(std::uint64_t bytes) override { done_bytes_ += bytes; }
  [[nodiscard]] bool interrupted() override { return token_.stop_requested(); }
  [[nodiscard]] std::uint64_t done_bytes() const { return done_bytes_; }
  [[nodiscard]] std::uint64_t total_bytes() const { return total_bytes_; }

 private:
  std::stop_token token_;
  std::uint64_t total_bytes_ = 0;
  std::uint64_t done_bytes_ = 0;
};

void merge_layers(const lamina::Store& store, const std::string& name,
                  const std::stop_token& token) {
  StopWithThread progress(token);
  const auto merged = store.compact({.snapshot = name, .background = true, .progress = &progress});
  if (merged) {
    std::printf("%s: %u layers, then %u\n", name.c_str(), merged->layers_before,
                merged->layers_after);
  } else if (merged.error().kind == lamina::ErrorKind::kInterrupted) {
    std::printf("%s: stopped merging after %ju of %ju bytes\n", name.c_str(),
                static_cast<std::uintmax_t>(progress.done_bytes()),
                static_cast<std::uintmax_t>(progress.total_bytes()));
  } else {
    std::fprintf(stderr, "sandbox: %s\n", merged.error().message.c_str());
  }
}

enum class Fate { kStored, kQueued, kNothing };

/// What became of a pause that failed, or that a killed process had begun.
lamina::Result<Fate> fate_of(const lamina::Store& store, const lamina::Uuid& pause_id) {
  if (const auto recovered = store.recover({}); !recovered) {
    return std::unexpected(recovered.error());
  }
  const auto listing = store.list();
  if (!listing) return std::unexpected(listing.error());
  const auto is_it = [&](const auto& one) { return one.pause_id == pause_id; };
  if (std::ranges::any_of(listing->snapshots, is_it)) return Fate::kStored;
  const auto has_its_id = [&](const auto& one) { return one.id == pause_id; };
  return std::ranges::any_of(listing->pending, has_its_id) ? Fate::kQueued : Fate::kNothing;
}

lamina::Status pause(const lamina::Store& store, const std::string& name, const std::string& socket,
                     lamina::AfterPause after) {
  // A platform writes this id to its database before it pauses the VM.
  const lamina::Uuid pause_id = lamina::Uuid::random();
  const auto paused = retry_busy([&] {
    return store.pause(
        {.vmm = {.api_socket = socket}, .name = name, .after = after, .pause_id = pause_id});
  });
  if (paused) {
    print_notes(paused->notes);
    std::printf("%s: %s, %ju bytes stored\n", paused->snapshot.c_str(),
                paused->is_diff ? "diff" : "full",
                static_cast<std::uintmax_t>(paused->stored_bytes));
    return {};
  }
  const auto fate = fate_of(store, pause_id);
  if (fate && *fate != Fate::kNothing) {
    std::printf("the state %s is %s\n", pause_id.to_string().c_str(),
                *fate == Fate::kStored ? "stored" : "queued in the store");
  }
  return std::unexpected(paused.error());
}

lamina::Status resume(const lamina::Store& store, const std::string& name,
                      const std::string& socket) {
  const auto resumed = retry_busy([&] {
    return store.resume({.vmm = {.api_socket = socket},
                         .name = name,
                         .page_server_command = {"lamina", "serve", "--store", store.path()}});
  });
  if (!resumed) return std::unexpected(resumed.error());
  print_notes(resumed->notes);
  std::printf("%s: process %jd runs on, by %s\n", resumed->snapshot.c_str(),
              static_cast<std::intmax_t>(resumed->pid),
              resumed->mode == lamina::ResumeMode::kFile ? "a file" : "page faults");
  return {};
}

lamina::Status run(const std::string& directory, const std::string& name, const std::string& socket,
                   std::string_view command) {
  const auto store = lamina::Store::open(directory);
  if (!store) return std::unexpected(store.error());
  print_notes(store->notes());
  // Whatever was killed before, power failures included, is finished or removed first.
  const auto recovered = store->recover({});
  if (!recovered) return std::unexpected(recovered.error());
  print_notes(recovered->notes);

  if (command == "resume") return resume(*store, name, socket);
  if (command == "pause") return pause(*store, name, socket, lamina::AfterPause::kStop);
  if (const auto done = pause(*store, name, socket, lamina::AfterPause::kResume); !done)
    return done;
  // The platform goes on with other work; the destructor of the thread stops and waits for it.
  std::jthread merging([&](const std::stop_token& token) { merge_layers(*store, name, token); });
  merging.join();
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view command = argc == 5 ? argv[4] : "";
  if (command != "pause" && command != "checkpoint" && command != "resume") {
    std::fprintf(stderr, "usage: sandbox STORE NAME SOCKET pause|checkpoint|resume (lamina %s)\n",
                 lamina::version_text());
    return 2;
  }
  const lamina::Status done = run(argv[1], argv[2], argv[3], command);
  if (done) return 0;
  const lamina::Error& error = done.error();
  print_notes(error.notes);
  std::fprintf(stderr, "sandbox: %s%s%s\n", error.message.c_str(), error.remedy.empty() ? "" : "; ",
               error.remedy.c_str());
  return 1;
}
